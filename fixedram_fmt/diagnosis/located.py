"""A diagnosis with an image: each message's place in it, and what validate says of the image."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fixedram_fmt.diagnosis.agreement import best_finding, decider, section_name
from fixedram_fmt.diagnosis.cause import Cause, Diagnosis, Rank, Side
from fixedram_fmt.diagnosis.contradictions import contradictions
from fixedram_fmt.diagnosis.devicefield import field_of
from fixedram_fmt.diagnosis.telling import of_log
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import unopened, validate
from fixedram_fmt.validation.report import default_loader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.validator import Report, Verdict

__all__ = ["located", "without_image"]

#: Areas of rules whose findings are no fault of the file.
_BY_RECEIVER = frozenset("T")
#: Areas of rules whose findings are: what the file is made of.
_BY_IMAGE = frozenset("SGRLBPD")


def located(told: Diagnosis, image: Image, receiver: Receiver | None) -> Diagnosis:
    """told with the places in image; where the log says nothing that is known, validate's word."""
    report = validate(image, receiver)
    verdict = _judged(report)
    path = image.source.name
    causes = tuple(_placed(cause, report, image) for cause in told.causes)
    warnings = contradictions(causes, image)
    if verdict.decided_by is not None:
        if not causes:
            causes = (_cause_of(verdict, report, path),)
        elif verdict.decided_by.rule.id not in {rule for one in causes for rule in one.rules}:
            warnings += (_something_else(verdict),)
    return replace(
        told,
        path=path,
        causes=causes,
        warnings=(*told.warnings, *warnings),
        verdict=verdict.outcome,
    )


def without_image(told: Diagnosis, error: FormatError, path: str) -> Diagnosis:
    """told of a file that is no image at all, as error says; without a log that is the cause."""
    report = unopened(error)
    verdict = _judged(report)
    causes = told.causes
    if not causes and verdict.decided_by is not None:
        causes = (_cause_of(verdict, report, path),)
    return replace(
        told,
        path=path,
        causes=causes,
        warnings=(*told.warnings, f"no image: {error}"),
        verdict=verdict.outcome,
    )


def _judged(report: Report) -> Verdict:
    """What the usual loader of such an image does with it."""
    loader = LOADERS[default_loader(of_libvirt=report.of_libvirt)]
    return report.verdict(loader, multifd=False)


def _cause_of(verdict: Verdict, report: Report, path: str) -> Cause:
    """The cause that a verdict tells, in the words of the catalogue where it has them."""
    finding = verdict.decided_by
    assert finding is not None, "a verdict that is asked for a cause has one"
    spoken = of_log("\n".join((*verdict.messages, verdict.message))).causes
    known = next((one for one in spoken if finding.rule.id in one.rules), None)
    side = Side.RECEIVER if finding.rule.id[0] in _BY_RECEIVER else Side.IMAGE
    rule = finding.rule
    cause = known or Cause(
        message=verdict.message or finding.message,
        rule=rule.id,
        offset=None,
        path="",
        side=side,
        explanation=f"{finding.message}. {rule.why}".strip(),
        fix=finding.fix,
        source=rule.source,
        rules=(rule.id,),
    )
    return replace(_found(cause, finding, report, path), line=None)


def _something_else(verdict: Verdict) -> str:
    finding = verdict.decided_by
    assert finding is not None, "only asked of a verdict that has one"
    what = "gives wrong memory" if verdict.outcome is Outcome.WRONG_MEMORY else verdict.outcome
    return (
        f"the log does not tell it, but by {finding.rule.id} {verdict.loader} {what}:"
        f" {finding.message}"
    )


def _placed(cause: Cause, report: Report, image: Image) -> Cause:
    """A cause with its place: that of the finding that agrees, else of what it names."""
    path = image.source.name
    if cause.rank.distance > Rank.SECTION.distance and not cause.rules:
        return cause
    finding = decider(cause, report) or best_finding(cause, report)
    if finding is not None:
        return _found(cause, finding, report, path)
    section = _section(cause, image)
    if section is not None:
        return _in_section(cause, section, image)
    named = cause.values.get("block")
    for block in image.blocks:
        if block.name == named:
            return _at(cause, block.entry_offset, block.path, None, path)
    return replace(cause, more=tuple(_more(cause, None, None, path)))


def _in_section(cause: Cause, section: Section, image: Image) -> Cause:
    """A cause with the place of a section, or of the field in it that it names."""
    path, place = image.source.name, _section_path(section, image)
    field = field_of(cause, section, image)
    if field is None:
        return _at(cause, section.offset, place, section.name, path)
    if field.found:
        cause = replace(cause, values={**cause.values, "found": field.found})
    return _at(cause, field.offset, f"{place}/body/{field.path}", section.name, path)


def _found(cause: Cause, finding: Finding, report: Report, path: str) -> Cause:
    values = dict(cause.values)
    for name, value in (("found", finding.found), ("expected", finding.expected)):
        if value:
            values[name] = value
    own_words = finding.fix != finding.rule.fix or not cause.fix
    header = report.survey.header_of(finding.path) if report.survey else None
    section = section_name(header)
    cause = replace(
        cause,
        rule=finding.rule.id,
        side=_side(cause, finding),
        values=values,
        fix=_fixes(finding.fix, cause.fix) if own_words else cause.fix,
    )
    return _at(cause, finding.offset, finding.path, section, path)


def _side(cause: Cause, finding: Finding) -> Side:
    """Who has to change, now that the image tells which of a message's causes it is."""
    area = finding.rule.id[0]
    if area in _BY_RECEIVER:
        return cause.side if cause.side is not Side.IMAGE else Side.RECEIVER
    if area in _BY_IMAGE and cause.side is Side.RECEIVER:
        return Side.IMAGE
    return cause.side


def _fixes(first: str, then: str) -> str:
    """What the image tells to do, before what the message does."""
    if not then or first == then:
        return first
    return f"{first[:1].upper()}{first[1:].rstrip('. ')}. {then}"


def _at(cause: Cause, offset: int | None, place: str, section: str | None, path: str) -> Cause:
    more = tuple(_more(cause, offset, section, path))
    return replace(cause, offset=offset, path=place, more=more)


def _more(cause: Cause, offset: int | None, section: str | None, path: str) -> Iterator[str]:
    """Commands that show more of it."""
    file = shlex.quote(path)
    if offset is not None:
        yield f"fixedram dump {file} --offset {offset:#x}"
    if section is not None and section != "ram":
        yield f"fixedram state {file} {shlex.quote(section)}"
    if cause.side is Side.RECEIVER and "expected" not in cause.values:
        yield f"fixedram validate {file} --like RECEIVER"
    elif cause.rules:
        yield f"fixedram validate {file}"
    if cause.rule is not None:
        yield f"fixedram rules {cause.rule}"


def _section(cause: Cause, image: Image) -> Section | None:
    name = cause.values.get("section", cause.values.get("name"))
    instance = cause.values.get("instance")
    for section in image.sections:
        if section.name == name and instance in (None, *_forms(section.instance_id)):
            return section
    return None


def _forms(number: int) -> tuple[str, str]:
    """A number as messages have it."""
    return str(number), f"{number:x}"


def _section_path(section: Section, image: Image) -> str:
    """The path of the record that starts a section."""
    for record in image.known_records(batched=True):
        if record.offset == section.offset:
            return record.path.split("/")[0]
    return ""
