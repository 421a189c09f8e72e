"""The pages of a fixed layout as records of an ordinary stream: PAGE and ZERO, as QEMU sends them.

Every page of a block is sent once, absent ones as ZERO: a receiving QEMU has blocks that are not
zero from the start (firmware, tables).  Upstream: QEMU migration/ram.c save_page_header(),
save_zero_page(), save_normal_page().
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap

__all__ = ["SentPages"]

_WINDOW = 1 << 22
_WORD = ram.RAM_RECORD.size
_ZERO_SIZE = _WORD + ram.ZERO_PAGE.size
_PAGE = RamSaveFlag.PAGE | RamSaveFlag.CONTINUE
_ZERO = RamSaveFlag.ZERO | RamSaveFlag.CONTINUE
#: A run of so many pages is put together by numpy, a shorter one page by page.
_FEW = 16
#: Pages put together at once, in bytes: they stay in the processor's cache.
_ROWS = 1 << 20
#: From one present page in so many on a window is read as a whole.
_SPARSE = 4
#: ZERO records made at once.
_ZEROS = 1 << 15


@dataclass(frozen=True)
class SentPages:
    """All pages of a block as records; stale pages are not sent."""

    source: Source
    block: RamBlock
    bitmap: PageBitmap

    @cached_property
    def length(self) -> int:
        """Bytes of all records."""
        pages = self.block.pages_total
        present = self.bitmap.count()
        name = len(self._name) if pages else 0
        return present * (_WORD + self.block.page_size) + (pages - present) * _ZERO_SIZE + name

    @property
    def _name(self) -> bytes:
        return ram.PAGE_IDSTR.build(ram.PageIdstr(self.block.idstr))

    def write(self, output: Output, offset: int) -> None:
        """Write the records; the first names the block, the others go on with it."""
        window = max(64, _WINDOW // self.block.page_size)
        named = False
        for start, stop, some in _stretches(self.bitmap, window):
            records = self._mixed(start, stop) if some else _zeros(start, stop, self.block)
            for piece in records:
                data = memoryview(piece).cast("B")
                if data.nbytes and not named:
                    named = True
                    first = int.from_bytes(data[:_WORD], "big") & ~RamSaveFlag.CONTINUE
                    output.write(offset, first.to_bytes(_WORD, "big") + self._name)
                    offset += _WORD + len(self._name)
                    data = data[_WORD:]
                output.write(offset, data)
                offset += data.nbytes

    def _mixed(self, start: int, stop: int) -> Iterator[Any]:
        """Records of the pages [start, stop), of which some are present."""
        import numpy as np

        size = self.block.page_size
        flags = self.bitmap.flags(start, stop)
        edges = np.flatnonzero(np.diff(flags, prepend=not flags[0], append=not flags[-1])).tolist()
        addresses = np.arange(start, stop, dtype=np.uint64) * np.uint64(size)
        words = memoryview((addresses | np.uint64(_PAGE)).astype(">u8").tobytes())
        zeros = memoryview(_zero_records(addresses).tobytes())
        read = self._reader(start, stop, int(np.count_nonzero(flags)))
        parts: list[Any] = []
        present = bool(flags[0])
        for low, high in pairwise(edges):
            if not present:
                parts.append(zeros[low * _ZERO_SIZE : high * _ZERO_SIZE])
            elif high - low < _FEW:
                data = read(start + low, start + high)
                for page in range(low, high):
                    parts.append(words[page * _WORD : (page + 1) * _WORD])
                    parts.append(data[(page - low) * size : (page - low + 1) * size])
            else:
                yield b"".join(parts)
                parts.clear()
                yield from self._rows(start + low, start + high)
            present = not present
        yield b"".join(parts)

    @cached_property
    def _buffers(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Room for PAGE records, and for their pages side by side: fresh memory costs time."""
        import numpy as np

        size = self.block.page_size
        step = max(1, _ROWS // size)
        return np.empty((step, _WORD + size), np.uint8), np.empty((step, size), np.uint8)

    def _rows(self, start: int, stop: int) -> Iterator[Any]:
        """PAGE records of the present pages [start, stop), in one buffer used again and again."""
        import numpy as np

        size = self.block.page_size
        rows, pages = self._buffers
        step = len(rows)
        for first in range(start, stop, step):
            count = min(step, stop - first)
            addresses = np.arange(first, first + count, dtype=np.uint64) * np.uint64(size)
            words = (addresses | np.uint64(_PAGE)).astype(">u8")
            offset = self.block.pages_offset + first * size
            self.source.read_into(offset, pages[:count].data, self.block.path)
            rows[:count, :_WORD] = words.view(np.uint8).reshape(count, _WORD)
            rows[:count, _WORD:] = pages[:count]
            yield rows[:count].reshape(-1)

    def _reader(self, start: int, stop: int, present: int) -> Callable[[int, int], memoryview]:
        """How to read pages [low, high) of [start, stop): from the window, or one by one."""
        size, base, path = self.block.page_size, self.block.pages_offset, self.block.path
        if present * _SPARSE < stop - start:
            return lambda low, high: memoryview(
                self.source.read_exact(base + low * size, (high - low) * size, path)
            )
        window = memoryview(b"")

        def read(low: int, high: int) -> memoryview:
            nonlocal window
            if not window:
                data = self.source.read_exact(base + start * size, (stop - start) * size, path)
                window = memoryview(data)
            return window[(low - start) * size : (high - start) * size]

        return read


def _stretches(bitmap: PageBitmap, window: int) -> Iterator[tuple[int, int, bool]]:
    """All pages in order, window pages at most where some are present, longer where none is."""
    begun = 0
    for run in bitmap.runs():
        if not run.present and run.stop - run.start >= window:
            yield from _windows(begun, run.start, window)
            yield run.start, run.stop, False
            begun = run.stop
    yield from _windows(begun, bitmap.pages, window)


def _windows(start: int, stop: int, window: int) -> Iterator[tuple[int, int, bool]]:
    for first in range(start, stop, window):
        yield first, min(first + window, stop), True


def _zeros(start: int, stop: int, block: RamBlock) -> Iterator[Any]:
    """ZERO records of the pages [start, stop)."""
    import numpy as np

    for first in range(start, stop, _ZEROS):
        pages = np.arange(first, min(first + _ZEROS, stop), dtype=np.uint64)
        yield _zero_records(pages * np.uint64(block.page_size)).tobytes()


def _zero_records(addresses: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    import numpy as np

    records = np.zeros(addresses.size, np.dtype([("word", ">u8"), ("fill", "u1")]))
    records["word"] = addresses | np.uint64(_ZERO)
    return records
