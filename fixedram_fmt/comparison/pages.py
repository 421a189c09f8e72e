"""Pages of one block for a comparison: presence as flags, content into a buffer.

Both kinds answer in pages of a unit that may be smaller than their own, so that images of
different page sizes meet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from fixedram_fmt.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.block import BlockMemory
    from fixedram_fmt.memory.streampages import StreamPages
    from fixedram_fmt.presence.bitmap import PageBitmap

    Flags = npt.NDArray[np.bool_]

__all__ = ["BlockPages", "MappedPages", "NoPages", "PagesOfImage", "StreamedPages"]

#: A bitmap up to this many bytes is looked at whole: asking for its holes costs more.
_SMALL = 1 << 16
#: Present pages in a row are asked for holes from this many bytes on: reading less is cheaper.
_HOLES_FROM = 1 << 20


class BlockPages(Protocol):
    """What a comparison asks of a block; page numbers are in units of the caller's."""

    #: Whether several threads may read at once.
    parallel: bool
    #: Pages in all.
    pages: int

    def spans(self) -> Iterator[tuple[int, int]]:
        """Ranges of pages outside which none is present; in order, apart from each other."""

    def flags(self, start: int, stop: int) -> Flags:
        """Which of the pages are present and hold data; those after the last are not."""

    def unreadable(self, start: int, stop: int) -> tuple[int, int]:
        """The pages [first, last) that can be read; the others are not in the file."""

    def read(self, start: int, view: memoryview) -> None:
        """Fill view with the bytes from page start on, absent pages with anything."""


