"""The memory of one block: absent pages are zero, whatever stale bytes the file holds there.

Nothing is loaded: the bitmap is read where it is needed, present pages by pread into the caller's
buffer.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, SupportsIndex

from fixedram_fmt.errors import FixedRamError, SourceError, UnsupportedError
from fixedram_fmt.io.source import READ_CEILING
from fixedram_fmt.memory.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.memory.streampages import StreamPages

__all__ = ["AddressError", "BlockMemory", "MemoryFile", "Readable", "fill"]

#: Reads of this many pages or fewer ask for bits one by one; longer ones for runs.
_FEW_PAGES = 4
_FILL_STEP = 1 << 16


class AddressError(FixedRamError):
    """There is no memory at the address; hint says what there is."""

    code = "address"


def fill(view: memoryview, byte: int = 0) -> None:
    """Fill a buffer with one byte without allocating as much."""
    piece = bytes([byte]) * min(_FILL_STEP, view.nbytes)
    for start in range(0, view.nbytes, _FILL_STEP):
        stop = min(start + _FILL_STEP, view.nbytes)
        view[start:stop] = piece[: stop - start]


class Readable:
    """What can be read at addresses from 0 to size: reads, slices and a file object.

    A subclass gives size and readinto().
    """

    size: int

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer with the bytes at address."""
        raise NotImplementedError

    def read(self, address: int, length: int) -> bytes:
        """Exactly length bytes at address."""
        if length > READ_CEILING:
            raise SourceError(
                "read too large", expected=f"at most {READ_CEILING} bytes", found=str(length)
            )
        target = bytearray(length)
        self.readinto(address, target)
        return bytes(target)

    def open(self) -> MemoryFile:
        """A file object over it, at position 0; io.BufferedReader takes it."""
        return MemoryFile(self)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        if isinstance(key, slice):
            start, stop, step = key.indices(self.size)
            if step != 1:
                raise ValueError("memory is sliced in steps of 1")
            return self.read(start, max(0, stop - start))
        index = key.__index__()
        index = index + self.size if index < 0 else index
        if not 0 <= index < self.size:
            raise IndexError(f"address {index:#x} is outside {self.size:#x} bytes")
        return self.read(index, 1)[0]


class MemoryFile(io.RawIOBase):
    """A position in memory, as a file: seek, tell, read, readinto; read-only."""

    def __init__(self, memory: Readable) -> None:
        super().__init__()
        self._memory = memory
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The address of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an address; the new one."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._memory.size}
        if whence not in bases:
            raise ValueError(f"whence {whence} is not 0, 1 or 2")
        position = bases[whence] + offset
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill buffer from the position on; how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(view.nbytes, self._memory.size - self._position))
        if length:
            self._memory.readinto(self._position, view[:length])
            self._position += length
        return length


class BlockMemory(Readable):
    """Memory of one block, addressed from 0; size in bytes is its used_length.

    Raises UnsupportedError for a block whose memory is not in the image (x-ignore-shared), and
    FormatError where its bitmap is not in the file.
    """

    def __init__(
        self, image: ImageFacts, block: RamBlock, pages: StreamPages | None = None
    ) -> None:
        self.image = image
        self.block = block
        self.size = block.used_length
        self.page_size = block.page_size
        self._stream: StreamPages | None = None
        if block.ignored:
            raise UnsupportedError(
                "the memory of this block is not in the image",
                offset=block.entry_offset,
                path=block.path,
                hint="x-ignore-shared: it is in the file or memory that both sides share",
            )
        if not block.mapped:
            from fixedram_fmt.memory.streampages import StreamPages

            self._stream = pages or StreamPages(image, [block])
            return
        self._bitmap = image.presence(block)

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or address + length > self.size:
            raise AddressError(
                f"this is outside the block {self.block.name}",
                path=self.block.path,
                expected=f"a range inside 0..{self.size:#x}",
                found=f"{length} bytes at {address:#x}",
            )

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer with the block's bytes from address on; AddressError outside it."""
        view = memoryview(buffer).cast("B")
        self._check(address, view.nbytes)
        at = address
        for start, length, offset in self.runs(address, address + view.nbytes):
            if start > at:
                fill(view[at - address : start - address])
            part = view[start - address : start - address + length]
            if offset is not None:
                self.image.source.read_into(offset, part, self.block.path)
            elif self._stream is not None:
                self._stream.readinto(self.block, start, part)
            at = start + length
        if at < address + view.nbytes:
            fill(view[at - address :])

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[Run]:
        """The present parts of [start, stop), in order, and where they lie in the file."""
        stop = self.size if stop is None else min(stop, self.size)
        start = max(start, 0)
        if start >= stop:
            return
        if self._stream is not None:
            yield from self._stream.runs(self.block, start, stop)
            return
        size, base = self.page_size, self.block.pages_offset
        for low, high in self._present(start // size, -(-stop // size)):
            first, last = max(low * size, start), min(high * size, stop)
            yield Run(first, last - first, base + first)

    def _present(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Runs of present pages among [first, last)."""
        if last - first > _FEW_PAGES:
            for low, high, present in self._bitmap.runs(first, last):
                if present:
                    yield low, high
            return
        for page in range(first, last):
            if page in self._bitmap:
                yield page, page + 1

    def is_present(self, address: int) -> bool:
        """Whether the page of address is in the image; AddressError outside the block."""
        self._check(address, 1)
        return any(True for _ in self.runs(address, address + 1))

    def file_offset(self, address: int) -> int | None:
        """Where the byte at address lies in the file; None when it is absent or transformed."""
        self._check(address, 1)
        return next((run.file_offset for run in self.runs(address, address + 1)), None)
