"""Which pages of a file hold anything: found by reading them, holes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.source import Source

__all__ = ["non_zero_runs", "stale_runs"]

_SCAN_STEP = 1 << 20


def stale_runs(source: Source, block: RamBlock, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Of the absent pages [start, stop) of a block, runs of those that still hold bytes."""
    return non_zero_runs(source, block.pages_offset, block.page_size, start, stop)


def non_zero_runs(
    source: Source, base: int, page_size: int, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Maximal runs of pages in [start, stop) that hold a byte other than 0.

    Page i lies at base + i * page_size; what is behind the end of the file counts as zero.
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
        used = np.bitwise_or.reduce(words[: high - low], axis=1) != 0
        edges = np.flatnonzero(np.diff(used, prepend=False, append=False))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            yield low + first, low + last
