"""The pages of a block in equal cells: how many are present, stale, zero; for maps of any size.

Bitmaps are counted in words, a step at a time: a 1 TiB guest costs what its bitmap costs, however
many cells there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.results import Result, Unsigned

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.presence.bitmap import PageBitmap

    Counts = npt.NDArray[np.int64]

__all__ = ["CELLS_CEILING", "BlockCells", "Cell", "ImageCells", "PageCells", "page_cells"]

#: More cells than this are no picture.
CELLS_CEILING = 1 << 20
#: Pages looked at together when they are read.
_STEP = 1 << 20


class Cell(Result, frozen=True):
    """Pages from first_page on: how many there are, and of them present, zero, and stale.

    None: the image does not say, or pages were not read.
    """

    first_page: Unsigned
    pages: Unsigned
    present: int | None
    zero: int | None
    stale: int | None


class BlockCells(Result, frozen=True):
    """The pages of a block in equal cells; page_size in bytes, ignored: not in the image."""

    name: str
    page_size: Unsigned
    pages_total: Unsigned
    pages_present: int | None
    ignored: bool
    cells: tuple[Cell, ...]


class ImageCells(Result, frozen=True):
    """Page maps of blocks; deep: their pages were read too."""

    path: str
    deep: bool
    blocks: tuple[BlockCells, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PageCells:
    """Counts of pages, one number a cell; cell i holds pages [edges[i], edges[i + 1]).

    present is None where the image does not say (ignored: x-ignore-shared left the block out).
    stale and zero are None where the pages were not read: absent pages that hold bytes, and
    present ones that hold none.
    """

    block: str
    page_size: int
    pages: int
    ignored: bool
    edges: Counts
    present: Counts | None
    zero: Counts | None = None
    stale: Counts | None = None

    @property
    def totals(self) -> Counts:
        """Pages of each cell."""
        import numpy as np

        return np.diff(self.edges)

    def listed(self) -> BlockCells:
        """The same as a list of cells."""
        columns = (self.edges[:-1], self.totals, self.present, self.zero, self.stale)
        lists = [[None] * self.totals.size if one is None else one.tolist() for one in columns]
        return BlockCells(
            name=self.block,
            page_size=self.page_size,
            pages_total=self.pages,
            pages_present=None if self.present is None else int(self.present.sum()),
            ignored=self.ignored,
            cells=tuple(map(Cell, *lists)),
        )


def page_cells(image: Image, block: RamBlock, cells: int, *, deep: bool = False) -> PageCells:
    """Count the pages of block in at most cells parts; deep reads them too.

    Pages of an ordinary stream have no fixed place: deep tells nothing more of them.
    """
    import numpy as np

    pages = block.pages_total
    cells = max(1, min(cells, pages, CELLS_CEILING))
    numbers = np.arange(cells + 1, dtype=np.int64)
    whole, rest = divmod(pages, cells)
    edges = numbers * whole + numbers * rest // cells
    bitmap = image.readable_bitmap(block)
    present = zero = stale = None
    if bitmap is not None:
        present = _present(bitmap, edges)
        if deep and block.has_pages:
            used, stale = _read(image, block, bitmap, edges)
            zero = present - used
    return PageCells(block.name, block.page_size, pages, block.ignored, edges, present, zero, stale)


def _present(bitmap: PageBitmap, edges: Counts) -> Counts:
    """Present pages between edges, by counting those before each."""
    import numpy as np

    before = np.zeros(edges.size, np.int64)
    done = running = 0
    for offset, data in bitmap.converted(HostLong.LITTLE_64):
        words = np.frombuffer(data, "<u8")
        sums = np.zeros(words.size + 1, np.int64)
        np.cumsum(np.bitwise_count(words), out=sums[1:], dtype=np.int64)
        base = offset * 8
        first, last = np.searchsorted(edges, (base, base + words.size * 64)).tolist()
        before[done:first] = running
        inside = edges[first:last] - base
        which, bit = inside // 64, (inside % 64).astype(np.uint64)
        low = words[which] & ((np.uint64(1) << bit) - np.uint64(1))
        before[first:last] = running + sums[which] + np.bitwise_count(low)
        running += int(sums[-1])
        done = last
    before[done:] = running
    return np.diff(before)


def _read(
    image: Image, block: RamBlock, bitmap: PageBitmap, edges: Counts
) -> tuple[Counts, Counts]:
    """Pages that hold a byte, in each cell: those that are present, and those that are not."""
    import numpy as np

    counts = np.zeros((2, edges.size - 1), np.int64)
    for start, used in _used(image, block):
        present = bitmap.flags(start, start + used.size)
        for which, found in enumerate((used & present, used & ~present)):
            pages = np.flatnonzero(found) + start
            cells = np.searchsorted(edges, pages, side="right") - 1
            if cells.size:
                first = int(cells[0])
                number = np.bincount(cells - first)
                counts[which, first : first + number.size] += number
    return counts[0], counts[1]


def _used(image: Image, block: RamBlock) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Which pages hold a byte: flags from some page on, for the parts that have any."""
    import numpy as np

    start, used = 0, np.zeros(0, np.bool_)
    runs = non_zero_runs(image.source, block.pages_offset, block.page_size, 0, block.pages_total)
    for low, high in runs:
        for first in range(low, high, _STEP):
            last = min(high, first + _STEP)
            if not used.size or last > start + used.size:
                if used.size:
                    yield start, used
                size = max(min(_STEP, block.pages_total - first), last - first)
                start, used = first, np.zeros(size, np.bool_)
            used[first - start : last - start] = True
    if used.size:
        yield start, used
