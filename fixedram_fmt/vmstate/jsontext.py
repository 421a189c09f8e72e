"""Decoded values as JSON text in pieces, so that no value is in memory as a whole.

A structure with few values is decoded at once; of a larger one each member comes after the other,
of arrays some elements, of bytes some thousand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fixedram_fmt.results import dumps, plain
from fixedram_fmt.vmstate.structure import converter
from fixedram_fmt.vmstate.values import children, member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import Value

__all__ = ["few", "hex_digits", "located_pieces", "value_pieces"]

#: So many values, and so many bytes, are decoded at once.
_FEW = 2048
_SHORT = 1 << 16


def few(structure: Structure | None, count: int, size: int) -> int:
    """How many of count elements of size bytes are decoded at once; 0: not even one."""
    values = structure.values if structure is not None else 1
    return min(count, _FEW // values, _SHORT // size if size else count)


def value_pieces(value: Value) -> Iterator[str]:
    """The value as JSON: numbers as numbers, bytes as digits, arrays as lists, no more."""
    if value.parts is not None:
        yield from _list(_inside(part) for part in value.parts)
    elif value.is_array:
        yield "["
        yield from _inside(value)
        yield "]"
    elif value.structure is None:
        yield from _leaf(value)
    elif few(value.structure, 1, value.size):
        yield dumps(plain(value.structure.decode(value.raw)))
    else:
        separator = "{"
        for one in value.structure.members:
            yield f"{separator}{dumps(one.name)}: "
            yield from value_pieces(member(value, one))
            separator = ", "
        yield "{}" if separator == "{" else "}"


def located_pieces(value: Value) -> Iterator[str]:
    """The same with where each value lies: an object for each that has no parts."""
    if value.parts is not None or (value.is_array and value.structure is not None):
        yield from _list(located_pieces(child) for child in children(value))
    elif value.structure is not None:
        separator = "{"
        for child in children(value):
            yield f"{separator}{dumps(child.path[len(value.path) + 1 :])}: "
            yield from located_pieces(child)
            separator = ", "
        yield "{}" if separator == "{" else "}"
    else:
        yield '{"value": '
        yield from value_pieces(value)
        place = {"type": value.type, "offset": value.offset, "size": value.size}
        yield ", " + dumps(place)[1:]


def hex_digits(value: Value, separator: str = "") -> Iterator[str]:
    """The digits of its bytes, with a separator between them."""
    between = ""
    for start in range(0, value.size, _SHORT):
        raw = value.device.read(value.start + start, min(_SHORT, value.size - start))
        yield between + (raw.hex(separator) if separator else raw.hex())
        between = separator


def _list(items: Iterable[Iterator[str]]) -> Iterator[str]:
    separator = "["
    for item in items:
        first = next(item, None)
        if first is None:
            continue
        yield separator + first
        yield from item
        separator = ", "
    yield "[]" if separator == "[" else "]"


def _leaf(value: Value) -> Iterator[str]:
    if value.size <= _SHORT:
        yield dumps(plain(value.value))
        return
    # Nothing that long is anything but bytes.
    yield '"'
    yield from hex_digits(value)
    yield '"'


def _inside(value: Value) -> Iterator[str]:
    """The elements of an array without brackets (or the value itself); nothing if it has none."""
    field = value.field
    if not value.is_array or field is None:
        yield from value_pieces(value)
        return
    step = few(value.structure, field.count, field.size)
    if not step:
        separator = ""
        for child in children(value):
            yield separator
            yield from value_pieces(child)
            separator = ", "
        return
    separator = ""
    for first in range(0, field.count, step):
        count = min(step, field.count - first)
        convert = converter(replace(field, array_len=count), value.structure)
        raw = value.device.read(value.start + first * field.size, count * field.size)
        yield separator + dumps(plain(convert(raw, 0)))[1:-1]
        separator = ", "
