"""The JSON description at the end of a stream: where it is, and what size it gives each device.

Upstream: QEMU migration/vmstate.c (vmsd_desc_field_start, vmsd_desc_field_end,
vmstate_subsection_save) and migration/savevm.c vmstate_save_old_style().
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.source import Source

__all__ = ["VMDESC_CEILING", "DeviceDescription", "VmDescription", "find_vmdesc"]

#: A longer description is not read: real ones are 0.1 to some 10 MiB.
VMDESC_CEILING = 1 << 26

#: A name's length is one byte in the stream.
_NAME_CEILING = 255

#: Structs inside structs deeper than this are not QEMU's.
_DEPTH_CEILING = 64

#: How much is searched for a description, from the end of the file and from where devices begin.
_SEARCH_CEILING = 1 << 26
_SEARCH_STEP = 1 << 20
_CANDIDATES_CEILING = 16

_HEADER_SIZE = stream.VMDESCRIPTION.size
_CANDIDATE = re.compile(re.escape(bytes([SectionType.VMDESCRIPTION])) + rb"(?=.{4}\{)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """One entry of `devices`; size is the length of its body in the stream, in bytes."""

    name: str
    instance_id: int
    version: int
    size: int


@dataclass(frozen=True, slots=True)
class VmDescription:
    """A description found at offset (of its section type byte); length is the JSON's, in bytes."""

    offset: int
    length: int
    page_size: int | None
    devices: tuple[DeviceDescription, ...]
    configuration: dict[str, int]

    def by_section(self) -> dict[tuple[str, int], deque[DeviceDescription]]:
        """Devices by name and instance_id, in order, for those that share both."""
        table: dict[tuple[str, int], deque[DeviceDescription]] = defaultdict(deque)
        for device in self.devices:
            table[device.name, device.instance_id].append(device)
        return table

    @classmethod
    def parse(cls, text: bytes, offset: int) -> VmDescription:
        """Read the JSON whose section begins at offset; FormatError if it is no description."""
        try:
            document = json.loads(text)
            devices = tuple(_device(entry) for entry in document["devices"])
            page_size = document.get("page_size")
            configuration = _subsection_sizes(document.get("configuration") or {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(
                "the device description cannot be read",
                offset=offset,
                path="vmdescription",
                expected="the JSON object QEMU writes",
                found=_summary(error),
            ) from error
        known = isinstance(page_size, int) and not isinstance(page_size, bool)
        return cls(offset, len(text), page_size if known else None, devices, configuration)


def _summary(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "values nested without end"
    if isinstance(error, KeyError):
        return f"no {error}"
    return str(error)[:200]


def _device(entry: dict[str, Any]) -> DeviceDescription:
    return DeviceDescription(
        name=_typed(entry["name"], str),
        instance_id=_typed(entry["instance_id"], int),
        version=_typed(entry.get("version", 0), int),
        size=_struct_size(entry, 0),
    )


def _typed(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.60} where {kind.__name__} belongs")
    return value


def _struct_size(struct: dict[str, Any], depth: int) -> int:
    """Bytes of a vmstate: its fields, then its subsections with their headers.

    A field's size covers everything inside one element of it, array_len the elements in a row.
    """
    if depth > _DEPTH_CEILING:
        raise ValueError("structures nested without end")
    total = 0
    for entry in struct.get("fields", ()):
        size = _typed(entry["size"], int)
        count = _typed(entry.get("array_len", 1), int)
        if size < 0 or count < 0:
            raise ValueError(f"negative size in field {str(entry.get('name'))[:60]!r}")
        total += size * count
    for subsection in struct.get("subsections", ()):
        total += _subsection_header_size(subsection) + _struct_size(subsection, depth + 1)
    # An old-style section has no fields, only a size (vmstate_save_old_style).
    if "fields" not in struct and "size" in struct:
        total += _typed(struct["size"], int)
    if total < 0:
        raise ValueError(f"negative size of {str(struct.get('name'))[:60]!r}")
    return total


def _subsection_header_size(subsection: dict[str, Any]) -> int:
    name = _typed(subsection["vmsd_name"], str).encode()
    if len(name) > _NAME_CEILING:
        raise ValueError(f"a subsection's name of {len(name)} bytes")
    return len(stream.SUBSECTION.build(stream.Subsection(SectionType.SUBSECTION, name, 0)))


def _subsection_sizes(configuration: dict[str, Any]) -> dict[str, int]:
    """Length of the body of each subsection of the configuration section, by name."""
    return {
        _typed(entry["vmsd_name"], str): _struct_size(entry, 1)
        for entry in configuration.get("subsections", ())
    }


def find_vmdesc(source: Source, start: int) -> VmDescription | None:
    """The description that lies at or behind start, None if there is none that can be read.

    It has no pointer to it and things may follow it, so candidates are searched for: a section
    type byte with a length and a `{`, whose JSON is a description.  The last one that ends exactly
    with the file wins, otherwise the last one of all; so a guest whose memory holds an image, or
    trailing bytes, do not mislead.
    """
    found = None
    tries = 0
    for offset in _candidates(source, start):
        length = int.from_bytes(source.read_exact(offset + 1, _HEADER_SIZE - 1), "big")
        stop = offset + _HEADER_SIZE + length
        if stop > source.size or length > VMDESC_CEILING or not _closes(source, stop):
            continue
        tries += 1
        if tries > _CANDIDATES_CEILING:
            break
        try:
            parsed = VmDescription.parse(source.read_exact(offset + _HEADER_SIZE, length), offset)
        except FormatError:
            continue
        if stop == source.size:
            return parsed
        found = found or parsed
    return found


def _closes(source: Source, stop: int) -> bool:
    return source.read_exact(stop - 1, 1) == b"}"


def _candidates(source: Source, start: int) -> Iterator[int]:
    """Offsets where a description may begin: backwards from the file's end, then from start."""
    floor = max(start, source.size - _SEARCH_CEILING)
    position = source.size
    while position > floor:
        low = max(floor, position - _SEARCH_STEP)
        yield from reversed(_matches(source, low, position))
        position = low
    for low in range(start, min(floor, start + _SEARCH_CEILING), _SEARCH_STEP):
        yield from _matches(source, low, min(low + _SEARCH_STEP, floor))


def _matches(source: Source, low: int, high: int) -> list[int]:
    """Candidates that begin in [low, high), though they may reach behind it."""
    window = source.read_upto(low, high - low + _HEADER_SIZE)
    return [
        low + match.start() for match in _CANDIDATE.finditer(window) if match.start() < high - low
    ]
