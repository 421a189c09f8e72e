"""Device state in the form QEMU's own analyzer prints: the same keys, order and strings.

What `scripts/analyze-migration.py -d state` of QEMU 11 prints: numbers are hexadecimal strings as
wide as the field, negative ones followed by the decimal value, bytes are hexadecimal pairs, a name
that occurs again becomes a list.  Where that script gives up (no
description, sections it does not know), a device is its bytes, and `""` what it has no form for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixedram_fmt.stream.framing import FRAMINGS

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.state import DeviceState, MachineState
    from fixedram_fmt.vmstate.structure import Structure

__all__ = ["as_json", "document"]

#: What the analyzer takes for numbers, and which of them for signed ones; the rest is bytes.
_UNSIGNED = frozenset({"uint8", "uint16", "uint32", "uint32 equal", "uint64"})
_SIGNED = frozenset(
    {"int8", "int16", "int32", "int32 equal", "int32 le", "int64", "int64 equal"}
    | {"uint8 equal", "uint16 equal"}
)


def document(image: Image, state: MachineState) -> dict[str, Any]:
    """The object the analyzer prints: `name (section id)` -> fields, RAM's block sizes first."""
    found: dict[str, Any] = {}
    devices = {device.section_id: device for device in state.devices}
    for section in image.sections:
        key = f"{section.name} ({section.section_id})"
        if section.is_ram:
            sizes = {block.name: f"0x{block.used_length:016x}" for block in image.blocks}
            found[key] = {"section sizes": sizes}
        else:
            found[key] = _device(devices[section.section_id])
    return found


def as_json(document: dict[str, Any]) -> str:
    """document as the analyzer prints it: four spaces, non-ASCII escaped."""
    import msgspec

    encoded = msgspec.json.encode(document)
    if encoded.isascii():
        return msgspec.json.format(encoded, indent=4).decode()
    return json.dumps(document, indent=4)


def _device(device: DeviceState) -> Any:
    if device.name.encode("utf-8", "replace") in FRAMINGS and device.structure is None:
        return ""
    body = device.read(0, device.size)
    if device.structure is None:
        return body.hex(" ")
    return _structure(device.structure, body, 0)


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
    if digits[0] < "8":
        return "0x" + digits
    return f"0x{digits} ({int(digits, 16) - (1 << 4 * len(digits))})"
