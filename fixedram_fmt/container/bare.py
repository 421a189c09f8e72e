"""The stream as it is: at the start of a file, or further in, at an offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fixedram_fmt.container.wrapper import Container, Place, Wrapper
from fixedram_fmt.schema.stream import (
    FILE_HEADER,
    QEMU_VM_FILE_MAGIC,
    QEMU_VM_FILE_VERSION,
    FileHeader,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.io.source import Source

__all__ = ["Prefix", "at_offset", "stream_at", "stream_offsets"]

_STREAM_HEAD = FILE_HEADER.build(FileHeader(QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION))
_SEARCH_STEP = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix(Wrapper):
    """Bytes of nobody's before a stream whose offset was given, or found by search."""

    kind: ClassVar[str] = "offset"
    holds_stream: ClassVar[bool] = True


def at_offset(source: Source, offset: int) -> Container:
    """Around a stream at a known offset."""
    prefix = Prefix(outer=Place(source, 0), inner=Place(source, offset))
    return Container((prefix,) if offset else ())


def stream_at(place: Place) -> bool:
    """Whether a stream's magic is there."""
    return place.source.read_upto(place.offset, len(QEMU_VM_FILE_MAGIC)) == QEMU_VM_FILE_MAGIC


def stream_offsets(source: Source, start: int = 0, stop: int | None = None) -> Iterator[int]:
    """Offsets in [start, stop) of what looks like a stream's header, in the data of the file."""
    overlap = len(_STREAM_HEAD) - 1
    for extent in source.extents(start, stop):
        if not extent.data:
            continue
        for offset in range(extent.start, extent.stop, _SEARCH_STEP):
            length = min(_SEARCH_STEP, extent.stop - offset)
            window = source.read_upto(offset, length + overlap)
            index = window.find(_STREAM_HEAD)
            while index >= 0:
                yield offset + index
                index = window.find(_STREAM_HEAD, index + 1)
