"""Paths of values, `device[/instance]/field/field[index]`, and globs over them.

`*` and `?` match within a step, `**` any number of steps; an instance or an index that the pattern
leaves out matches every one.  Names of devices and subsections have slashes of their own
(`0000:00:01.1/ide`, `cpu/fpu`): they are steps like any others.
"""

from __future__ import annotations

import re

__all__ = ["Pattern"]

_TOKEN = re.compile(r"\*\*/?|\*|\?|\[\*\]|[^*?\[]+|\[")
_INDEX = r"(?:\[\d+\])"


class Pattern:
    """A glob, ready to be compared with paths."""

    def __init__(self, text: str) -> None:
        self.text = text.strip("/")
        steps = _regex(self.text)
        self._whole = re.compile(steps, re.DOTALL)
        last = self.text.rpartition("/")[2]
        #: Whether elements of an array of plain values are asked for.
        self.wants_elements = "[" in last and last.endswith("]")

    def matches(self, *names: str) -> bool:
        """Whether one of the names by which a value goes is meant."""
        return any(self._whole.fullmatch(name) for name in names)


def _regex(text: str) -> str:
    """The regular expression for a glob; before each `/` an index may have been left out."""
    parts = []
    for token in _TOKEN.findall(text):
        if token == "**/":
            parts.append("(?:.*/)?")
        elif token == "**":
            parts.append(".*")
        elif token == "*":
            parts.append("[^/]*")
        elif token == "?":
            parts.append("[^/]")
        elif token == "[*]":
            parts.append(_INDEX)
        else:
            parts.append(re.escape(token).replace("/", f"{_INDEX}?/"))
    return "".join(parts)
