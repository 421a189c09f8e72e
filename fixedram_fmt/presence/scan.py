"""Which pages of a file hold anything: found by reading them, holes left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap

__all__ = ["PageScan", "non_zero_runs", "scan_pages", "stale_runs"]

_SCAN_STEP = 1 << 20
#: Words of a page looked at before all of them are.
_PROBES = 8


def stale_runs(source: Source, block: RamBlock, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Of the absent pages [start, stop) of a block, runs of those that still hold bytes."""
    return non_zero_runs(source, block.pages_offset, block.page_size, start, stop)


def non_zero_runs(
    source: Source, base: int, page_size: int, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Maximal runs of pages in [start, stop) that hold a byte other than 0.

    Page i lies at base + i * page_size; what is after the end of the file counts as zero.
    """
    # Pages before the file are none (an offset that is wrong by a constant may point there).
    start = max(start, -(base // page_size)) if base < 0 else start
    begin, end = base + start * page_size, min(base + stop * page_size, source.size)
    open_first, open_last = start, start
    for extent in source.extents(begin, end):
        if not extent.data:
            continue
        first = (extent.start - base) // page_size
        last = min(-(-(extent.stop - base) // page_size), stop)
        # Pages of two extents may meet: what the last scan covered is not scanned again.
        for low, high in _scan(source, base, page_size, max(first, open_last), last):
            if low == open_last and open_last > open_first:
                open_last = high
                continue
            if open_last > open_first:
                yield open_first, open_last
            open_first, open_last = low, high
    if open_last > open_first:
        yield open_first, open_last


def _scan(
    source: Source, base: int, page_size: int, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Runs of pages in [start, stop) that hold a byte other than 0; the range is read."""
    import numpy as np

    for low, used in _used_pages(source, base, page_size, start, stop):
        edges = np.flatnonzero(np.diff(used, prepend=False, append=False))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            yield low + first, low + last


def _used_pages(
    source: Source, base: int, page_size: int, start: int, stop: int
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """For steps of [start, stop): their first page, and for each page whether it holds a byte."""
    import numpy as np

    step = max(1, _SCAN_STEP // page_size)
    # One buffer for all steps: fresh memory costs more than the reading.
    flat = memoryview(bytearray(step * page_size))
    words = np.frombuffer(flat, np.uint64).reshape(step, -1)
    for low in range(start, stop, step):
        high = min(low + step, stop)
        offset = base + low * page_size
        wanted = (high - low) * page_size
        length = min(wanted, source.size - offset)
        source.read_into(offset, flat[:length])
        flat[length:wanted] = bytes(wanted - length)
        yield low, _used(words[: high - low])


def _used(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which rows of words are not all zero: most pages show it in a few words."""
    import numpy as np

    used = np.asarray(words[:, :: max(1, words.shape[1] // _PROBES)].any(axis=1))
    left = np.flatnonzero(~used)
    if left.size > words.shape[0] // 2:
        return np.asarray(np.bitwise_or.reduce(words, axis=1) != 0)
    if left.size:
        used[left] = np.bitwise_or.reduce(words[left], axis=1) != 0
    return used


@dataclass(frozen=True, slots=True)
class PageScan:
    """What reading a block's data told: absent pages that hold bytes, present ones that do not.

    first_stale and first_zero are pages, -1 where there is none.
    """

    stale_pages: int = 0
    first_stale: int = -1
    zero_pages: int = 0
    first_zero: int = -1


def scan_pages(source: Source, block: RamBlock, bitmap: PageBitmap) -> PageScan:
    """Read the data extents of a block once, and compare each page with its bit.

    Present pages in holes are not counted as zero pages: nothing is stored for them.
    """
    import numpy as np

    counts, firsts = [0, 0], [-1, -1]
    size, base = block.page_size, block.pages_offset
    done = max(0, -(base // size))
    for extent in source.extents(max(base, 0), min(block.pages_stop, source.size)):
        first = max(done, (extent.start - base) // size)
        last = min(-(-(extent.stop - base) // size), block.pages_total)
        if not extent.data or last <= first:
            continue
        for low, used in _used_pages(source, base, size, first, last):
            present = bitmap.flags(low, low + used.size)
            for which, odd in enumerate((used & ~present, present & ~used)):
                number = int(np.count_nonzero(odd))
                if number and not counts[which]:
                    firsts[which] = low + int(np.argmax(odd))
                counts[which] += number
        done = last
    return PageScan(counts[0], firsts[0], counts[1], firsts[1])
