"""What validate tells of images, as data: findings, the verdict, and what it covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from fixedram_fmt.loaders import LoaderName, Outcome
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.validation.rule import AREAS, Severity
from fixedram_fmt.validation.scope import NOTHING, Extent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.validation.rule import Finding, Rule
    from fixedram_fmt.validation.scope import Scope

__all__ = [
    "Bytes", "ImageReport", "ImageReports", "Judged", "LoaderVerdict", "ReportedFinding",
    "RuleList", "RuleSummary",
]  # fmt: skip

_RuleId = Annotated[str, msgspec.Meta(pattern=f"^[{''.join(AREAS)}][0-9]{{2}}$")]
_Area = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(AREAS.values())})]


class RuleSummary(Result, frozen=True):
    """One kind of finding: what its rule looks at, why it matters, what to do, and who says so."""

    id: _RuleId
    area: _Area
    severity: Severity
    title: str
    why: str
    fix: str
    source: str


class RuleList(Result, frozen=True):
    """The rules of validate."""

    rules: tuple[RuleSummary, ...]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> RuleList:
        """These rules, in their order."""
        return cls(
            tuple(
                RuleSummary(one.id, one.area, one.severity, one.title, one.why, one.fix, one.source)
                for one in rules
            )
        )


class ReportedFinding(Result, frozen=True):
    """What a rule found, and where: offset in bytes of the file, None for what has no place in it.

    severity may be higher than the rule's, fix other than the rule's.
    """

    rule: _RuleId
    severity: Severity
    offset: int | None
    path: str
    message: str
    found: str
    expected: str
    fix: str

    @classmethod
    def of(cls, one: Finding) -> ReportedFinding:
        """A finding without what only a judge needs."""
        place = (one.rule.id, one.severity, one.offset, one.path)
        return cls(*place, one.message, one.found, one.expected, one.fix)


class LoaderVerdict(Result, frozen=True):
    """What a loader does with an image."""

    loader: LoaderName
    multifd: bool
    verdict: Outcome


class Judged(Result, frozen=True):
    """How far a verdict reaches.

    layout is where bitmaps and pages lie, memory which pages there are and (deep) what is in
    those that the bitmaps call absent, devices whether the receiver has them.
    """

    stream: Extent
    layout: Extent
    memory: Extent
    devices: Extent

    @classmethod
    def of(cls, scope: Scope) -> Judged:
        """The extents of scope."""
        return cls(scope.stream, scope.layout, scope.memory, scope.devices)


class Bytes(Result, frozen=True):
    """Some bytes of the file around a finding, and where the first of them lies."""

    offset: int
    data: bytes


class ImageReport(Result, frozen=True, kw_only=True):
    """The answer on one image; error is why there is none.

    verdict is what loader does with it; decided_by is the finding that makes it so, message the
    line that tells the cause, messages are all lines that loader writes, verdicts those of other
    loaders.  not_judged is what the verdict leaves open, in words.  findings are worst first;
    unlisted counts by rule those that are too many to tell, accepted those a baseline took out.
    """

    hidden = frozenset({"bytes", "size", "in_place"})

    path: str
    loader: LoaderName
    multifd: bool
    verdict: Outcome | None = None
    decided_by: ReportedFinding | None = None
    message: str = ""
    messages: tuple[str, ...] = ()
    verdicts: tuple[LoaderVerdict, ...] = ()
    judged: Judged = Judged.of(NOTHING)
    not_judged: tuple[str, ...] = NOTHING.not_judged
    findings: tuple[ReportedFinding, ...] = ()
    unlisted: dict[str, Unsigned] = msgspec.field(default_factory=dict)
    accepted: Unsigned = 0
    error: str | None = None
    #: What lies around each finding's offset.
    bytes: dict[int, Bytes] = msgspec.field(default_factory=dict)
    #: Bytes of the file, and whether offsets are the file's: not where the stream was unpacked, or
    #: mapped by the tables of a disk image.
    size: int | None = None
    in_place: bool = True

    @property
    def verdict_stands(self) -> bool:
        """Whether the loader spoils the load by a finding that nobody has accepted or ignored."""
        decided = self.decided_by
        return decided is not None and any(
            (one.rule, one.offset, one.path) == (decided.rule, decided.offset, decided.path)
            for one in self.findings
        )


class ImageReports(Result, frozen=True):
    """What is wrong with each image, and what loaders do with it."""

    images: tuple[ImageReport, ...]
