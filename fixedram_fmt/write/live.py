"""A guest that goes on writing while it is saved: made up, and the same each time.

Each round after the first finds a quarter as many pages dirty as the one before; a third of those
that changed are zero then, and leave what was written of them before: stale pages.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fixedram_fmt.multifd.saver import Place, WrittenBitmap, save_rounds
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.hostlong import HostLong, swapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.multifd.saver import GuestBlock
    from fixedram_fmt.write.patterns import Memory, Pages
    from fixedram_fmt.write.piece import Piece

__all__ = ["LiveBitmap", "LiveMemory", "LivePages", "SavedBlock", "save_live"]

#: One page in so many is dirty in the second round, and of those again in the next.
_CALMS = 4
#: From this round on nothing is dirty any more.
_CALM = 12
#: One page in so many that changed is zero.
_ZEROED = 3
#: Longs of a bitmap written at a time.
_STEP = 1 << 17
_MIX = np.uint64(0x9E3779B97F4A7C15)


class LiveMemory:
    """A Memory that changes; GuestBlock for the saver."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._round = 0
        self._own = threading.local()

    def dirty(self, number: int) -> Iterator[tuple[int, int]]:
        """Runs of pages that became dirty for round number."""
        self._round = number
        if number > _CALM:
            return
        for pages in self.memory.written():
            hit = pages[self._is_dirty(pages, number)] if number else pages
            if len(hit):
                edges = np.flatnonzero(np.diff(hit) != 1) + 1
                starts = hit[np.concatenate([[0], edges])]
                stops = hit[np.concatenate([edges - 1, [len(hit) - 1]])] + 1
                yield from zip(starts.tolist(), stops.tolist(), strict=True)

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The pages as they are in this round."""
        tile = getattr(self._own, "tile", None)
        if tile is None:
            tile = self._own.tile = self.memory.tile()
        pages = np.arange(start, stop, dtype=np.int64)
        generation = np.zeros(len(pages), np.int64)
        for number in range(1, min(self._round, _CALM) + 1):
            generation[self._is_dirty(pages, number)] = number
        rows = self.memory.data(pages, tile, generation)
        zero = (generation > 0) & (self._mixed(pages, 0) % np.uint64(_ZEROED) == 0)
        if zero.any():
            rows = rows.copy()
            rows[zero] = 0
        return rows

    def _is_dirty(self, pages: Pages, number: int) -> npt.NDArray[np.bool_]:
        hit: npt.NDArray[np.bool_] = self._mixed(pages, number) % np.uint64(_CALMS**number) == 0
        return hit

    def _mixed(self, pages: Pages, number: int) -> npt.NDArray[np.uint64]:
        """Numbers that look like chance, the same for a page, a round and a seed."""
        mixed = pages.astype(np.uint64) + np.uint64(
            (self.memory.seed * 0x2545F491 + self.memory.number * 0x10001 + number * 0x1F3) % 2**64
        )
        for shift in (29, 32):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * _MIX
        return mixed >> np.uint64(20)


@dataclass(frozen=True, slots=True)
class SavedBlock:
    """A block that is saved while it changes: who has it, its pages, and which were written."""

    block: GuestBlock
    pages: int
    page_size: int
    bitmap: WrittenBitmap


@dataclass(frozen=True, slots=True)
class LivePages:
    """The pages of a SavedBlock: save_live() writes those of all blocks together."""

    saved: SavedBlock
    rounds: int
    channels: int

    @property
    def length(self) -> int:
        """The block's used_length."""
        return self.saved.pages * self.saved.page_size

    def write(self, output: Output, offset: int) -> None:
        """Nothing: a round goes over all blocks before the next begins."""


@dataclass(frozen=True, slots=True)
class LiveBitmap:
    """The bitmap of a SavedBlock, as a host stores it; known when its pages are saved."""

    saved: SavedBlock
    host_long: HostLong

    @property
    def length(self) -> int:
        """Bytes of the bitmap."""
        return PageBitmap.length_of(self.saved.pages, self.host_long)

    def write(self, output: Output, offset: int) -> None:
        """Write the parts that have a bit set."""
        bits = self.saved.bitmap.to_bytes()[: self.length]
        step = _STEP * self.host_long.size
        for start in range(0, len(bits), step):
            part = bits[start : start + step]
            if any(part):
                output.write(offset + start, swapped(part, self.host_long))


def save_live(pieces: Iterable[Piece], output: Output) -> None:
    """Save the pages of all live blocks among pieces, round after round."""
    live = [(piece.content, piece.offset) for piece in pieces]
    places = [
        Place(pages.saved.block, offset, pages.saved.page_size, pages.saved.bitmap)
        for pages, offset in live
        if isinstance(pages, LivePages)
    ]
    for pages, _ in live:
        if isinstance(pages, LivePages):
            output.flush()
            write = output.write_through
            save_rounds(places, write, rounds=pages.rounds, channels=pages.channels)
            return
