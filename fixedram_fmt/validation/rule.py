"""What a rule is: one kind of finding, with its explanation and the function that looks for it.

A rule's function carries the explanation in its docstring: the first line is the title, the
paragraphs say why it matters, and a last one that begins with `Fix:` says what to do.  What its
findings make a loader do stands in the decorator: an Effect, or a function of the Case.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from fixedram_fmt.validation.effects import Effect, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self, Unpack

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.stream.records import Kind, Record
    from fixedram_fmt.validation.message import Holes
    from fixedram_fmt.validation.survey import Survey

__all__ = [
    "AREAS", "Case", "Finding", "Observation", "Rule", "Severity", "at_records", "at_stop",
    "over_image",
]  # fmt: skip

#: The letter of a rule's id, and what its rules look at.
AREAS = {
    "C": "container",
    "S": "stream framing",
    "G": "configuration",
    "R": "RAM records",
    "L": "layout",
    "B": "bitmap",
    "P": "pages (--deep)",
    "D": "devices and their description",
    "Y": "sync of receive channels",
    "T": "destination",
}

_ID = re.compile(r"[A-Z]\d\d")


class Severity(StrEnum):
    """How bad a finding is: worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rule saw, and where: offset in bytes in the file, None for what has no place in it.

    order is the number of the record at which a loader comes across it, where path and offset do
    not tell (order.py).  conditional: no fault, but some loaders are not made for it.  fix: what
    to do, where that is not what the rule says.
    """

    message: str
    offset: int | None = None
    path: str = ""
    found: str = ""
    expected: str = ""
    order: int | None = None
    conditional: bool = False
    fix: str = ""
    #: What the loader's message about it says besides the section's and the block's name.
    holes: Holes = field(default_factory=dict)

    @classmethod
    def of(cls, error: FormatError) -> Self:
        """What the walk itself says of where it ends."""
        return cls(error.message, error.offset, error.path, error.found, error.expected)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of finding: who looks for it (at records of kinds, at a stop, or over the image)."""

    id: str
    severity: Severity
    title: str
    why: str
    fix: str
    source: str
    check: Callable[..., Iterator[Observation]] = field(repr=False, compare=False)
    kinds: tuple[Kind, ...] = ()
    #: Codes of the errors that end a walk; the function gets the error.
    stops: tuple[str, ...] = ()
    #: Whether it is asked with --deep only, and whether what it finds shows at the stream's end.
    deep: bool = False
    at_end: bool = False
    effect: EffectOrJudge = field(default=None, repr=False, compare=False)
    since: Mapping[int, EffectOrJudge] = field(default_factory=dict, repr=False, compare=False)
    phase: Phase = Phase.RECORD

    @property
    def check_order(self) -> tuple[Phase, int, str]:
        """When a loader makes the check, among those at one record."""
        return self.phase, list(AREAS).index(self.id[0]), self.id

    def effect_in(self, version: int) -> EffectOrJudge:
        """What a version of QEMU does about it: that since the newest which is not newer."""
        newest = max((first for first in self.since if first <= version), default=None)
        return self.effect if newest is None else self.since[newest]

    @property
    def area(self) -> str:
        """What it looks at."""
        return AREAS[self.id[0]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found in an image; severity may be higher than the rule's (see verdict)."""

    rule: Rule
    severity: Severity
    message: str
    offset: int | None
    path: str
    found: str
    expected: str
    #: When a loader comes across it.
    order: int
    #: What to do about it; the rule's own words, mostly.
    fix: str
    holes: Holes = field(default_factory=dict, compare=False)


class Case(NamedTuple):
    """A finding and who meets it; property_on: multifd_flush_after_each_section."""

    survey: Survey | None
    finding: Finding
    loader: Loader
    multifd: bool
    property_on: bool

    @property
    def block(self) -> RamBlock | None:
        """The block with pages that the finding is about."""
        if self.survey is None:
            return None
        return self.survey.blocks_by_path.get("/".join(self.finding.path.split("/")[:3]))


if TYPE_CHECKING:
    EffectOrJudge = Effect | Callable[[Case], Effect | None] | None


class Declared(TypedDict, total=False):
    """What a decorator says of a rule besides id, severity, upstream source and what it looks at.

    effect is what every loader does about a finding, since what QEMU does from a version on; None
    is nothing.
    """

    effect: EffectOrJudge
    since: Mapping[int, EffectOrJudge]
    phase: Phase
    deep: bool
    at_end: bool


REGISTRY: dict[str, Rule] = {}


def _explained(check: Callable[..., Any]) -> tuple[str, str, str]:
    """Title, why and fix, from the docstring."""
    title, *paragraphs = inspect.cleandoc(check.__doc__ or "").split("\n\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in paragraphs]
    fix = paragraphs.pop().removeprefix("Fix: ") if paragraphs[-1].startswith("Fix: ") else ""
    return " ".join(title.split()).removesuffix("."), " ".join(paragraphs), fix


def _register(rule_id: str, severity: Severity, source: str, check: Any, **more: Any) -> None:
    if not _ID.fullmatch(rule_id) or rule_id[0] not in AREAS or rule_id in REGISTRY:
        raise ValueError(f"rule id {rule_id!r} is taken or of no area")
    title, why, fix = _explained(check)
    REGISTRY[rule_id] = Rule(rule_id, severity, title, why, fix, source, check, **more)


def over_image(
    rule_id: str, severity: Severity, source: str, **more: Unpack[Declared]
) -> Callable[
    [Callable[[Survey], Iterator[Observation]]], Callable[[Survey], Iterator[Observation]]
]:
    """Register a rule that is asked once, when the walk is over."""

    def register(check: Callable[[Survey], Iterator[Observation]]) -> Any:
        _register(rule_id, severity, source, check, **more)
        return check

    return register


def at_records(
    rule_id: str, severity: Severity, source: str, *kinds: Kind, **more: Unpack[Declared]
) -> Callable[
    [Callable[[Survey, Record[Any]], Iterator[Observation]]],
    Callable[[Survey, Record[Any]], Iterator[Observation]],
]:
    """Register a rule that is asked at each record of kinds, while the walk passes it."""

    def register(check: Callable[[Survey, Record[Any]], Iterator[Observation]]) -> Any:
        _register(rule_id, severity, source, check, kinds=kinds, **more)
        return check

    return register


def at_stop(
    rule_id: str, severity: Severity, source: str, *codes: str, **more: Unpack[Declared]
) -> Callable[
    [Callable[[Survey, FormatError], Iterator[Observation]]],
    Callable[[Survey, FormatError], Iterator[Observation]],
]:
    """Register a rule that is asked when the walk could not go on, with an error of these codes."""

    def register(check: Callable[[Survey, FormatError], Iterator[Observation]]) -> Any:
        _register(rule_id, severity, source, check, stops=codes, **more)
        return check

    return register
