"""Pages as bits in memory, set and cleared run by run: what an ordinary stream sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.presence.bitmap import PageBitmap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

    import numpy as np
    import numpy.typing as npt

__all__ = ["PageSet", "set_bits"]

#: More pages than this (1 TiB of 4 KiB pages) are not tracked for an ordinary stream.
_PAGE_SET_CEILING = 1 << 28


def set_bits(bits: bytearray | mmap, start: int, stop: int, *, present: bool) -> None:
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


class PageSet:
    """Pages that an ordinary stream has sent so far, one bit each; the last record of one wins."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self._bits = bytearray((pages + 63) // 64 * 8)

    @classmethod
    def for_blocks(cls, lengths: Mapping[bytes, int], page_size: int) -> dict[bytes, PageSet]:
        """An empty set for each block by its length in bytes; none at all beyond the ceiling."""
        pages = {idstr: length // page_size for idstr, length in lengths.items()}
        if sum(pages.values()) > _PAGE_SET_CEILING:
            return {}
        return {idstr: cls(count) for idstr, count in pages.items()}

    def mark(self, start: int, stop: int, *, present: bool) -> bool:
        """Set or clear the pages [start, stop); False, and nothing done, if one is outside."""
        if stop > self.pages:
            return False
        set_bits(self._bits, start, stop, present=present)
        return True

    def mark_each(self, pages: npt.NDArray[np.uint64], present: npt.NDArray[np.bool_]) -> None:
        """Set or clear pages inside the set, in this order: the last mention of one wins."""
        import numpy as np

        if not (pages[1:] > pages[:-1]).all():
            pages, last = np.unique(pages[::-1], return_index=True)
            present = present[::-1][last]
        places, masks = (
            pages >> np.uint64(3),
            np.uint8(1) << (pages & np.uint64(7)).astype(np.uint8),
        )
        bits = np.frombuffer(self._bits, np.uint8)
        np.bitwise_or.at(bits, places[present], masks[present])
        np.bitwise_and.at(bits, places[~present], ~masks[~present])

    def bitmap(self) -> PageBitmap:
        """The set as a bitmap that can be counted and split into runs."""
        return PageBitmap.from_bytes(self._bits, self.pages)
