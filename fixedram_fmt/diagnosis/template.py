"""A message with holes, looked for in a line without going back: the time is linear in its length.

The words are those of str.format.  A hole `:d` is a decimal number, `:x` a hexadecimal one, any
other takes all up to the words that follow it; where none follow, up to the end of the line, or to
where another message begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

__all__ = ["Match", "Template"]

#: A number is not longer in any message.
_NUMBERS = {
    "d": re.compile(r"-?[0-9]{1,24}"),
    "x": re.compile(r"[0-9a-fA-F]{1,32}"),
}
#: Places in one line where a match is tried.
_TRIES = 8
#: Characters that a hole takes before words that follow it; a name has 255 at most, a path 4096.
_HOLE_CEILING = 4200
#: Characters that are kept of a hole at the end.
_TAIL_CEILING = 1000
#: What a hole at the beginning takes: the last word of so many characters that stand before.
_LEADING = 256
#: Characters of a message that are enough to know it by.
_CORE = 12
#: What does not count at the ends of words.
_MARKS = " \"'()[]:=,.-"
_WORD = re.compile(r"[A-Za-z_]{2,}")


def _core(literal: str) -> str:
    """What of some words a message is known by; what follows a quoted name is mostly an errno."""
    words = literal.strip(_MARKS)
    if literal.lstrip("'\"")[:1] == ":":
        return ""
    rest = words.partition(": ")[2]
    return rest if len(rest) >= _CORE else words


@dataclass(frozen=True, slots=True)
class Match:
    """Where a template was found: spans are those of its own words, start and stop in the line."""

    start: int
    stop: int
    holes: dict[str, str]
    spans: tuple[tuple[int, int], ...]
    #: The hole at the end, which takes the rest of the line.
    tail: str | None = None

    @property
    def weight(self) -> int:
        """Characters of the line that are the template's own."""
        return sum(stop - start for start, stop in self.spans)


@dataclass(frozen=True)
class Template:
    """One text of a message."""

    text: str

    @cached_property
    def parts(self) -> tuple[tuple[str, str | None, str], ...]:
        """Its words, each with the hole that follows and that hole's kind."""
        return tuple(
            (literal, name, (spec or "")[-1:])
            for literal, name, spec, _ in Formatter().parse(self.text)
        )

    @cached_property
    def holes(self) -> frozenset[str]:
        """The names of its holes."""
        return frozenset(name for _, name, _ in self.parts if name)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words that every line with this message has: whole ones, not cut by a hole."""
        found = []
        for number, (literal, name, _) in enumerate(self.parts):
            for word in _WORD.finditer(literal):
                after_hole = number > 0 and word.start() == 0
                before_hole = name is not None and word.end() == len(literal)
                if not after_hole and not before_hole:
                    found.append(word[0])
        return tuple(found)

    @cached_property
    def _anchor(self) -> tuple[str, bool]:
        """The first words, and whether a hole stands before them."""
        literal, name, _ = self.parts[0]
        if not literal and name is not None and len(self.parts) > 1:
            return self.parts[1][0], True
        return literal, False

    def find(self, line: str) -> list[Match]:
        """All places in a line; they do not overlap."""
        anchor, leads = self._anchor
        found: list[Match] = []
        start = 0
        for _ in range(_TRIES):
            place = line.find(anchor, start)
            if place < 0:
                break
            match = self._led(line, place) if leads else self._match(line, place, 0, {})
            if match is not None:
                found.append(match)
            start = place + max(1, len(anchor))
        return found

    @cached_property
    def cores(self) -> tuple[tuple[int, str], ...]:
        """Words by which it is known where it is cut short: its first and its longest ones.

        Each with the part they are of; without quotes at their ends and functions' names.
        """
        words = [_core(literal) for literal, _, _ in self.parts]
        longest = max(range(len(words)), key=lambda number: len(words[number]))
        chosen = dict.fromkeys((0, longest))
        return tuple((number, words[number]) for number in chosen if len(words[number]) >= _CORE)

    def find_core(self, line: str, part: int, core: str) -> Match | None:
        """A message that is cut short or worded a little otherwise: one of its cores is there.

        The holes are those that follow it, up to where the line goes on otherwise.
        """
        start = line.find(core)
        if start < 0:
            return None
        literal, holes = self.parts[part][0], dict[str, str]()
        stop, rest = start + len(core), literal[literal.find(core) :]
        for number in range(part, len(self.parts)):
            begins = start if number == part else stop
            words = rest if number == part else self.parts[number][0]
            if not line.startswith(words, begins):
                break
            stop = begins + len(words)
            _, name, kind = self.parts[number]
            after = self._hole_stop(line, stop, number, kind) if name else -1
            if name is None or after < 0:
                break
            holes[name], stop = line[stop:after], after
        # What was meant goes on as it will: all of it is the message.
        return Match(start, len(line), holes, ((start, start + len(core)),))

    def _led(self, line: str, place: int) -> Match | None:
        """A match whose first hole ends at place."""
        _, name, kind = self.parts[0]
        before = line[max(0, place - _LEADING) : place]
        word = before[1 + max(before.rfind(mark) for mark in " \t'\"") :]
        if not word or name is None or (kind in _NUMBERS and not _NUMBERS[kind].fullmatch(word)):
            return None
        return self._match(line, place, 1, {name: word}, place - len(word))

    def _match(
        self, line: str, place: int, first: int, holes: dict[str, str], start: int | None = None
    ) -> Match | None:
        begins, spans = place if start is None else start, []
        for number in range(first, len(self.parts)):
            literal, name, kind = self.parts[number]
            if not line.startswith(literal, place):
                return None
            if literal:
                spans.append((place, place + len(literal)))
            place += len(literal)
            if name is None:
                break
            if self._is_tail(number, kind):
                holes[name] = line[place : place + _TAIL_CEILING].rstrip()
                return Match(begins, len(line), holes, tuple(spans), name)
            stop = self._hole_stop(line, place, number, kind)
            if stop < 0 or holes.setdefault(name, line[place:stop]) != line[place:stop]:
                return None
            place = stop
        return Match(begins, place, holes, tuple(spans))

    def _hole_stop(self, line: str, place: int, number: int, kind: str) -> int:
        if kind in _NUMBERS:
            value = _NUMBERS[kind].match(line, place)
            return self._before_words(line, value, number) if value else -1
        if self._is_tail(number, kind):
            return len(line)
        return line.find(self.parts[number + 1][0], place, place + _HOLE_CEILING)

    def _before_words(self, line: str, value: re.Match[str], number: int) -> int:
        """Where a number ends; words that follow without a space may look like digits of it."""
        words = self.parts[number + 1][0] if number + 1 < len(self.parts) else ""
        stop = value.end()
        if stop == len(line):
            return stop
        while stop > value.start() and not line.startswith(words, stop):
            stop -= 1
        return stop if stop > value.start() else -1

    def _is_tail(self, number: int, kind: str) -> bool:
        """Whether a hole takes the rest of the line."""
        return number + 1 == len(self.parts) and kind not in _NUMBERS
