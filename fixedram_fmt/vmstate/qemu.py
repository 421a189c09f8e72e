"""Device state in the form QEMU's own analyzer prints: the same keys, order and strings.

What `scripts/analyze-migration.py -d state` of QEMU 11 prints: numbers are hexadecimal strings as
wide as the field, negative ones followed by the decimal value, bytes are hexadecimal pairs, a name
that occurs again becomes a list.  Where that script gives up (no
description, sections it does not know), a device is its bytes, and `""` what it has no form for.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fixedram_fmt.results import dumps
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.vmstate.jsontext import few, hex_digits
from fixedram_fmt.vmstate.values import children, member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.structure import Structure
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["document", "pieces"]

_INDENT = "    "
#: A longer number is only its digits: in decimal it would take time that grows with their square.
_LONGEST_NUMBER = 8

#: What the analyzer takes for numbers, and which of them for signed ones; the rest is bytes.
_UNSIGNED = frozenset({"uint8", "uint16", "uint32", "uint32 equal", "uint64"})
_SIGNED = frozenset(
    {"int8", "int16", "int32", "int32 equal", "int32 le", "int64", "int64 equal"}
    | {"uint8 equal", "uint16 equal"}
)


def document(image: ImageFacts, state: MachineState) -> dict[str, Any]:
    """The object the analyzer prints: `name (section id)` -> fields, RAM's block sizes first."""
    found: dict[str, Any] = json.loads("".join(pieces(image, state)))
    return found


def pieces(image: ImageFacts, state: MachineState) -> Iterator[str]:
    """The document as the analyzer prints it, four spaces deep and ASCII, written as it is read."""
    devices = {device.section_id: device for device in state.devices}
    separator = "{\n"
    for section in image.sections:
        yield f"{separator}{_INDENT}{dumps(f'{section.name} ({section.section_id})')}: "
        if section.is_ram:
            yield from _ram(image)
        else:
            yield from _device(devices[section.section_id])
        separator = ",\n"
    yield "{}" if separator == "{\n" else "\n}"


def _ram(image: ImageFacts) -> Iterator[str]:
    yield f'{{\n{_INDENT * 2}"section sizes": '
    sizes = ((block.name, f"0x{block.used_length:016x}") for block in image.blocks)
    yield from _entries(((name, iter([dumps(size)])) for name, size in dict(sizes).items()), 2)
    yield f"\n{_INDENT}}}"


def _device(device: DeviceState) -> Iterator[str]:
    if device.name.encode("utf-8", "replace") in FRAMINGS and device.structure is None:
        yield '""'
    elif device.structure is None:
        yield from _bytes(device.root)
    else:
        yield from _value(device.root, 1)


def _entries(entries: Iterable[tuple[str, Iterator[str]]], level: int) -> Iterator[str]:
    """An object on lines of its own; level is how deep it begins."""
    separator = "{\n"
    for name, content in entries:
        yield f"{separator}{_INDENT * (level + 1)}{dumps(name)}: "
        yield from content
        separator = ",\n"
    yield "{}" if separator == "{\n" else f"\n{_INDENT * level}}}"


def _value(value: Value, level: int) -> Iterator[str]:
    """One structure: at once where it is small, else member by member."""
    structure = value.structure
    assert structure is not None
    if few(structure, 1, value.size):
        yield _indented(_structure(structure, value.raw, 0), level)
        return
    yield from _entries(
        ((one.name, _member(member(value, one), level + 1)) for one in structure.members), level
    )


def _member(value: Value, level: int) -> Iterator[str]:
    """A member: an array is a list unless it has one element, as in the analyzer."""
    parts = value.parts if value.parts is not None else [value]
    if sum(part.field.count if part.field else 1 for part in parts) == 1:
        for part in parts:
            for item in _items(part, level):
                yield from item
        return
    separator = "[\n"
    for item in chain.from_iterable(_items(part, level + 1) for part in parts):
        yield f"{separator}{_INDENT * (level + 1)}"
        yield from item
        separator = ",\n"
    yield "[]" if separator == "[\n" else f"\n{_INDENT * level}]"


def _items(value: Value, level: int) -> Iterator[Iterator[str]]:
    """The elements of a field, each as its text; level is how deep they begin."""
    field, nested = value.field, value.structure
    if field is None or (field.array_len is None and nested is not None):
        yield _value(value, level)
        return
    step = few(nested, field.count, field.size)
    if not step:
        for child in children(value) if value.is_array else (value,):
            yield _value(child, level) if nested is not None else _long(child)
        return
    for first in range(0, field.count, step):
        count = min(step, field.count - first)
        raw = value.device.read(value.start + first * field.size, count * field.size)
        some = replace(field, array_len=count)
        for shown in _elements(some, nested, raw, 0):
            yield iter([_indented(shown, level)])


def _long(value: Value) -> Iterator[str]:
    """One value of many bytes: a number without an end to its digits, or bytes."""
    if value.type == "bool":
        yield dumps(any(any(piece) for piece in value.pieces()))
    elif value.type in _UNSIGNED or value.type in _SIGNED:
        yield '"0x'
        yield from hex_digits(value)
        yield '"'
    elif value.type == "nullptr":
        yield '"nullptr"'
    else:
        yield from _bytes(value)


def _bytes(value: Value) -> Iterator[str]:
    yield '"'
    yield from hex_digits(value, " ")
    yield '"'


def _indented(shown: Any, level: int) -> str:
    if not shown or isinstance(shown, (str, bool)):
        # json is slow where it indents, and here there is nothing to.
        return dumps(shown)
    # Strings have no line ends of their own in JSON.
    return dumps(shown, 4).replace("\n", "\n" + _INDENT * level)


def _structure(structure: Structure, body: bytes, at: int) -> dict[str, Any]:
    elements: dict[str, list[Any]] = {}
    for field, nested, offset in zip(
        structure.fields, structure.nested, structure.offsets, strict=True
    ):
        shown = _elements(field, nested, body, at + offset)
        if field.name in elements:
            elements[field.name] += shown
        else:
            elements[field.name] = shown
    found = {name: shown[0] if len(shown) == 1 else shown for name, shown in elements.items()}
    for _, offset, child in structure.subsections:
        found[child.vmsd_name] = _structure(child, body, at + offset)
    return found


def _elements(field: Field, nested: Structure | None, body: bytes, at: int) -> list[Any]:
    """A field's elements, each as the analyzer shows it."""
    count, size, kind = field.count, field.size, field.type
    if kind == "struct" and nested is not None:
        return [_structure(nested, body, at + number * size) for number in range(count)]
    if kind == "nullptr":
        return ["nullptr"] * count
    return _plain(kind, count, size, body[at : at + count * size])


def _plain(kind: str, count: int, size: int, raw: bytes) -> list[Any]:
    """The elements of an array of numbers, bools or bytes (or the one there is)."""
    if kind in _UNSIGNED and size:
        return ["0x" + digits for digits in raw.hex(" ", size).split()]
    if kind in _SIGNED and size:
        return [_signed(digits) for digits in raw.hex(" ", size).split()]
    if kind == "bool":
        return [any(raw[start : start + size]) for start in range(0, count * size, size or 1)]
    if count == 1:
        return [raw.hex(" ")]
    return [raw[number * size : number * size + size].hex(" ") for number in range(count)]


def _signed(digits: str) -> str:
    """A number by its hexadecimal digits; a negative one with what it is."""
    if digits[0] < "8" or len(digits) > 2 * _LONGEST_NUMBER:
        return "0x" + digits
    return f"0x{digits} ({int(digits, 16) - (1 << 4 * len(digits))})"
