"""Which pages of a block are present: bitmaps in the file, read in chunks, in any host's order.

A bitmap is an array of the saving host's `unsigned long`s (QEMU include/qemu/bitmap.h): page i is
bit i % 64 of long i // 64.  On a little-endian host that is bit i % 8 of byte i // 8; a big-endian
host stores each long most significant byte first, and a 32-bit host has longs of four bytes.
Bits past the last page mean nothing to a loader; they are ignored here, and reported.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.blocks import bitmap_length
from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.source import Source
from fixedram_fmt.presence.hostlong import HostLong, swapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock

__all__ = ["PageBitmap", "Run"]

#: Bytes of bitmap looked at in one step: 8 Mi pages, 32 GiB of guest with 4 KiB pages.
_CHUNK = 1 << 20

#: A bitmap up to this long is read whole: asking the file system for its holes costs more.
_SMALL = 1 << 16


class Run(NamedTuple):
    """Pages [start, stop), all present or all absent."""

    start: int
    stop: int
    present: bool


#: Bytes with an edge, in a chunk, that are looked at one by one.
_FEW_EDGES, _FEW_BEFORE_NUMPY = 1 << 11, 1 << 15
_NOT_ZERO = re.compile(rb"[^\0]")
_BITS_OF = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]

_new_run = partial(tuple.__new__, Run)


class PageBitmap:
    """The presence bits of pages pages, at offset in source; nothing is read until asked for."""

    def __init__(
        self,
        source: Source,
        offset: int,
        pages: int,
        host_long: HostLong = HostLong.LITTLE_64,
        path: str = "",
    ) -> None:
        self.source = source
        self.offset = offset
        self.pages = pages
        self.host_long = host_long
        self.path = path
        self.length = self.length_of(pages, host_long)
        if offset < 0 or offset + self.length > source.size:
            raise FormatError(
                "the bitmap lies outside the file",
                offset=offset,
                path=path,
                expected=f"{self.length} bytes inside the file's {source.size:#x}",
                found=f"{offset:#x}..{offset + self.length:#x}",
            )

    @staticmethod
    def length_of(pages: int, host_long: HostLong) -> int:
        """Bytes of a bitmap for so many pages: BITS_TO_LONGS(pages) longs."""
        return bitmap_length(pages, host_long.size)

    @classmethod
    def of_block(
        cls, source: Source, block: RamBlock, host_long: HostLong = HostLong.LITTLE_64
    ) -> PageBitmap:
        """The bitmap that a block's header points to; FormatError if it is not in the file."""
        return cls(source, block.bitmap_offset, block.pages_total, host_long, block.path)

    @classmethod
    def from_bytes(
        cls, bits: bytes | bytearray, pages: int, host_long: HostLong = HostLong.LITTLE_64
    ) -> PageBitmap:
        """A bitmap that lies in memory."""
        return cls(Source.from_buffer(bits), 0, pages, host_long)

    def __len__(self) -> int:
        return self.pages

    def __contains__(self, page: int) -> bool:
        if not 0 <= page < self.pages:
            return False
        return bool(self._chunk(page // 8, page // 8 + 1)[0] >> page % 8 & 1)

    def _chunk(self, first: int, last: int) -> bytes:
        """Bytes [first, last) of the bitmap as a little-endian host would have stored them."""
        size = self.host_long.size
        if not self.host_long.big_endian:
            return self.source.read_exact(self.offset + first, last - first, self.path)
        start, stop = first // size * size, (last + size - 1) // size * size
        data = self.source.read_exact(self.offset + start, stop - start, self.path)
        return swapped(data, self.host_long)[first - start : last - start]

    def _data_bytes(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Chunks of bytes [first, last) that can hold a set bit: holes of the file are skipped."""
        if last - first <= _SMALL:
            yield first, last
            return
        size = self.host_long.size
        for extent in self.source.extents(self.offset + first, self.offset + last):
            if not extent.data:
                continue
            # Whole longs: bytes of a big-endian long swap places, across an extent's edge too.
            start = (extent.start - self.offset) // size * size
            stop = -(-(extent.stop - self.offset) // size) * size
            start, stop = max(start, first), min(stop, last)
            for step in range(start, stop, _CHUNK):
                yield step, min(step + _CHUNK, stop)

    def flags(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """One bool a page for [start, stop), cut to the block; for ranges that fit into memory."""
        import numpy as np

        stop = min(stop, self.pages)
        start = max(0, min(start, stop))
        raw = np.frombuffer(self._chunk(start // 8, (stop + 7) // 8), np.uint8)
        bits = np.unpackbits(raw, bitorder="little")
        return bits[start % 8 : start % 8 + stop - start].astype(np.bool_)

    def count(self, start: int = 0, stop: int | None = None) -> int:
        """How many of the pages [start, stop) are present."""
        stop = self.pages if stop is None else min(stop, self.pages)
        start = max(start, 0)
        if start >= stop:
            return 0
        total = 0
        for first, last in self._data_bytes(start // 8, (stop + 7) // 8):
            bits = int.from_bytes(self._chunk(first, last), "little")
            if last * 8 > stop:
                bits &= (1 << (stop - first * 8)) - 1
            if first * 8 < start:
                bits >>= start - first * 8
            total += bits.bit_count()
        return total

    def histogram(self, cells: int) -> list[tuple[int, int]]:
        """Pages present and pages in all, for each of at most cells equal parts of the block."""
        cells = max(1, min(cells, self.pages))
        edges = [self.pages * cell // cells for cell in range(cells + 1)]
        return [(self.count(start, stop), stop - start) for start, stop in pairwise(edges)]

    def converted(self, host_long: HostLong) -> Iterator[tuple[int, bytes]]:
        """The bitmap as host_long stores it, in chunks (offset inside it, bytes); holes left out.

        Bits past the last page are dropped where the lengths differ.
        """
        length = self.length_of(self.pages, host_long)
        for first, last in self._data_bytes(0, self.length):
            data = self._chunk(first, last)[: max(0, length - first)]
            data += bytes(-len(data) % host_long.size)
            yield first, swapped(data, host_long)

    def tail_bits(self) -> int:
        """How many bits past the last page are set; a loader ignores them."""
        spare = self.length * 8 - self.pages
        if not spare:
            return 0
        first = self.length - self.host_long.size
        bits = int.from_bytes(self._chunk(first, self.length), "little")
        return (bits >> self.pages - first * 8).bit_count()

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[Run]:
        """The pages [start, stop) as maximal runs, present and absent in turn, in order."""
        stop = self.pages if stop is None else min(stop, self.pages)
        start = max(start, 0)
        if start >= stop:
            return
        at, present = start, False
        for edges in self._edges(start, stop):
            if edges and edges[0] == at:
                present = not present
                edges = edges[1:]  # noqa: PLW2901 - the block begins with a present page
            bounds = [at, *edges]
            # Fragmented guests have millions of runs: made in C, not one call each.
            yield from map(_new_run, zip(bounds, edges, cycle((present, not present))))
            at, present = bounds[-1], present != bool(len(edges) % 2)
        if stop > at:
            yield Run(at, stop, present)

    def _edges(self, start: int, stop: int) -> Iterator[list[int]]:
        """Pages at which presence changes, chunk by chunk, counting from absent before start."""
        last_bit = 0
        expected = start // 8
        for first, last in self._data_bytes(start // 8, (stop + 7) // 8):
            if first > expected and last_bit:
                # A hole begins: its pages are absent.
                yield [max(start, expected * 8)]
                last_bit = 0
            edges, last_bit = _edges_of(self._chunk(first, last), first * 8, start, stop, last_bit)
            yield edges
            expected = last
        if last_bit and expected * 8 < stop:
            yield [expected * 8]


def _edges_of(
    data: bytes, base: int, start: int, stop: int, last_bit: int
) -> tuple[list[int], int]:
    """Edges among the pages [base, base + 8 * len(data)) cut to [start, stop), and the last bit.

    Bytes without an edge are never looked at, so that the cost is that of the edges, not of the
    pages.
    """
    length = min(len(data) * 8, stop - base)
    bits = int.from_bytes(data, "little") & (1 << length) - 1
    skipped = max(0, start - base)
    bits = bits >> skipped << skipped
    changes = (bits ^ (bits << 1 | last_bit)) & (1 << length) - 1
    final = bits >> length - 1 & 1
    raw = changes.to_bytes((length + 7) // 8, "little")
    # Where there are few, importing numpy would take longer than the rest.
    few = _FEW_EDGES if "numpy" in sys.modules else _FEW_BEFORE_NUMPY
    if len(raw) - raw.count(0) > few:
        return _positions(raw, base), final
    edges = []
    for match in _NOT_ZERO.finditer(raw):
        first = base + match.start() * 8
        edges += [first + bit for bit in _BITS_OF[raw[match.start()]]]
    return edges, final


def _positions(raw: bytes, base: int) -> list[int]:
    """base plus the number of each bit that is set."""
    import numpy as np

    words = np.zeros((len(raw) + 7) // 8, "<u8")
    words.view(np.uint8)[: len(raw)] = np.frombuffer(raw, np.uint8)
    hits = np.flatnonzero(words)
    bits = np.unpackbits(words[hits].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    rows, columns = np.nonzero(bits)
    found: list[int] = (hits[rows] * 64 + columns + base).tolist()
    return found
