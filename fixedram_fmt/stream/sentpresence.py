"""Which pages an ordinary stream sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.presence.pageset import PageSet
from fixedram_fmt.schema.base import text
from fixedram_fmt.stream.pagebatch import LonePage, PageBatch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.stream.pagebatch import SentPages
    from fixedram_fmt.stream.ramstate import RamState

__all__ = ["SentPresence"]

#: More pages than this (1 TiB of 4 KiB pages, 32 MiB of bits) are not tracked.
_PAGES_CEILING = 1 << 28


class SentPresence:
    """Presence by the page records of a stream; state is that of the walk that reads them.

    Blocks of more pages than the ceiling in all are not tracked.
    """

    def __init__(self, state: RamState) -> None:
        self._state = state
        self._sets: dict[bytes, PageSet] = {}
        # How many blocks have a set, and of how many pages.
        self._blocks = self._pages = 0

    def take(self, batch: SentPages) -> None:
        """Mark the pages of a batch; one outside its block is noted, once a run."""
        pages = self._of(batch.block)
        if not self._sets or self._state.mapped:
            return
        if isinstance(batch, LonePage):
            self._take_one(batch, pages)
        elif isinstance(batch, PageBatch):
            self._take_batch(batch, pages)

    def _take_one(self, batch: LonePage, pages: PageSet | None) -> None:
        run = batch.run
        number = run.address // batch.page_size
        if pages is None or number >= pages.pages:
            self._note_one(batch, run.address, run.offset, 0)
        else:
            pages.mark_one(number, present=run.fill != 0)

    def _take_batch(self, batch: PageBatch, pages: PageSet | None) -> None:
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
            self._note_one(batch, address, batch.base + int(batch.offsets[index]), index)

    def _note_one(self, batch: SentPages, address: int, offset: int, index: int) -> None:
        what = f"page {address:#x} lies outside every block called {text(batch.block)!r}"
        self._state.note(offset, batch.path_of(index), what)

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
