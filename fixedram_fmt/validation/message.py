"""What a message of QEMU is: a template, filled for a verdict and searched for in a log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Holes", "Message", "filled"]

#: What stands in the holes of a template, by name.
Holes = dict[str, "int | str"]

#: Conversions of holes as they stand in a log.
_PATTERNS = {"d": r"-?\d+", "x": r"[0-9a-f]+"}


def filled(template: str, holes: Mapping[str, int | str]) -> str:
    """A template with its holes filled, up to the first hole that is not known."""
    line = ""
    for literal, name, spec, _ in Formatter().parse(template):
        line += literal
        if name is None:
            continue
        if name not in holes:
            return line.rstrip()
        line += format(holes[name], spec or "")
    return line


@dataclass(frozen=True)
class Message:
    """One line of QEMU.

    template is that of 10.0, in the words of str.format; an empty one is no line before the last.
    since has the other texts by the major version that they came with.  reason is the text of the
    errno in the last line; in_state is for what is written while the state of a section is loaded,
    after which QEMU names that section.  A loader that joins its messages puts it into the last
    line where joined says so; otherwise closing stands there.
    """

    template: str
    source: str
    since: Mapping[int, str] = field(default_factory=dict)
    reason: str = "Invalid argument"
    in_state: bool = False
    joined: bool = False
    closing: str = ""

    def text(self, major: int) -> str:
        """The template that a version prints."""
        newest = max((first for first in self.since if first <= major), default=None)
        return self.template if newest is None else self.since[newest]

    def fill(self, major: int, holes: Mapping[str, int | str]) -> str:
        """The line with its holes filled; it ends before the first hole that is not known."""
        return filled(self.text(major), holes)

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """Expressions that find the line in a log, one for each text; holes are named groups."""
        texts = dict.fromkeys((self.template, *self.since.values()))
        return tuple(_pattern(text) for text in texts if text)


def _pattern(template: str) -> re.Pattern[str]:
    expression, seen = "", set[str]()
    for literal, name, spec, _ in Formatter().parse(template):
        expression += re.escape(literal)
        if name is None:
            continue
        inner = _PATTERNS.get((spec or "")[-1:], ".*?")
        expression += f"(?P={name})" if name in seen else f"(?P<{name}>{inner})"
        seen.add(name)
    # A hole at the end takes the rest of the line.
    return re.compile(expression + ("$" if expression.endswith("?)") else ""))
