"""A description (vmdesc) as structures to decode with, compiled device by device when asked for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.documents import json_document
from fixedram_fmt.schema.vmdesc import (
    DEPTH_CEILING,
    NAME_CEILING,
    SIZE_CEILING,
    Device,
    Document,
    Field,
    Vmstate,
    decoded,
)
from fixedram_fmt.vmstate.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fixedram_fmt.facts import ImageFacts

__all__ = ["VALUES_CEILING", "Description"]

#: A device with more values than this is not decoded: its memory would be out of proportion.
VALUES_CEILING = 1 << 20

#: Types whose description carries a structure, under `struct` or by itself.
_NESTED = frozenset({"struct", "tmp"})

#: Nested text is read again at each level: so many times the description's length at most.
_NESTED_SHARE = 4
_LEAST_NESTED = 1 << 20

#: Different structures in one description; a large machine has some hundred.
_STRUCTURES_CEILING = 1 << 15

#: Fields of all of them; 255 vCPUs have the same few hundred.
_FIELDS_CEILING = 1 << 18

_NOTHING = msgspec.Raw()

_UINT32 = 1 << 32

#: What QEMU calls the device when all that is known of it is a size (vmstate_save_old_style).
_OLD_STYLE = "data"


class Description:
    """The devices of one description, and the structures that read their state.

    name says where it came from, for messages.  Equal structures are compiled once.
    """

    def __init__(self, text: bytes, *, name: str, offset: int = 0) -> None:
        self.text = text
        self.name = name
        self._offset = offset
        self._compiled: dict[bytes, Structure] = {}
        self._fields_left = _FIELDS_CEILING
        self._left = _LEAST_NESTED + _NESTED_SHARE * len(text)
        try:
            self.document = decoded(text, Document)
        except (ValueError, RecursionError) as error:
            raise self._error(error) from error

    @classmethod
    def of_image(cls, image: ImageFacts) -> Description | None:
        """The description in an image; None where there is none that can be read."""
        found = image.vmdesc
        if found is None:
            return None
        text = image.source.read_exact(found.json_offset, found.length, "vmdescription")
        return cls(text, name=image.source.name, offset=found.offset)

    @property
    def devices(self) -> list[Device]:
        """The devices in the description's order, which is that of the stream."""
        return self.document.devices

    def as_json(self) -> Any:
        """All of it, as `state --desc` prints it; FormatError where no description has so much."""
        try:
            return json_document(self.text)
        except ValueError as error:
            raise self._error(error) from error

    def by_section(self) -> dict[tuple[str, int], list[Device]]:
        """Devices by name and instance_id; of those that share both the first is the list's last.

        So each is taken by pop().
        """
        table: dict[tuple[str, int], list[Device]] = {}
        for device in reversed(self.devices):
            table.setdefault((device.name, device.instance_id), []).append(device)
        return table

    def structure(self, device: Device) -> Structure:
        """The structure of one of the devices; FormatError for one that cannot be."""
        try:
            found = self._parsed(_key(device), lambda: _vmstate(device), 0)
            if found.values > VALUES_CEILING:
                raise ValueError(f"{found.values} values, more than any device has")
        except (ValueError, RecursionError) as error:
            raise self._error(error, device.name) from error
        return found

    def subsections(self) -> dict[str, list[Structure]]:
        """Every subsection that any device is described with, by name; what fails is left out."""
        table: dict[str, list[Structure]] = defaultdict(list)
        seen: set[int] = set()
        for device in self.devices:
            try:
                _collect(self.structure(device), table, seen)
            except FormatError:
                continue
        return table

    # -- compiling ------------------------------------------------------------------------------

    def _compile(self, vmstate: Vmstate, depth: int) -> Structure:
        if depth > DEPTH_CEILING:
            raise ValueError("structures nested without end")
        fields = vmstate.fields
        if fields is None:
            fields = [Field(name=_OLD_STYLE, type="buffer", size=vmstate.size)]
        self._fields_left -= len(fields)
        if self._fields_left < 0:
            raise ValueError("more fields than any machine has")
        for field in fields:
            _check(field)
        nested = [
            self._nested(field, depth + 1) if field.type in _NESTED else None for field in fields
        ]
        for field in fields:
            # Compiled now: their text is needed no more.
            field.struct = field.fields = field.subsections = _NOTHING
        subsections = [self._text(raw, depth + 1) for raw in vmstate.subsections]
        for child in subsections:
            if not 0 <= child.version < _UINT32:
                raise ValueError(f"version {child.version} of {child.vmsd_name[:60]!r}")
        found = Structure(vmstate.vmsd_name, vmstate.version, fields, nested, subsections)
        if found.size > SIZE_CEILING:
            raise ValueError(f"{found.size} bytes in {vmstate.vmsd_name[:60]!r}")
        return found

    def _nested(self, field: Field, depth: int) -> Structure | None:
        """What a field is made of; None where that is not said, or does not add up to its size."""
        if memoryview(field.struct).nbytes:
            found = self._text(field.struct, depth)
        elif memoryview(field.fields).nbytes:
            text = _as_vmstate(field)
            found = self._text(text, depth)
        else:
            return None
        return found if found.size == field.size else None

    def _text(self, raw: bytes | msgspec.Raw, depth: int) -> Structure:
        """The structure that a text means."""
        return self._parsed(raw, lambda: msgspec.json.decode(raw, type=Vmstate), depth)

    def _parsed(
        self, text: bytes | msgspec.Raw, vmstate: Callable[[], Vmstate], depth: int
    ) -> Structure:
        """The structure of a text; equal texts are read once, and not kept."""
        view = memoryview(text)
        key = hashlib.sha256(view).digest()
        found = self._compiled.get(key)
        if found is None:
            if depth:
                self._left -= view.nbytes
            if self._left < 0 or len(self._compiled) >= _STRUCTURES_CEILING:
                raise ValueError("more structures than any machine has")
            found = self._compile(vmstate(), depth)
            self._compiled[key] = found
        return found

    def _error(self, error: Exception, device: str = "") -> FormatError:
        nested = isinstance(error, RecursionError)
        return FormatError(
            "the device description cannot be read",
            offset=self._offset,
            path=f"vmdescription/{device}" if device else "vmdescription",
            expected="the JSON object QEMU writes",
            found="values nested without end" if nested else str(error)[:200],
        )


