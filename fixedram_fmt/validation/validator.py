"""All findings of an image, and what loaders would do with it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.loaders import LOADERS, Loader, Outcome
from fixedram_fmt.validation.loaderlog import effect_of
from fixedram_fmt.validation.order import Places
from fixedram_fmt.validation.restore import SAVE_EDIT
from fixedram_fmt.validation.rule import Case, Finding, Observation, Rule, Severity
from fixedram_fmt.validation.rules import all_rules
from fixedram_fmt.validation.scope import Scope, scope_of
from fixedram_fmt.validation.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.stream.records import Kind

__all__ = ["Report", "Verdict", "unopened", "validate"]

#: Findings of one rule that are kept; a hostile file does not get to fill memory with them.
_KEPT = 100
#: Where nothing has gone wrong yet: before the first record.
_FIRST = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a loader does with an image; decided_by is the finding that makes it so.

    message is the line of QEMU that tells the cause, or what happens where it tells none; messages
    are all lines that it writes, as far as they are known.
    """

    loader: str
    multifd: bool
    outcome: Outcome
    decided_by: Finding | None = None
    message: str = ""
    messages: tuple[str, ...] = ()


def _when(finding: Finding) -> tuple[int, tuple[int, int, str]]:
    """When a loader comes to a finding: at which record, and there in the order of its checks."""
    return finding.order, finding.rule.check_order


@dataclass(slots=True)
class Report:
    """What is wrong with an image; unlisted counts what was found beyond the ceiling, by rule.

    conditional is what is right as it is, but not for every loader; told of those alone.  Verdicts
    look at bitmaps: ask for them while the image is open.
    """

    survey: Survey | None
    findings: list[Finding] = field(default_factory=list)
    conditional: list[Finding] = field(default_factory=list)
    unlisted: dict[str, int] = field(default_factory=dict)
    #: Whether pages were read too.
    deep: bool = False

    #: Whether libvirt's header comes first.
    of_libvirt: bool = False

    def scope(self, loader: Loader) -> Scope:
        """What a verdict of loader on the image covers, and what it leaves open."""
        return scope_of(self.survey, deep=self.deep, loader=loader)

    def verdict(self, loader: Loader, *, multifd: bool, property_on: bool = False) -> Verdict:
        """What loader does: the first finding in its way that stops it, or spoils the memory."""
        wrong: Verdict | None = None
        for finding in sorted((*self.findings, *self.conditional), key=_when):
            case = Case(self.survey, finding, loader, multifd, property_on)
            effect = effect_of(case)
            if effect is None:
                continue
            outcome, message, written = effect
            verdict = Verdict(loader.name, multifd, outcome, finding, message, written)
            if outcome is not Outcome.WRONG_MEMORY:
                return verdict
            wrong = wrong or verdict
        return wrong or Verdict(loader.name, multifd, Outcome.LOADS)

    def verdicts(self) -> Iterator[Verdict]:
        """What every real QEMU does, without and with multifd; of a libvirt save every libvirt."""
        for loader in LOADERS.values():
            if loader.is_qemu or (loader.libvirt and self.of_libvirt):
                for multifd in (False,) if loader.libvirt else (False, True):
                    yield self.verdict(loader, multifd=multifd)

    def judged_by(
        self, loader: Loader, *, multifd: bool, property_on: bool = False
    ) -> list[Finding]:
        """The findings, worst first; those that spoil a load by loader are errors.

        That is so whatever the rule says: who asks about a loader wants to load the image.
        """

        def spoils(finding: Finding) -> bool:
            case = Case(self.survey, finding, loader, multifd, property_on)
            return effect_of(case) is not None

        asked = (*self.findings, *filter(spoils, self.conditional))
        judged = [replace(one, severity=Severity.ERROR) if spoils(one) else one for one in asked]
        return sorted(judged, key=lambda one: (one.severity.rank, one.order, one.rule.id))


def validate(
    image: Image,
    destination: Receiver | None = None,
    *,
    deep: bool = False,
    own_xml: bool = True,
) -> Report:
    """All findings of image; destination is the receiving VM, as far as it is known.

    deep reads the pages too.  Costs what the bitmaps cost otherwise.  own_xml: where nothing else
    is known of the receiver, the domain XML of a libvirt save counts for it.
    """
    survey = Survey(image, destination, deep=deep, own_xml=own_xml)
    report = Report(survey, deep=deep, of_libvirt=image.container.kind == "libvirt")
    rules = all_rules().values()
    _at_records(survey, report, rules)
    places = Places(survey)
    for rule in rules:
        if not rule.kinds and not rule.stops and (deep or not rule.deep):
            _add(report, rule, rule.check(survey), survey.order if rule.at_end else places)
    return report


def unopened(error: FormatError) -> Report:
    """The report on a file that is no image at all, by the error that said so."""
    report = Report(None, of_libvirt=error.code.startswith("libvirt"))
    for rule in all_rules().values():
        if error.code in rule.stops:
            _add(report, rule, rule.check(None, error), _FIRST)
    return report


def _at_records(survey: Survey, report: Report, rules: Iterable[Rule]) -> None:
    by_kind: dict[Kind, list[Rule]] = defaultdict(list)
    for rule in rules:
        for kind in rule.kinds:
            by_kind[kind].append(rule)
    try:
        for record in survey.records():
            for rule in by_kind[record.kind]:
                _add(report, rule, rule.check(survey, record), survey.order)
    except FormatError as error:
        for rule in rules:
            if error.code in rule.stops:
                _add(report, rule, rule.check(survey, error), survey.order)


def _add(report: Report, rule: Rule, found: Iterator[Observation], order: int | Places) -> None:
    for one in _readable(found):
        told = report.conditional if one.conditional else report.findings
        if rule.id in report.unlisted or sum(kept.rule.id == rule.id for kept in told) >= _KEPT:
            if not one.conditional:
                report.unlisted[rule.id] = report.unlisted.get(rule.id, 0) + 1
            continue
        known = order if isinstance(order, int) else order.order(one.path, one.offset)
        told.append(
            Finding(
                rule,
                rule.severity,
                one.message,
                one.offset,
                one.path,
                one.found,
                one.expected,
                known if one.order is None else one.order,
                _fix(report.survey, one.fix or rule.fix),
                one.holes,
            )
        )


def _fix(survey: Survey | None, fix: str) -> str:
    """What to do; a domain XML that was given is no part of the file."""
    given = survey is not None and survey.domain_is_given
    return fix.replace(SAVE_EDIT, "change the domain XML that was given: ") if given else fix


def _readable(found: Iterator[Observation]) -> Iterator[Observation]:
    """What a rule finds, up to where the file itself cannot be read (an error of its own)."""
    try:
        yield from found
    except FixedRamError as error:
        if not isinstance(error, FormatError):
            raise