class _Bits:
    """The presence of a block's pages in units of page_size / ratio bytes."""

    def __init__(self, bitmap: PageBitmap, ratio: int) -> None:
        self._bitmap = bitmap
        self._ratio = ratio
        self.pages = bitmap.pages * ratio

    def spans(self) -> Iterator[tuple[int, int]]:
        """Ranges of pages whose bits lie in data of the file."""
        bitmap = self._bitmap
        if bitmap.length <= _SMALL:
            yield 0, self.pages
            return
        done = 0
        for extent in bitmap.source.extents(bitmap.offset, bitmap.offset + bitmap.length):
            if not extent.data:
                continue
            # Whole longs: bytes of a big-endian one swap places.
            first = (extent.start - bitmap.offset) // 8 * 64
            last = min((extent.stop - bitmap.offset + 7) // 8 * 64, bitmap.pages)
            first = max(first, done)
            if first < last:
                yield first * self._ratio, last * self._ratio
                done = last

    def flags(self, start: int, stop: int) -> Flags:
        """Presence of [start, stop); False after the last page."""
        import numpy as np

        flags = np.zeros(stop - start, np.bool_)
        stop = min(stop, self.pages)
        if start >= stop:
            return flags
        ratio = self._ratio
        first, last = start // ratio, -(-stop // ratio)
        own = self._bitmap.flags(first, last)
        if ratio > 1:
            own = np.repeat(own, ratio)[start - first * ratio :]
        flags[: stop - start] = own[: stop - start]
        return flags


class MappedPages(_Bits):
    """Pages at fixed places of the file."""

    parallel = True

    def __init__(self, image: Image, block: RamBlock, bitmap: PageBitmap, unit: int) -> None:
        super().__init__(bitmap, block.page_size // unit)
        self._source = image.source
        self._path = block.path
        self._unit = unit
        self._base = block.pages_offset

    def flags(self, start: int, stop: int) -> Flags:
        """Presence, but for pages in holes of the file: they are zero."""
        import numpy as np

        flags = super().flags(start, stop)
        if np.count_nonzero(flags) < _HOLES_FROM // self._unit:
            return flags
        edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
        lengths = edges[1::2] - edges[::2]
        for which in np.flatnonzero(lengths >= _HOLES_FROM // self._unit).tolist():
            low, high = int(edges[2 * which]), int(edges[2 * which + 1])
            self._clear_holes(flags[low:high], start + low)
        return flags

    def _clear_holes(self, flags: Flags, first_page: int) -> None:
        unit = self._unit
        begin = self._base + first_page * unit
        end = begin + flags.size * unit
        if begin < 0 or end > self._source.size:
            return
        for extent in self._source.extents(begin, end):
            if not extent.data:
                first = -(-(extent.start - begin) // unit)
                flags[first : (extent.stop - begin) // unit] = False

    def unreadable(self, start: int, stop: int) -> tuple[int, int]:
        """Where the file begins and ends among the pages."""
        first = max(0, -(self._base // self._unit)) if self._base < 0 else 0
        last = max(0, (self._source.size - self._base) // self._unit)
        return min(max(first, start), stop), max(start, min(last, stop))

    def read(self, start: int, view: memoryview) -> None:
        """One read: absent pages come with whatever the file has."""
        self._source.read_into(self._base + start * self._unit, view, self._path)

    def same_place(self, other: MappedPages) -> bool:
        """Whether both are equal because they are the same bytes of one file.

        Not so for a buffer, and where pages are not all inside the file.
        """
        mine = self._place()
        return mine is not None and mine == other._place()

    def _place(self) -> tuple[object, ...] | None:
        fd = self._source.fd
        if fd < 0 or self._base < 0 or self._base + self.pages * self._unit > self._source.size:
            return None
        status = os.fstat(fd)
        presence = self._bitmap.offset, self._bitmap.host_long, self.pages
        return status.st_dev, status.st_ino, self._base, *presence


class StreamedPages(_Bits):
    """Pages that came as records of an ordinary stream."""

    # Deltas are applied in a cache that is one reader's.
    parallel = False

    def __init__(self, memory: BlockMemory, bitmap: PageBitmap, unit: int) -> None:
        super().__init__(bitmap, memory.page_size // unit)
        self._unit = unit
        self._memory = memory

    def unreadable(self, start: int, stop: int) -> tuple[int, int]:
        """All: a record that the file cuts off is none."""
        return start, stop

    def read(self, start: int, view: memoryview) -> None:
        """Page by page, from wherever the last record of each is."""
        self._memory.readinto(start * self._unit, view)


class NoPages:
    """A block that is not there, or has no pages: all zero."""

    parallel = True
    pages = 0

    def spans(self) -> Iterator[tuple[int, int]]:
        """None."""
        return iter(())

    def flags(self, start: int, stop: int) -> Flags:
        """None is present."""
        import numpy as np

        return np.zeros(stop - start, np.bool_)

    def unreadable(self, start: int, stop: int) -> tuple[int, int]:
        """All can be read."""
        return start, stop

    def read(self, start: int, view: memoryview) -> None:
        """Never asked for."""


class PagesOfImage:
    """The pages of an image's blocks; an ordinary stream is walked once for all of them."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._index: StreamPages | None = None

    def of(self, block: RamBlock | None, unit: int) -> BlockPages:
        """The pages of a block; FormatError or UnsupportedError where they cannot be had."""
        if block is None or not block.pages_total:
            return NoPages()
        bitmap = self.image.readable_bitmap(block)
        if bitmap is None and not block.mapped:
            raise UnsupportedError(
                "the pages of this ordinary stream are too many to be tracked",
                path=block.path,
                hint="fixedram convert makes a mapped-ram image of it",
            )
        bitmap = bitmap or self.image.presence(block)
        if bitmap.length <= _SMALL and not bitmap.count():
            return NoPages()
        if block.mapped:
            return MappedPages(self.image, block, bitmap, unit)
        return StreamedPages(self._streamed(block), bitmap, unit)

    def _streamed(self, block: RamBlock) -> BlockMemory:
        from fixedram_fmt.memory.block import BlockMemory
        from fixedram_fmt.memory.streampages import StreamPages

        if self._index is None:
            self._index = StreamPages(self.image, self.image.blocks)
        return BlockMemory(self.image, block, self._index)
