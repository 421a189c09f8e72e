"""JSON on stdout: one object, ASCII only, so that nothing in it can act on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fixedram_fmt.results import dumps, pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.results import Result

__all__ = ["dumps", "print_json", "print_json_list"]


def print_json(value: Any) -> None:
    """A whole result, indented; its text is never in memory as a whole."""
    for piece in pieces(value, 2):
        sys.stdout.write(piece)
    sys.stdout.write("\n")


def print_json_list(head: Result, items: Iterable[Result]) -> None:
    """A result whose last field is a long list: empty in head, and never in memory as a whole."""
    sys.stdout.write(dumps(head).removesuffix("]}"))
    separator = "\n"
    for item in items:
        sys.stdout.write(separator + dumps(item))
        separator = ",\n"
    sys.stdout.write("\n]}\n")
