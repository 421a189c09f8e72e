"""JSON on stdout: one object, ASCII only, so that nothing in it can act on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["dumps", "print_json", "print_json_list"]


def dumps(value: Any, indent: int | None = None) -> str:
    """value as JSON, ASCII alone."""
    from fixedram_fmt.vmstate import jsontext

    return jsontext.dumps(value, indent)


def print_json(value: Mapping[str, Any]) -> None:
    """The whole object, indented; its text is never in memory as a whole."""
    from fixedram_fmt.vmstate.jsontext import pieces

    for piece in pieces(value, 2):
        sys.stdout.write(piece)
    sys.stdout.write("\n")


def print_json_list(head: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]) -> None:
    """An object with head's keys and one long list that is never held in memory as a whole."""
    start = dumps(head)[:-1]
    sys.stdout.write(start + (", " if head else "") + f"{dumps(name)}: [")
    separator = "\n"
    for item in items:
        sys.stdout.write(separator + dumps(item))
        separator = ",\n"
    sys.stdout.write("\n]}\n")
