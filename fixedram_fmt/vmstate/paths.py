"""Paths of values, `device[/instance]/field/field[index]`, and globs over them.

`*` and `?` match within a step, `**` any number of steps; an instance or an index that the pattern
leaves out matches every one.  Names of devices and subsections have slashes of their own
(`0000:00:01.1/ide`, `cpu/fpu`): they are steps like any others.

A glob is a set of places in its text where one may be, as bits of a number, that each character of
a path moves on.  So a path costs its length whatever the glob, and a walk over a tree takes the
places from a value to what is inside it.
"""

from __future__ import annotations

import re

__all__ = ["Pattern"]

_TOKEN = re.compile(r"\*\*/?|\*|\?|\[\*\]|[^*?\[/]+|\[|/")
_STEP = re.compile(r"/?[^/]*")
#: Answers of advance() that are remembered: elements of an array ask the same again and again.
_REMEMBERED = 4096
_DIGITS = "0123456789"


class Pattern:
    """A glob, ready to be compared with paths."""

    def __init__(self, text: str) -> None:
        self.text = text.strip("/")
        self._size = 0
        #: Places that a character moves to the next one, and places that it may stay in.
        self._moves: dict[str, int] = {}
        self._stays: dict[str, int] = {}
        #: Places that any character but a slash moves on, and that any, or any but a slash, leaves.
        self._one = self._any = self._within = 0
        #: Places from which so many may be left out.
        self._jumps: dict[int, int] = {1: 0, 3: 0, 4: 0}
        for token in _TOKEN.findall(self.text):
            self._add(token)
        self._remembered: dict[tuple[int, str], int] = {}
        last = self.text.rpartition("/")[2]
        #: Whether elements of an array of plain values are asked for.
        self.wants_elements = "[" in last and last.endswith("]")

    # -- building -------------------------------------------------------------------------------

    def _add(self, token: str) -> None:
        if token == "**/":
            # A place of its own to enter by: from inside the star nothing can be left out.
            self._jump(3)
            self._jump(1)
            self._place()
            self._star("any")
            self._literal("/")
        elif token in ("**", "*"):
            self._star("any" if token == "**" else "within")
        elif token == "?":
            self._one |= self._place()
        elif token == "[*]":
            self._index()
        elif token == "/":
            # Before a slash an index may have been left out.
            self._jump(4)
            self._index()
            self._literal("/")
        else:
            self._literal(token)

    def _place(self) -> int:
        self._size += 1
        return 1 << (self._size - 1)

    def _jump(self, places: int) -> None:
        self._jumps[places] |= 1 << self._size

    def _star(self, kind: str) -> None:
        self._jump(1)
        place = self._place()
        if kind == "any":
            self._any |= place
        else:
            self._within |= place

    def _literal(self, text: str) -> None:
        for char in text:
            self._moves[char] = self._moves.get(char, 0) | self._place()

    def _index(self) -> None:
        """`[`, a digit, more digits, `]`."""
        self._literal("[")
        first = self._place()
        self._jump(1)
        more = self._place()
        for digit in _DIGITS:
            self._moves[digit] = self._moves.get(digit, 0) | first
            self._stays[digit] = self._stays.get(digit, 0) | more
        self._literal("]")

    # -- comparing ------------------------------------------------------------------------------

    def start(self, *names: str) -> int:
        """Where one may be after any of several beginnings of a path; 0 where nothing can match."""
        places = 0
        for name in names:
            places |= self.advance(self._closed(1), name)
        return places

    def advance(self, places: int, text: str) -> int:
        """Where one may be after text, from places on; 0 where nothing can match any more."""
        key = places, text
        found = self._remembered.get(key)
        if found is None:
            found = places
            for char in text:
                if not found:
                    break
                found = self._closed(self._after(found, char))
            if len(self._remembered) < _REMEMBERED:
                self._remembered[key] = found
        return found

    def accepts(self, places: int) -> bool:
        """Whether a path that led to places is meant."""
        return bool(places >> self._size & 1)

    def matches(self, *names: str) -> bool:
        """Whether one of the names by which a value goes is meant."""
        for name in names:
            places = self._closed(1)
            for step in _STEP.findall(name):
                places = self.advance(places, step)
            if self.accepts(places):
                return True
        return False

    def _after(self, places: int, char: str) -> int:
        moves, stays = self._moves.get(char, 0), self._stays.get(char, 0) | self._any
        if char != "/":
            moves |= self._one
            stays |= self._within
        return (places & moves) << 1 | (places & stays)

    def _closed(self, places: int) -> int:
        """places with all that can be reached from them without a character."""
        while True:
            more = places
            for distance, starts in self._jumps.items():
                more |= (more & starts) << distance
            if more == places:
                return places
            places = more
