"""Guest-physical memory of an image as forensic tools want it: what can be read, and from where.

Unlike PhysicalMemory it makes do with a damaged image: what was cut off is a hole like any other.
"""

from __future__ import annotations

import weakref
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.source import READ_CEILING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = ["GuestMemory", "State", "Tile"]


class State(Enum):
    """What is at an address: bytes of the image, a page it left out, or nothing."""

    DATA = "data"
    ZERO = "zero"
    HOLE = "hole"


class Tile(NamedTuple):
    """Addresses [start, stop) and where they lie in the file, if they do as they are."""

    start: int
    stop: int
    state: State
    file_offset: int | None = None


class GuestMemory:
    """The memory of an open image by guest-physical address; the image is closed with it.

    Raises FixedRamError where the image says nothing of addresses, or has none of the memory.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        weakref.finalize(self, image.close)
        self.notes: list[str] = []
        self._memory = image.physical_memory
        self._map = self._memory.map
        self._size = image.source.size
        if image.stopped:
            self.notes.append(f"the stream stops early: {image.stopped}")
        blocks = {piece.block.index: piece.block for piece in self._map}
        self._lost = {index for index, block in blocks.items() if self._is_lost(block)}
        if len(self._lost) == len(blocks):
            raise FixedRamError("; ".join((*self._map.notes, *self.notes)) or "no memory map")
        #: Bytes after the end of a file that was cut off; such files alone need a look at runs.
        self._cut = any(
            block.has_pages and block.pages_stop > self._size for block in blocks.values()
        )
        self._in_base = _lies_in_base(image)

    def _is_lost(self, block: RamBlock) -> bool:
        """Whether nothing of a block can be read: shared memory, a bitmap after the file's end."""
        try:
            self._memory.block(block)
        except FixedRamError as error:
            self.notes.append(f"{block.name}: {error}")
            return True
        return False

    @property
    def start(self) -> int:
        """Where the first range of memory starts."""
        return self._map.ranges[0].start

    @property
    def stop(self) -> int:
        """Where the last one ends."""
        return self._map.stop

    @property
    def map_notes(self) -> tuple[str, ...]:
        """What the map guesses."""
        return self._map.notes

    def is_valid(self, start: int, stop: int) -> bool:
        """Whether all of [start, stop) can be read."""
        if self._cut:
            return all(tile.state is not State.HOLE for tile in self.tiles(start, stop))
        return all(
            piece is not None and piece.block.index not in self._lost
            for _first, _last, piece in self._map.parts(start, stop)
        )

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        """What tiles [start, stop), in order; costs what the bitmaps cost."""
        for first, last, piece in self._map.parts(start, stop):
            if piece is None or piece.block.index in self._lost:
                yield Tile(first, last, State.HOLE)
                continue
            shift, at = piece.start - piece.offset, first
            for run in self._memory.block(piece.block).runs(first - shift, last - shift):
                address = run.address + shift
                if address > at:
                    yield Tile(at, address, State.ZERO)
                at = address + run.length
                yield from self._present(address, at, run.file_offset)
            if at < last:
                yield Tile(at, last, State.ZERO)

    def _present(self, start: int, stop: int, file_offset: int | None) -> Iterator[Tile]:
        """A run, of which the file may have been cut off."""
        if file_offset is None or not self._cut:
            yield Tile(start, stop, State.DATA, file_offset)
            return
        there = min(stop, max(start, start + self._size - file_offset))
        if start < there:
            yield Tile(start, there, State.DATA, file_offset)
        if there < stop:
            yield Tile(there, stop, State.HOLE)

    def bytes_of(self, tile: Tile) -> bytes:
        """What is there: zeros but for data."""
        length = tile.stop - tile.start
        if tile.state is not State.DATA:
            return bytes(length)
        if length > READ_CEILING:
            middle = tile.start + READ_CEILING
            beyond = tile.file_offset and tile.file_offset + READ_CEILING
            first, rest = (
                tile._replace(stop=middle),
                tile._replace(start=middle, file_offset=beyond),
            )
            return self.bytes_of(first) + self.bytes_of(rest)
        if tile.file_offset is None:
            return self._memory.read(tile.start, length)
        return self.image.source.read_exact(tile.file_offset, length)

    def base_offset(self, tile: Tile) -> int | None:
        """Where it lies in the file as the tool reads it; None where it does not."""
        return tile.file_offset if self._in_base else None


def _lies_in_base(image: Image) -> bool:
    """Whether the stream lies as it is in the file, or in what a tool unpacks the whole file to."""
    container = image.container
    inside = container.wrappers[1:] if container.file_compression else container.wrappers
    return all(one.inner.source is one.outer.source for one in inside)