def _check(field: Field) -> None:
    """ValueError for what no field can be."""
    if field.size < 0 or (field.array_len or 0) < 0:
        raise ValueError(f"a negative size of {field.name[:60]!r}")
    if max(field.size, field.array_len or 0) > SIZE_CEILING:
        raise ValueError(f"a size of {field.name[:60]!r} that no device has: {field.size}")
    if max(len(field.name), len(field.type)) > NAME_CEILING:
        raise ValueError(f"a name of {len(field.name)} characters, {field.name[:60]!r}...")


def _key(device: Device) -> bytes:
    """What two devices with one structure have in common."""
    head = msgspec.json.encode([device.vmsd_name, device.version, device.size])
    return b"%s%s\0%s" % (head, bytes(device.fields), bytes(device.subsections))


def _vmstate(device: Device) -> Vmstate:
    fields, subsections = bytes(device.fields), bytes(device.subsections)
    return Vmstate(
        vmsd_name=device.vmsd_name,
        version=device.version,
        fields=msgspec.json.decode(fields or b"null", type=list[Field] | None),
        subsections=msgspec.json.decode(subsections or b"[]", type=list[msgspec.Raw]),
        size=device.size,
    )


def _as_vmstate(field: Field) -> bytes:
    """The text of a `tmp` field (VMSTATE_WITH_TMP), which carries its structure's keys itself."""
    subsections = bytes(field.subsections) or b"[]"
    return b'{"vmsd_name":%s,"version":%d,"fields":%s,"subsections":%s}' % (
        msgspec.json.encode(field.vmsd_name),
        field.version,
        bytes(field.fields),
        subsections,
    )


def _collect(structure: Structure, table: dict[str, list[Structure]], seen: set[int]) -> None:
    if id(structure) in seen:
        return
    seen.add(id(structure))
    children: Sequence[Structure | None] = structure.nested
    for child in children:
        if child is not None:
            _collect(child, table, seen)
    for subsection in structure.subsections:
        table[subsection.structure.vmsd_name].append(subsection.structure)
        _collect(subsection.structure, table, seen)
