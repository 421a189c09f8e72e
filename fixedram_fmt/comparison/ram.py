"""The memory of two images, block by block: present pages are read and compared, nothing else.

A step of some million pages at a time: presence as flags, long absent ranges left out, what is
present in either read in windows that fit the processor's cache.  memcmp() finds the windows that
differ; only those are looked at page by page.
"""

from __future__ import annotations

import os
import threading
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from fixedram_fmt.comparison.pages import MappedPages
from fixedram_fmt.comparison.result import BlockDiff, Change, PageRange
from fixedram_fmt.errors import FixedRamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.comparison.pages import BlockPages, PagesOfImage
    from fixedram_fmt.comparison.result import Options

    Kinds = npt.NDArray[np.uint8]
    Flags = npt.NDArray[np.bool_]
    Words = npt.NDArray[np.uint64]

__all__ = ["compare_block", "unit_of"]

#: Pages of one step: the flags of both sides are a byte each.
_STEP = 1 << 20
#: Bytes compared at once: both sides stay in the second-level cache.
_WINDOW = 1 << 18
#: Windows a thread takes at a time.
_BATCH = 32
#: Absent pages up to so many bytes between present ones are read too: cheaper than another read.
_BRIDGE = 1 << 16
#: Words of a page looked at before all of them are.
_PROBES = 8
#: Measured on two cores: two threads take 0.6 of the time of one, more take no less.
_THREADS = 2

_SAME, _CHANGED, _ONLY_A, _ONLY_B, _UNREADABLE = range(5)
_CHANGES = {
    _CHANGED: Change.CHANGED,
    _ONLY_A: Change.ONLY_A,
    _ONLY_B: Change.ONLY_B,
    _UNREADABLE: Change.UNREADABLE,
}


def unit_of(a: RamBlock | None, b: RamBlock | None) -> int:
    """Page size in which two blocks are compared: the smaller one, in bytes."""
    return min(block.page_size for block in (a, b) if block is not None)


