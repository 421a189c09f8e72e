"""Tables in Markdown, with their columns aligned in the source too; fields of a layout as rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import construct as cs

from specification.meanings import STRUCTURES, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fixedram_fmt.schema.base import Schema

__all__ = ["field_rows", "structure", "table", "values"]

_INTEGERS = {"B": ("u8", 1), "H": ("u16", 2), "L": ("u32", 4), "Q": ("u64", 8), "I": ("u32", 4)}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, ending in a newline; `|` in cells is escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, _line(["-" * width for width in widths], widths))
    return "".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"| {' | '.join(cells)} |\n"


def field_rows(schema: Schema[Any]) -> Iterator[tuple[str, str, str, str]]:
    """(offset, size, name, type) of each field; sizes that vary are said by the field they are."""
    offset, varying = 0, ""
    for field in schema.layout.subcons:
        type_, size = _type(field)
        yield f"{offset}{varying}", size, str(field.name), type_
        if size.isdigit():
            offset += int(size)
        else:
            varying += f" + {size}"


def _type(field: Any) -> tuple[str, str]:
    """Type and size of a field as the specification writes them."""
    inner = field.subcon
    while isinstance(inner, cs.Rebuild):
        inner = inner.subcon
    if isinstance(inner, cs.FormatField):
        name, size = _INTEGERS[inner.fmtstr[1]]
        return name, str(size)
    length = inner.length
    if isinstance(length, int):
        return f"bytes[{length}]", str(length)
    counted = re.fullmatch(r"this\['(\w+)'\]|this\.(\w+)", repr(length))
    assert counted, f"a length that is no field: {length!r}"
    name = counted[1] or counted[2]
    return f"bytes[{name}]", name


def structure(key: str) -> str:
    """A structure of STRUCTURES as a table, with its size and where upstream defines it."""
    entry = STRUCTURES[key]
    rows = [
        (offset, size, f"`{name}`", type_, entry.meanings[name])
        for offset, size, name, type_ in field_rows(entry.schema)
    ]
    size = f"{entry.schema.size} bytes" if entry.schema.is_fixed else "variable"
    head = f"**{entry.name}** ({size}; {entry.schema.upstream})\n\n"
    return head + table(("offset", "size", "name", "type", "meaning"), rows)


def values(key: str) -> str:
    """An enumeration of VALUES as a table; flags with a width in hex digits."""
    entry = VALUES[key]
    rows = [
        (
            f"{member:#0{entry.width + 2}x}" if entry.width else str(int(member)),
            f"`{member.name}`",
            entry.meanings[member.name],
        )
        for member in entry.members
    ]
    head = f"**{entry.members.__name__}**\n\n"
    return head + table(("value", "name", "meaning"), rows)


def _number(value: int, width: int) -> str:
    return f"{value:#0{width + 2}x}" if width else str(int(value))
