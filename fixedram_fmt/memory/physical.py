"""Guest-physical memory: blocks where the memory map puts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.memory.block import AddressError, BlockMemory, MemoryFile, Readable, fill
from fixedram_fmt.memory.map import memory_map
from fixedram_fmt.memory.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.memory.map import MemoryMap
    from fixedram_fmt.memory.streampages import StreamPages

__all__ = ["PhysicalMemory"]


class PhysicalMemory(Readable):
    """Guest-physical memory of an image, by its map; size is the end of the last range.

    Absent pages are zero.  A hole, where the guest has no memory of the image's, is an
    AddressError, or fill, the byte to read there (0xff is what a PC's bus gives).
    """

    def __init__(
        self, image: ImageFacts, map_: MemoryMap | None = None, *, fill: int | None = None
    ) -> None:
        self._shared: PhysicalMemory | None = None
        self.image = image
        self.map = memory_map(image) if map_ is None else map_
        self.fill = fill
        self.size = self.map.stop
        self._blocks: dict[int, BlockMemory] = {}
        self._stream: StreamPages | None = None

    def block(self, block: RamBlock) -> BlockMemory:
        """The memory of a block, opened once."""
        if self._shared is not None:
            return self._shared.block(block)
        memory = self._blocks.get(block.index)
        if memory is None:
            memory = BlockMemory(self.image, block, None if block.mapped else self._pages())
            self._blocks[block.index] = memory
        return memory

    def _pages(self) -> StreamPages:
        """The pages of an ordinary stream, found by one walk for all blocks."""
        if self._stream is None:
            from fixedram_fmt.memory.streampages import StreamPages

            self._stream = StreamPages(self.image, self.image.blocks)
        return self._stream

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer with guest-physical memory; across ranges and, with fill, holes."""
        view = memoryview(buffer).cast("B")
        if address < 0:
            raise AddressError("an address is not negative", found=str(address))
        for start, stop, piece in self.map.parts(address, address + view.nbytes):
            part = view[start - address : stop - address]
            if piece is not None:
                memory = self.block(piece.block)
                memory.readinto(piece.offset + start - piece.start, part)
            elif self.fill is None:
                raise self._hole(start, stop)
            else:
                fill(part, self.fill)

    def _hole(self, start: int, stop: int) -> AddressError:
        ranges = ", ".join(f"{piece.start:#x}-{piece.stop - 1:#x}" for piece in self.map.ranges[:8])
        more = ", ..." if len(self.map.ranges) > 8 else ""
        if not ranges:
            return AddressError(
                f"no guest-physical memory at {start:#x}: " + "; ".join(self.map.notes),
                hint="read by block instead",
            )
        return AddressError(
            f"the image has no guest-physical memory at {start:#x}-{stop - 1:#x}",
            hint=f"there is {ranges}{more}",
        )

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[Run]:
        """The present parts of [start, stop) and where they lie in the file; holes left out."""
        stop = self.size if stop is None else stop
        for first, last, piece in self.map.parts(start, stop):
            if piece is None:
                continue
            memory = self.block(piece.block)
            shift = piece.start - piece.offset
            for run in memory.runs(first - shift, last - shift):
                yield Run(run.address + shift, run.length, run.file_offset)

    def open(self, fill: int | None = 0) -> MemoryFile:
        """A file object over all of it; holes read as fill, and raise where fill is None."""
        return MemoryFile(self.filled(fill))

    def filled(self, fill: int | None) -> PhysicalMemory:
        """The same memory with holes that read as fill; what is known of blocks is shared."""
        other = PhysicalMemory(self.image, self.map, fill=fill)
        other._shared = self
        return other
