"""Bitmaps made of the pages that hold data, in chunks: neither all pages nor all bits in memory."""

from __future__ import annotations

import heapq
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.presence.hostlong import swapped
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.recovery.rescued import Doubt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.presence.hostlong import HostLong

__all__ = ["RebuiltBitmap", "bitmap_chunks", "united"]

#: Bytes of bitmap that are put together at once: 512 Ki pages.
_CHUNK = 1 << 16
_CHUNK_PAGES = _CHUNK * 8
#: Pages with a hole inside that are listed.
_LISTED = 100
_HOLE_INSIDE = (
    "a part of the page is not in the file: half-written, or zeros that a copy made a hole of"
)


def united(
    one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The pages of two rows of runs as one; each row is in order and without overlap."""
    low = high = -1
    for start, stop in heapq.merge(one, other):
        if low >= 0 and start <= high:
            high = max(high, stop)
            continue
        if low >= 0:
            yield low, high
        low, high = start, stop
    if low >= 0:
        yield low, high


@dataclass(slots=True)
class RebuiltBitmap:
    """The bitmap of a block by the data of its pages, and by its old bits where those are right.

    Bits of old count before the page split, and data from there on; united, both count everywhere.
    Those from the page limit on never count.  whole_pages: one that the file ends in is left out.
    Once it is written or counted, present has the number of its bits, first and stop bound the
    pages that data alone may have made present, and partial has those with a hole inside.
    """

    source: Source
    block: RamBlock
    host_long: HostLong
    old: PageBitmap | None = None
    split: int = 0
    unite: bool = False
    limit: int = sys.maxsize
    whole_pages: bool = False
    present: int = 0
    first: int = -1
    stop: int = 0
    partial: list[Doubt] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Bytes of the bitmap."""
        return self.block.bitmap_length(self.host_long.size)

    def runs(self) -> Iterator[tuple[int, int]]:
        """The pages that are present, as maximal runs in order; reads the pages' data."""
        pages = self.block.pages_total
        if self.whole_pages:
            inside = max(0, self.source.size - self.block.pages_offset)
            pages = min(pages, inside // self.block.page_size)
        first = 0 if self.unite else min(self.split, self.limit)
        data = non_zero_runs(
            self.source, self.block.pages_offset, self.block.page_size, first, pages
        )
        if self.old is None:
            yield from data
            return
        stop = min(self.limit, pages if self.unite else self.split)
        bits = (run[:2] for run in self.old.runs(0, stop) if run.present)
        yield from united(bits, data)

    def count(self) -> None:
        """Find out what write() would, and write nothing."""
        for _ in self._counted():
            pass

    def write(self, output: Output, offset: int) -> None:
        """Write the parts that have a bit set."""
        for start, bits in bitmap_chunks(self._counted(), self.length):
            output.write(offset + start, swapped(bits, self.host_long))

    def _counted(self) -> Iterator[tuple[int, int]]:
        self.present, self.first, self.stop = 0, -1, 0
        for start, stop in self.runs():
            self.present += stop - start
            split = min(self.split, self.limit)
            if stop > split:
                self.first = max(start, split) if self.first < 0 else self.first
                self.stop = stop
            yield start, stop
        self.partial = list(self._with_holes())

    def _with_holes(self) -> Iterator[Doubt]:
        """Pages that the file has a part of: an extent begins or ends inside, or the file does."""
        size, base = self.block.page_size, self.block.pages_offset
        found: set[int] = set()
        stop = min(self.block.pages_stop, self.source.size)
        for extent in self.source.extents(base, stop):
            edges = (extent.start, extent.stop) if extent.data else ()
            found |= {(edge - base) // size for edge in edges if (edge - base) % size}
            if len(found) >= _LISTED:
                break
        for page in sorted(found)[:_LISTED]:
            yield Doubt(page, 1, base + page * size, _HOLE_INSIDE)


def bitmap_chunks(runs: Iterable[tuple[int, int]], length: int) -> Iterator[tuple[int, bytes]]:
    """runs as bits: (offset in the bitmap, bytes) for each chunk with a bit, as little-endian."""
    number, bits = -1, bytearray()
    for start, stop in runs:
        for chunk in range(start // _CHUNK_PAGES, (stop - 1) // _CHUNK_PAGES + 1):
            if chunk != number:
                if bits:
                    yield number * _CHUNK, bytes(bits)
                number = chunk
                bits = bytearray(min(_CHUNK, length - number * _CHUNK))
            base = chunk * _CHUNK_PAGES
            _set(bits, max(0, start - base), min(stop - base, _CHUNK_PAGES))
    if bits:
        yield number * _CHUNK, bytes(bits)


def _set(bits: bytearray, start: int, stop: int) -> None:
    """Set the bits [start, stop)."""
    first, last = start >> 3, stop >> 3
    low, high = 0xFF << (start & 7) & 0xFF, (1 << (stop & 7)) - 1
    if first == last:
        bits[first] |= low & high
        return
    bits[first] |= low
    bits[first + 1 : last] = b"\xff" * (last - first - 1)
    if high:
        bits[last] |= high
