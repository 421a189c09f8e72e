"""A set of pages, as bits in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.presence.bitmap import PageBitmap

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["PageSet"]

#: From one page in so many on their bits are set as bytes, side by side.
_DENSE = 16


class PageSet:
    """Pages of a block that have been sent so far, one bit each; the last record of one wins."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self._bits = bytearray((pages + 63) // 64 * 8)

    def mark(self, pages: npt.NDArray[np.uint64], present: npt.NDArray[np.bool_]) -> None:
        """Set or clear pages inside the set, in this order: the last mention of one wins."""
        import numpy as np

        if not (pages[1:] > pages[:-1]).all():
            pages, last = np.unique(pages[::-1], return_index=True)
            present = present[::-1][last]
        if not pages.size:
            return
        first, stop = int(pages[0]) >> 3, (int(pages[-1]) >> 3) + 1
        bits = np.frombuffer(self._bits, np.uint8)[first:stop]
        pages = pages - np.uint64(first * 8)
        if bits.size * 8 <= pages.size * _DENSE:
            flags = np.unpackbits(bits, bitorder="little")
            flags[pages] = present
            bits[:] = np.packbits(flags, bitorder="little")
            return
        places = pages >> np.uint64(3)
        masks = np.uint8(1) << (pages & np.uint64(7)).astype(np.uint8)
        np.bitwise_or.at(bits, places[present], masks[present])
        np.bitwise_and.at(bits, places[~present], ~masks[~present])

    def mark_one(self, page: int, *, present: bool) -> None:
        """Set or clear a page inside the set."""
        mask = 1 << (page & 7)
        if present:
            self._bits[page >> 3] |= mask
        else:
            self._bits[page >> 3] &= ~mask

    def bitmap(self) -> PageBitmap:
        """The set as a bitmap that can be counted and split into runs."""
        return PageBitmap.from_bytes(self._bits, self.pages)
