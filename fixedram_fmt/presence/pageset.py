"""Which pages an ordinary stream sends, as bits in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.stream.pagebatch import PageBatch
    from fixedram_fmt.stream.ramstate import RamState

__all__ = ["PageSet", "SentPresence"]

#: More pages than this (1 TiB of 4 KiB pages, 32 MiB of bits) are not tracked.
_PAGES_CEILING = 1 << 28
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

    def bitmap(self) -> PageBitmap:
        """The set as a bitmap that can be counted and split into runs."""
        return PageBitmap.from_bytes(self._bits, self.pages)


class SentPresence:
    """Presence by the page records of a stream; state is that of the walk that reads them.

    Blocks of more pages than the ceiling in all are not tracked.
    """

    def __init__(self, state: RamState) -> None:
        self._state = state
        self._sets: dict[bytes, PageSet] = {}
        # How many blocks have a set, and of how many pages.
        self._blocks = self._pages = 0

    def take(self, batch: PageBatch) -> None:
        """Mark the pages of a batch; one outside its block is noted, once a run."""
        pages = self._of(batch.block)
        if not self._sets:
            return
        numbers, present = batch.pages, batch.fills != 0
        outside = numbers >= (pages.pages if pages else 0)
        if outside.any():
            self._note(batch, outside)
            numbers, present = numbers[~outside], present[~outside]
        if pages:
            pages.mark(numbers, present)

    def _note(self, batch: PageBatch, outside: npt.NDArray[np.bool_]) -> None:
        """Notes on the first outside page of each run; none where the run has had one."""
        import numpy as np

        before = np.roll(outside, 1)
        before[0] = False
        for index in np.flatnonzero(outside & (batch.begins | ~before)).tolist():
            address = int(batch.words[index]) & -batch.page_size
            self._state.note(
                batch.base + int(batch.offsets[index]),
                batch.path_of(index),
                f"page {address:#x} lies outside every block called {text(batch.block)!r}",
            )

    def bitmap(self, block: RamBlock) -> PageBitmap | None:
        """The pages of a block that are present; None where they are not tracked."""
        pages = self._of(block.idstr)
        return pages.bitmap() if pages else None

    def _of(self, idstr: bytes) -> PageSet | None:
        """The set of a block; sets are made once the list of blocks has been read."""
        state = self._state
        if state.listed and len(state.blocks) > self._blocks:
            for block in state.blocks[self._blocks :]:
                count = block.used_length // state.page_size
                self._pages += count
                if self._pages <= _PAGES_CEILING:
                    self._sets[block.idstr] = PageSet(count)
            self._blocks = len(state.blocks)
            if self._pages > _PAGES_CEILING:
                self._sets.clear()
        return self._sets.get(idstr)