def compare_block(
    a: tuple[PagesOfImage, RamBlock | None],
    b: tuple[PagesOfImage, RamBlock | None],
    options: Options,
    progress: Callable[[int], None] | None = None,
) -> BlockDiff:
    """Compare a block's memory in two images; None: the image has no such block, all is zero.

    Never raises for what the files say: not_compared tells why a block could not be compared.
    progress is told bytes as they are done.
    """
    one = a[1] or b[1]
    assert one is not None
    unit = unit_of(a[1], b[1])
    pages = max(block.used_length // unit for block in (a[1], b[1]) if block is not None)
    why = _ignored(a[1], b[1])
    if why:
        return BlockDiff(one.name, unit, pages, not_compared=why, left_out=True)
    try:
        sides = a[0].of(a[1], unit), b[0].of(b[1], unit)
        if _same_place(*sides) or not any(side.pages for side in sides):
            return BlockDiff(one.name, unit, pages)
        tally = _Tally(pages, unit, options)
        comparison = _Comparison(*sides, unit)
        for start, kinds in comparison.steps():
            tally.add(start, kinds)
            if progress:
                progress(kinds.size * unit)
        first_byte = comparison.first_byte(tally.first)
    except FixedRamError as error:
        return BlockDiff(one.name, unit, pages, not_compared=str(error))
    return tally.result(one.name, first_byte)


def _ignored(a: RamBlock | None, b: RamBlock | None) -> str:
    """Why there is no memory to compare: x-ignore-shared left it out."""
    left_out = [name for name, block in (("A", a), ("B", b)) if block is not None and block.ignored]
    if not left_out:
        return ""
    return f"its memory is not in {' and '.join(left_out)} (x-ignore-shared)"


def _same_place(a: BlockPages, b: BlockPages) -> bool:
    """Whether both are the same bytes of the same file, read with the same presence."""
    if not (isinstance(a, MappedPages) and isinstance(b, MappedPages)):
        return False
    return a.same_place(b)


class _Comparison:
    """Two blocks' pages, compared step by step."""

    def __init__(self, a: BlockPages, b: BlockPages, unit: int) -> None:
        self._a = a
        self._b = b
        self._unit = unit
        self._zeros = bytearray(max(_WINDOW, unit))
        self._window = len(self._zeros) // unit
        self._of_thread = threading.local()

    def steps(self) -> Iterator[tuple[int, Kinds]]:
        """For each step with something present: its first page, and what is with each page."""
        from concurrent.futures import ThreadPoolExecutor

        parallel = self._a.parallel and self._b.parallel
        threads = min(_THREADS, os.cpu_count() or 1) if parallel else 1
        with ThreadPoolExecutor(threads) as pool:
            for start, stop in _joined(self._a.spans(), self._b.spans()):
                for low in range(start, stop, _STEP):
                    kinds = self._step(low, min(low + _STEP, stop), pool)
                    if kinds is not None:
                        yield low, kinds

    def _step(self, start: int, stop: int, pool: ThreadPoolExecutor) -> Kinds | None:
        import numpy as np

        flags_a, flags_b = self._a.flags(start, stop), self._b.flags(start, stop)
        either = flags_a | flags_b
        if not either.any():
            return None
        kinds = np.zeros(stop - start, np.uint8)
        for side, flags in ((self._a, flags_a), (self._b, flags_b)):
            first, last = side.unreadable(start, stop)
            for outside in (slice(0, first - start), slice(last - start, None)):
                kinds[outside][flags[outside]] = _UNREADABLE
                either[outside] &= kinds[outside] != _UNREADABLE
        windows = self._windows(either)
        batches = [windows[at : at + _BATCH] for at in range(0, len(windows), _BATCH)]

        def work(batch: list[tuple[int, int]]) -> None:
            pair = self._pair()
            for low, high in batch:
                part = slice(low, high)
                pair.compare(start + low, either[part], (flags_a[part], flags_b[part]), kinds[part])

        # A thread costs more than a few pages do.
        for _ in pool.map(work, batches) if len(batches) > 1 else map(work, batches):
            pass
        return kinds

    def _pair(self) -> _Pair:
        """The buffers of this thread."""
        pair: _Pair | None = getattr(self._of_thread, "pair", None)
        if pair is None:
            pair = self._of_thread.pair = _Pair(self._a, self._b, self._unit, self._zeros)
        return pair

    def _windows(self, wanted: Flags) -> list[tuple[int, int]]:
        """Ranges of pages to read: those wanted, small gaps bridged, none longer than a window."""
        import numpy as np

        pages = np.flatnonzero(wanted)
        gaps = np.flatnonzero(np.diff(pages) > 1 + _BRIDGE // self._unit)
        starts = pages[np.concatenate(([0], gaps + 1))] if pages.size else pages
        stops = pages[np.append(gaps, -1)] + 1 if pages.size else pages
        return [
            (low, min(low + self._window, stop))
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
            for low in range(start, stop, self._window)
        ]

    def first_byte(self, page: int | None) -> int | None:
        """The address of the first byte that differs, given the first page that does."""
        if page is None:
            return None
        contents = [content_of(side, page, self._unit) for side in (self._a, self._b)]
        pairs = zip(*contents, strict=True)
        return page * self._unit + next(at for at, (x, y) in enumerate(pairs) if x != y)


def content_of(side: BlockPages, page: int, unit: int) -> bytes:
    """The bytes of one page as a guest would see it."""
    content = bytearray(unit)
    if side.flags(page, page + 1)[0]:
        side.read(page, memoryview(content))
    return bytes(content)


def _joined(
    a: Iterator[tuple[int, int]], b: Iterator[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The union of two sorted rows of ranges."""
    from heapq import merge

    start = stop = 0
    for low, high in merge(a, b):
        if low > stop:
            if stop > start:
                yield start, stop
            start = low
        stop = max(stop, high)
    if stop > start:
        yield start, stop


class _Pair:
    """Two buffers and what is read into them: one thread's."""

    def __init__(self, a: BlockPages, b: BlockPages, unit: int, zeros: bytearray) -> None:
        self._sides = (a, b)
        self._unit = unit
        self._zeros = zeros
        self._buffers = (bytearray(len(zeros)), bytearray(len(zeros)))

    def compare(self, start: int, wanted: Flags, flags: tuple[Flags, Flags], kinds: Kinds) -> None:
        """Compare the pages from start on and write what is with each into kinds."""
        length = wanted.size * self._unit
        present = [one & wanted for one in flags]
        filled = [self._fill(which, start, present[which]) for which in (0, 1)]
        if length == len(self._zeros):
            if filled[0] == filled[1]:
                return
        elif filled[0][:length] == filled[1][:length]:
            return
        self._classify(filled, wanted, kinds)

    def _fill(self, which: int, start: int, present: Flags) -> bytearray:
        """One side's window, absent pages zero; the shared zeros where nothing is present."""
        buffer = self._buffers[which]
        if present.all():
            first, last = 0, present.size
        elif present.any():
            first = int(present.argmax())
            last = present.size - int(present[::-1].argmax())
        else:
            return self._zeros
        with memoryview(buffer) as view:
            self._sides[which].read(start + first, view[first * self._unit : last * self._unit])
        if last - first < present.size or not present[first:last].all():
            self._words(buffer, present.size)[~present] = 0
        return buffer

    def _words(self, buffer: bytearray, pages: int) -> Words:
        import numpy as np

        return np.frombuffer(buffer, np.uint64, pages * self._unit // 8).reshape(pages, -1)

    def _classify(self, filled: list[bytearray], wanted: Flags, kinds: Kinds) -> None:
        import numpy as np

        a, b = (self._words(buffer, wanted.size) for buffer in filled)
        differing = _rows_with(a, b)
        rows = np.flatnonzero(differing & wanted)
        in_a, in_b = _not_zero(a[rows]), _not_zero(b[rows])
        kinds[rows] = np.where(in_a & in_b, _CHANGED, np.where(in_a, _ONLY_A, _ONLY_B))


def _rows_with(a: Words, b: Words) -> Flags:
    """Which rows of a and b differ: most show it in a few words."""
    import numpy as np

    step = max(1, a.shape[1] // _PROBES)
    differing = np.asarray((a[:, ::step] != b[:, ::step]).any(axis=1))
    left = np.flatnonzero(~differing)
    if left.size == a.shape[0]:
        return np.asarray((a != b).any(axis=1))
    differing[left] = (a[left] != b[left]).any(axis=1)
    return differing


def _not_zero(rows: Words) -> Flags:
    import numpy as np

    step = max(1, rows.shape[1] // _PROBES)
    used = np.asarray(rows[:, ::step].any(axis=1))
    left = np.flatnonzero(~used)
    used[left] = rows[left].any(axis=1)
    return used


class _Tally:
    """Counts, ranges and the map of one block, gathered step by step."""

    def __init__(self, pages: int, unit: int, options: Options) -> None:
        self._pages = pages
        self._unit = unit
        self._limit = options.limit
        self._cell_count = max(1, min(options.cells, pages))
        self._cells = [0] * self._cell_count
        self._counts = [0] * len(range(_UNREADABLE + 1))
        self._ranges: list[PageRange] = []
        self._total = 0
        self._open = (0, 0, _SAME)
        self.first: int | None = None

    def add(self, start: int, kinds: Kinds) -> None:
        """Take one step's pages, the first of which is page start."""
        import numpy as np

        odd = np.flatnonzero(kinds)
        if not odd.size:
            return
        found = kinds[odd]
        ends = np.flatnonzero((np.diff(odd) > 1) | (found[1:] != found[:-1]))
        firsts = np.concatenate(([0], ends + 1))
        lasts = np.append(ends, odd.size - 1)
        self._add_runs(odd[firsts] + start, odd[lasts] + start + 1, found[firsts])
        for kind, number in enumerate(np.bincount(found, minlength=len(self._counts)).tolist()):
            self._counts[kind] += number
        differing = odd[found != _UNREADABLE]
        if differing.size:
            if self.first is None:
                self.first = start + int(differing[0])
            self._add_cells(start, start + kinds.size, differing + start)

    def _add_cells(self, start: int, stop: int, pages: npt.NDArray[np.int64]) -> None:
        """Count pages in the cells they lie in, which are those of [start, stop)."""
        import numpy as np

        first = start * self._cell_count // self._pages
        last = (stop - 1) * self._cell_count // self._pages
        edges = [self._edge(cell) for cell in range(first + 1, last + 1)]
        cells = np.searchsorted(np.array(edges, np.int64), pages, side="right")
        for cell, number in enumerate(np.bincount(cells).tolist()):
            self._cells[first + cell] += number

    def _edge(self, cell: int) -> int:
        return self._pages * cell // self._cell_count

    def _add_runs(
        self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], found: Kinds
    ) -> None:
        """Count runs, the first of which may go on where the last step ended; keep some."""
        start, stop, kind = self._open
        if kind == int(found[0]) and stop == int(starts[0]):
            starts[0] = start
        else:
            self._keep(start, stop, kind)
        self._open = int(starts[-1]), int(stops[-1]), int(found[-1])
        room = None if self._limit is None else max(0, self._limit - len(self._ranges))
        rows = zip(starts[:-1].tolist(), stops[:-1].tolist(), found[:-1].tolist(), strict=True)
        for low, high, which in islice(rows, room):
            self._ranges.append(PageRange.of(low, high, self._unit, _CHANGES[which]))
        self._total += starts.size - 1

    def _keep(self, start: int, stop: int, kind: int) -> None:
        if kind == _SAME:
            return
        self._total += 1
        if self._limit is None or len(self._ranges) < self._limit:
            self._ranges.append(PageRange.of(start, stop, self._unit, _CHANGES[kind]))

    def result(self, name: str, first_byte: int | None) -> BlockDiff:
        """Everything, once all steps are in."""
        self._keep(*self._open)
        self._open = (0, 0, _SAME)
        differs = self._total > 0
        edges = [self._edge(cell) for cell in range(self._cell_count + 1)] if differs else []
        totals = [high - low for low, high in pairwise(edges)]
        return BlockDiff(
            name,
            self._unit,
            self._pages,
            changed=self._counts[_CHANGED],
            only_a=self._counts[_ONLY_A],
            only_b=self._counts[_ONLY_B],
            unreadable=self._counts[_UNREADABLE],
            ranges=tuple(self._ranges),
            ranges_total=self._total,
            cells=tuple(zip(self._cells, totals, strict=True)) if differs else (),
            first_byte=first_byte,
        )
