"""Absent pages that hold data: looked for in the data extents of a file, within a budget."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap

__all__ = ["ENOUGH", "Unclaimed", "unclaimed_pages"]

#: So many pages are counted: as many as one long of a bitmap has bits.
ENOUGH = 64
_STEP = 1 << 20
#: Extents of a file that are looked at in one block.
_EXTENTS = 1 << 16
#: Pages looked at, evenly spread, where the budget does not reach.
_PROBES = 2048


class Unclaimed(NamedTuple):
    """Absent pages with data, up to ENOUGH of them, and the first one (-1: none).

    whole tells whether all absent pages were looked at, read how many bytes that took.
    """

    pages: int
    first: int
    whole: bool
    read: int


def unclaimed_pages(
    source: Source, block: RamBlock, bitmap: PageBitmap, budget: int | None
) -> Unclaimed:
    """Absent pages of a block that hold a byte other than 0; at most budget bytes are read.

    Where the file has holes nothing is read.  Beyond the budget some pages are probed.
    """
    pages, first, read = 0, -1, 0
    for low, high in _absent_in_data(source, block, bitmap):
        if low == high:
            return Unclaimed(pages, first, False, read)
        for start in range(low, high, max(1, _STEP // block.page_size)):
            stop = min(high, start + max(1, _STEP // block.page_size))
            if budget is not None and read >= budget:
                found = _probe(source, block, bitmap, start)
                return Unclaimed(pages + len(found), found[0] if found else -1, False, read)
            data = _read(source, block, start, stop)
            read += len(data)
            if data.count(0) == len(data):
                continue
            for page in range(start, stop):
                if _holds_data(data, block.page_size, page - start):
                    first = page if first < 0 else first
                    pages += 1
            if pages >= ENOUGH:
                return Unclaimed(pages, first, False, read)
    return Unclaimed(pages, first, True, read)


def _absent_in_data(
    source: Source, block: RamBlock, bitmap: PageBitmap
) -> Iterator[tuple[int, int]]:
    """Runs of absent pages in data extents of the file; an empty one where that is too much."""
    size, base = block.page_size, block.pages_offset
    done = max(0, -(base // size))
    extents = source.extents(max(0, base), min(block.pages_stop, source.size))
    for extent in islice(extents, _EXTENTS):
        low = max(done, (extent.start - base) // size)
        high = min(-(-(extent.stop - base) // size), bitmap.pages)
        if not extent.data or high <= low:
            continue
        done = high
        if bitmap.count(low, high) < high - low:
            yield from (run[:2] for run in bitmap.runs(low, high) if not run.present)
    if next(extents, None) is not None:
        yield done, done


def _read(source: Source, block: RamBlock, start: int, stop: int) -> bytes:
    """The bytes of pages [start, stop), fewer where the file ends."""
    offset = block.pages_offset + start * block.page_size
    return source.read_upto(offset, (stop - start) * block.page_size)


def _holds_data(data: bytes, page_size: int, number: int) -> bool:
    page = data[number * page_size : (number + 1) * page_size]
    return page.count(0) < len(page)


def _probe(source: Source, block: RamBlock, bitmap: PageBitmap, start: int) -> list[int]:
    """Of pages spread evenly after start, those that are absent and hold data."""
    left = bitmap.pages - start
    step = max(1, left // _PROBES)
    return [
        page
        for page in range(start, bitmap.pages, step)
        if page not in bitmap and _holds_data(_read(source, block, page, page + 1), left, 0)
    ]
