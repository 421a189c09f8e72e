"""What an ordinary stream sends, put into the fixed layout of a new file while it is read.

The last record of a page wins, as on a receiving host.  Which pages are present is kept as one bit
a page; beyond a terabyte or so in a temporary file, so that a guest of any size takes little
memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.io.output import OutputError
from fixedram_fmt.io.source import Source
from fixedram_fmt.io.spool import MORE_ROOM
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.schema.base import text
from fixedram_fmt.stream.pagebatch import WORD
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.stream.xbzrle import apply_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.stream.pagebatch import SentPages, SentRun

__all__ = ["Received", "ReceivedBitmap", "ReceivedBlock", "ReceivedPages"]

_STEP = 1 << 20
#: Bytes of bits that are written before they are left to the page cache.
_RESIDENT = 1 << 25
#: Bits up to this are kept in memory: a guest of 1 TiB with pages of 4 KiB.
_IN_MEMORY = 1 << 25
#: Bits beyond this are a damaged length: 64 TiB with pages of 4 KiB.
_BITS_CEILING = 1 << 31
#: A run of so many pages is put together by numpy, a shorter one page by page.
_FEW = 3


class Received(Closing):
    """The blocks of a stream while their pages come in; close it to give back what it took."""

    def __init__(self, stream: Source, blocks: Sequence[RamBlock], page_size: int) -> None:
        self.stream = stream
        lengths = [
            PageBitmap.length_of(block.used_length // page_size, HostLong.LITTLE_64)
            for block in blocks
        ]
        self._file: IO[bytes] | None = None
        size = max(sum(lengths), 1)
        if size <= _IN_MEMORY:
            self.bits = mmap.mmap(-1, size)
            self.source = Source.from_buffer(memoryview(self.bits), "presence")
        else:
            self._file = tempfile.TemporaryFile(prefix="fixedram-")  # noqa: SIM115 - see close()
            self.bits = _mapping(self._file, size)
            self.source = Source.from_fd(self._file.fileno(), "presence")
        self._written = 0
        self.staging = bytearray(_STEP)
        self.blocks: list[ReceivedBlock] = []
        start = 0
        for block, length in zip(blocks, lengths, strict=True):
            self.blocks.append(ReceivedBlock(self, block, page_size, start))
            start += length
        self._by_name = {received.block.idstr: received for received in self.blocks}

    def take(self, batch: SentPages) -> None:
        """Pages of a batch, to their block.

        Raises FormatError for pages outside their block and blocks that are not in the list,
        UnsupportedError for compressed pages.
        """
        received = self._by_name.get(batch.block)
        if received is None:
            raise FormatError(
                "a page of a block that is not in the list",
                offset=batch.start,
                path=batch.path_of(0),
                found=repr(text(batch.block)),
            )
        for run in batch.runs():
            received.take(run, batch)

    def close(self) -> None:
        """Give back the file; the mapping goes with the last who uses it."""
        self.source.close()
        if self._file is not None:
            self._file.close()

    def wrote(self, length: int) -> None:
        """Count bytes of bits; from time to time those in a file are left to the page cache."""
        self._written += length
        if self._written > _RESIDENT and self._file is not None:
            self._written = 0
            self.bits.madvise(mmap.MADV_DONTNEED)


def _mapping(file: IO[bytes], size: int) -> mmap.mmap:
    """size bytes of file in memory; all of them have their place on disk, or it is an error."""
    try:
        if size > _BITS_CEILING:
            raise ValueError("a guest of such a size")
        # Without its place a page that is written to would end the process (SIGBUS).
        os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)
    except (OSError, ValueError, OverflowError) as error:
        file.close()
        raise OutputError(
            "no room for the presence of so many pages",
            path="ram",
            expected=f"at most {_BITS_CEILING} bytes of bits",
            found=f"{size} ({error})",
            hint=MORE_ROOM,
        ) from error


def _set_bits(bits: mmap.mmap, start: int, stop: int, *, present: bool) -> None:
    """Set or clear bits [start, stop), the lowest of a byte first; whole bytes at once."""
    first, last = -(-start // 8), stop // 8
    if first < last:
        bits[first:last] = (b"\xff" if present else b"\0") * (last - first)
        edges = [*range(start, first * 8), *range(last * 8, stop)]
    else:
        edges = [*range(start, stop)]
    for page in edges:
        if present:
            bits[page >> 3] |= 1 << (page & 7)
        else:
            bits[page >> 3] &= ~(1 << (page & 7))


class ReceivedBlock:
    """One block: takes pages as they come, and writes them where its layout says.

    Without an output it only counts them.  changed tells whether any record was about the block.
    """

    def __init__(self, owner: Received, block: RamBlock, page_size: int, bits_start: int) -> None:
        self.block = block
        self.page_size = page_size
        self.pages = block.used_length // page_size
        self.changed = False
        self._owner = owner
        self._bits = owner.bits
        self._start = bits_start
        self._output: Output | None = None
        self._place = 0
        # Pages from here on have never been present: clearing them is nothing.
        self._top = 0

    def place(self, output: Output, offset: int) -> None:
        """Write the block's pages to output, page 0 at offset."""
        self._output, self._place = output, offset

    def bitmap(self) -> PageBitmap:
        """The pages that are present now."""
        return PageBitmap(self._owner.source, self._start, self.pages, path=self.block.path)

    def bitmap_to_top(self) -> PageBitmap:
        """The same, without the pages after the last that was ever present."""
        pages = min(self.pages, -(-self._top // 64) * 64)
        return PageBitmap(self._owner.source, self._start, pages, path=self.block.path)

    # -- what arrives -------------------------------------------------------------------------

    def take(self, run: SentRun, batch: SentPages) -> None:
        """The pages of a run of batch; FormatError for one outside the block."""
        first, count = run.address // self.page_size, run.pages
        if first + count > self.pages:
            raise FormatError(
                "a page outside its block",
                offset=run.offset,
                path=self.block.path,
                expected=f"addresses below {self.pages * self.page_size:#x}",
                found=f"{count} pages from {run.address:#x} on",
            )
        if run.kind is Kind.PAGE:
            self._put(first, count, *batch.bytes_at(run.data_offset, run.length))
        elif run.kind is Kind.ZERO:
            self._fill(first, count, run.fill)
        elif run.kind is Kind.XBZRLE:
            delta = self._owner.stream.read_exact(run.data_offset, run.length, self.block.path)
            self._patch(first, delta, run.data_offset)
        else:
            raise UnsupportedError(
                "compressed pages (COMPRESS_PAGE, before QEMU 9.1) are not undone",
                offset=run.offset,
                path=self.block.path,
            )

    def _put(self, first: int, count: int, window: bytearray, at: int) -> None:
        """Pages [first, first + count), whose records begin side by side in window."""
        self._mark(first, count)
        if self._output is None:
            return
        size, view, stride = self.page_size, memoryview(window), WORD + self.page_size
        offset = self._place + first * size
        if count <= _FEW:
            for number in range(count):
                start = at + number * stride
                self._output.write_through(offset + number * size, view[start : start + size])
            return
        import numpy as np

        step = _STEP // size
        for low in range(0, count, step):
            some = min(step, count - low)
            rows = np.ndarray((some, size), np.uint8, window, at + low * stride, (stride, 1))
            side_by_side = memoryview(self._owner.staging)[: some * size]
            np.frombuffer(side_by_side, np.uint8).reshape(some, size)[...] = rows
            self._output.write_through(offset + low * size, side_by_side)

    def _fill(self, first: int, count: int, byte: int) -> None:
        """Pages [first, first + count), full of one byte: with 0 they are absent again."""
        self.changed = True
        if byte:
            self._mark(first, count)
            self._write(first, count, bytes([byte]))
        elif first < self._top:
            self._clear(first, min(count, self._top - first))

    def _patch(self, page: int, delta: bytes, offset: int) -> None:
        """Change a page by a delta; one that was never sent is zeros."""
        self._mark(page, 1)
        if self._output is None:
            return
        place = self._place + page * self.page_size
        content = bytearray(self._output.read_back(place, self.page_size))
        apply_delta(content, delta, offset)
        self._output.write_through(place, content)

    def _write(self, first: int, count: int, byte: bytes) -> None:
        if self._output is None:
            return
        start = self._place + first * self.page_size
        stop = start + count * self.page_size
        data = memoryview(byte * min(_STEP, stop - start))
        for offset in range(start, stop, _STEP):
            self._output.write_through(offset, data[: stop - offset])

    # -- bits ---------------------------------------------------------------------------------

    def _mark(self, first: int, count: int) -> None:
        self.changed = True
        stop = first + count
        self._top = max(self._top, stop)
        if count == 1:
            self._bits[self._start + (first >> 3)] |= 1 << (first & 7)
            self._owner.wrote(1)
        else:
            self._set(first, stop, present=True)

    def _set(self, first: int, stop: int, *, present: bool) -> None:
        """Set or clear the bits [first, stop)."""
        base = self._start * 8
        _set_bits(self._bits, base + first, base + stop, present=present)
        self._owner.wrote((stop - first) // 8 + 2)

    def _clear(self, first: int, count: int) -> None:
        """Make pages absent; those that were present leave no old memory behind."""
        low, high = self._start + (first >> 3), self._start + (first + count + 7 >> 3)
        held = self._bits[low:high]
        if held.count(0) == len(held):
            return
        base = first & ~7
        pages = PageBitmap.from_bytes(held + bytes(-len(held) % 8), first + count - base)
        for run in pages.runs(first - base):
            if run.present:
                self._write(base + run.start, run.stop - run.start, b"\0")
                self._set(base + run.start, base + run.stop, present=False)


@dataclass(frozen=True, slots=True)
class ReceivedPages:
    """The place of a block's pages: they are written as they come, from write() on."""

    received: ReceivedBlock

    @property
    def length(self) -> int:
        """The block's used_length."""
        return self.received.block.used_length

    def write(self, output: Output, offset: int) -> None:
        """From now on pages go to output."""
        self.received.place(output, offset)


@dataclass(frozen=True, slots=True)
class ReceivedBitmap:
    """The block's bitmap, once everything has been received."""

    received: ReceivedBlock
    host_long: HostLong

    @property
    def length(self) -> int:
        """Bytes of the bitmap."""
        return PageBitmap.length_of(self.received.pages, self.host_long)

    def write(self, output: Output, offset: int) -> None:
        """Write it, chunks without a bit left out."""
        for start, data in self.received.bitmap_to_top().converted(self.host_long):
            if data.count(0) < len(data):
                output.write(offset + start, data)
