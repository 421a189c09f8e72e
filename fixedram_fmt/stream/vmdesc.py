"""The JSON description at the end of a stream: where it is, and what size it gives each device.

Upstream: QEMU migration/vmstate.c (vmsd_desc_field_start, vmsd_desc_field_end,
vmstate_subsection_save) and migration/savevm.c vmstate_save_old_style().
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.schema.vmdesc import (
    DEPTH_CEILING,
    Sized,
    SizedDocument,
    decoded,
    header_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.io.source import Source

__all__ = ["VMDESC_CEILING", "DeviceDescription", "VmDescription", "find_vmdesc"]

#: A longer description is not read: 100,000 fields take about 10 MiB.
VMDESC_CEILING = 1 << 24

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
    vmsd_name: str = ""


@dataclass(frozen=True, slots=True)
class VmDescription:
    """A description found at offset (of its section type byte); length is the JSON's, in bytes."""

    offset: int
    length: int
    page_size: int | None
    devices: tuple[DeviceDescription, ...]
    configuration: dict[str, int]

    @property
    def json_offset(self) -> int:
        """Where the JSON itself begins."""
        return self.offset + _HEADER_SIZE

    def by_section(self) -> dict[tuple[str, int], list[DeviceDescription]]:
        """Devices by name and instance_id; of those that share both the first is the list's last.

        So each is taken by pop().
        """
        table: dict[tuple[str, int], list[DeviceDescription]] = {}
        for device in reversed(self.devices):
            table.setdefault((device.name, device.instance_id), []).append(device)
        return table

    @classmethod
    def parse(cls, text: bytes, offset: int) -> VmDescription:
        """Read the JSON whose section begins at offset; FormatError if it is no description."""
        try:
            document = decoded(text, SizedDocument)
            devices = tuple(
                DeviceDescription(
                    entry.name, entry.instance_id, entry.version, _size(entry), entry.vmsd_name
                )
                for entry in document.devices
            )
            configuration = {
                entry.vmsd_name: _size(entry) for entry in document.configuration.subsections
            }
        except (ValueError, RecursionError) as error:
            nested = isinstance(error, RecursionError)
            raise FormatError(
                "the device description cannot be read",
                offset=offset,
                path="vmdescription",
                expected="the JSON object QEMU writes",
                found="values nested without end" if nested else str(error)[:200],
            ) from error
        return cls(offset, len(text), document.page_size, devices, configuration)


def _size(vmstate: Sized, depth: int = 0) -> int:
    """Bytes of a vmstate in the stream; ValueError for what none can be."""
    if depth > DEPTH_CEILING:
        raise ValueError("structures nested without end")
    total = vmstate.size if vmstate.fields is None else 0
    for entry in vmstate.fields or ():
        if entry.size < 0 or entry.count < 0:
            raise ValueError(f"a negative size in {vmstate.vmsd_name[:60]!r}")
        total += entry.size * entry.count
    for subsection in vmstate.subsections:
        total += header_size(subsection.vmsd_name) + _size(subsection, depth + 1)
    if total < 0:
        raise ValueError(f"a negative size of {vmstate.vmsd_name[:60]!r}")
    return total


def find_vmdesc(source: Source, start: int) -> VmDescription | None:
    """The description that lies at or after start, None if there is none that can be read.

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
    """Candidates that begin in [low, high), though they may reach after it."""
    window = source.read_upto(low, high - low + _HEADER_SIZE)
    return [
        low + match.start() for match in _CANDIDATE.finditer(window) if match.start() < high - low
    ]
