"""What a rule is: one kind of finding, with its explanation and the function that looks for it.

A rule's function carries the explanation in its docstring: the first line is the title, the
paragraphs say why it matters, and a last one that begins with `Fix:` says what to do.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.stream.records import Kind, Record
    from fixedram_fmt.validation.messages import Holes
    from fixedram_fmt.validation.survey import Survey

__all__ = ["AREAS", "Finding", "Found", "Rule", "Severity", "at_records", "at_stop", "over_image"]

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
class Found:
    """What a rule saw, and where: offset in bytes in the file, None for what has no place in it.

    order is when a loader comes across it: the number of the record it is at; None is where the
    walk stands.  conditional: no fault, but some loaders are not made for it.  fix: what to do,
    where that is not what the rule says.
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
    check: Callable[..., Iterator[Found]] = field(repr=False, compare=False)
    kinds: tuple[Kind, ...] = ()
    #: Codes of the errors that end a walk; the function gets the error.
    stops: tuple[str, ...] = ()
    deep: bool = False

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
    rule_id: str, severity: Severity, source: str, *, deep: bool = False
) -> Callable[[Callable[[Survey], Iterator[Found]]], Callable[[Survey], Iterator[Found]]]:
    """Register a rule that is asked once, when the walk is over; deep: only with --deep."""

    def register(check: Callable[[Survey], Iterator[Found]]) -> Any:
        _register(rule_id, severity, source, check, deep=deep)
        return check

    return register


def at_records(
    rule_id: str, severity: Severity, source: str, *kinds: Kind
) -> Callable[
    [Callable[[Survey, Record[Any]], Iterator[Found]]],
    Callable[[Survey, Record[Any]], Iterator[Found]],
]:
    """Register a rule that is asked at each record of kinds, while the walk passes it."""

    def register(check: Callable[[Survey, Record[Any]], Iterator[Found]]) -> Any:
        _register(rule_id, severity, source, check, kinds=kinds)
        return check

    return register


def at_stop(
    rule_id: str, severity: Severity, source: str, *codes: str
) -> Callable[
    [Callable[[Survey, FormatError], Iterator[Found]]],
    Callable[[Survey, FormatError], Iterator[Found]],
]:
    """Register a rule that is asked when the walk could not go on, with an error of these codes."""

    def register(check: Callable[[Survey, FormatError], Iterator[Found]]) -> Any:
        _register(rule_id, severity, source, check, stops=codes)
        return check

    return register
