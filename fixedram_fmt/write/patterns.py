"""Memory that is made up: which pages a block has, and what is in them; same seed, same bytes.

Pages are made by the megabyte with numpy, never one by one, and nothing is kept: bitmap and pages
come from the same draws, made twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fixedram_fmt.io.source import Source
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.hostlong import HostLong, swapped
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.write.spec import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from fixedram_fmt.io.output import Output

    Pages = npt.NDArray[np.int64]

__all__ = ["FileMemory", "FilePages", "MadeBitmap", "MadePages", "Memory"]

#: Pages drawn at a time: 256 KiB of bitmap, 8 GiB of guest.
_DRAW = 1 << 21
#: Bytes of pages made at a time.
_BATCH = 1 << 20
#: Longs of a bitmap without a bit that are left out rather than written.
_GAP = 1 << 13
#: What FORMAT's test guest multiplies page numbers with (2^32 / golden ratio).
_GOLDEN = 0x9E3779B1


@dataclass(frozen=True, slots=True)
class Memory:
    """One block's made-up memory: pages pages of page_size bytes, density of them not zero."""

    pages: int
    page_size: int
    pattern: Pattern
    density: float
    seed: int
    number: int
    name: str

    def written(self) -> Iterator[Pages]:
        """Numbers of all pages that were ever written, in order, in chunks."""
        if self.pattern is Pattern.ZERO or self.density <= 0:
            return
        for start in range(0, self.pages, _DRAW):
            count = min(_DRAW, self.pages - start)
            if self.density >= 1:
                for low in range(start, start + count, _DRAW >> 5):
                    yield np.arange(low, min(low + (_DRAW >> 5), start + count), dtype=np.int64)
            else:
                yield start + self._draw(start, count)

    def _draw(self, start: int, count: int) -> Pages:
        """Pages of [0, count) by drawing the gaps between them: the cost is that of the hits."""
        rng = np.random.Generator(np.random.SFC64([self.seed, self.number, start]))
        gaps = [np.empty(0, np.int64)]
        reached = 0
        while reached < count:
            draws = int((count - reached) * self.density * 1.05) + 64
            gap = rng.geometric(self.density, draws)
            gaps.append(gap)
            reached += int(gap.sum())
        pages: Pages = np.cumsum(np.concatenate(gaps)) - 1
        return pages[pages < count]

    def data(
        self, pages: Pages, tile: npt.NDArray[np.uint8], generation: Pages | None = None
    ) -> npt.NDArray[np.uint8]:
        """What is in those pages: one row each; tile is that of tile().

        generation is how often each page has changed.  The result may be tile itself, and is good
        until the next call.
        """
        if generation is None:
            generation = np.zeros(len(pages), np.int64)
        if self.pattern is Pattern.COUNTER:
            words = (pages * _GOLDEN)[:, None] + np.arange(self.page_size // 4)
            words[:, 2] += generation
            return words.astype("<u4").view(np.uint8)
        if self.pattern is Pattern.TEXT:
            return self._text(pages, generation)
        # Dense memory is the tile over and over: only the stamps differ, nothing is moved.
        whole = len(pages) == len(tile) and pages[0] % len(tile) == 0
        rows = tile if whole and pages[-1] - pages[0] == len(tile) - 1 else tile[pages % len(tile)]
        # No two pages are alike, and no page is zero.
        stamp = rows.view("<u8")
        stamp[:, 0], stamp[:, 1] = pages, generation + 1
        return rows

    def tile(self) -> npt.NDArray[np.uint8]:
        """A megabyte of random pages, from which those of the pattern random are made."""
        rng = np.random.Generator(np.random.SFC64([self.seed, self.number]))
        return np.frombuffer(bytearray(rng.bytes(_BATCH)), np.uint8).reshape(-1, self.page_size)

    def _text(self, pages: Pages, generation: Pages) -> npt.NDArray[np.uint8]:
        size = self.page_size
        joined = bytearray()
        for page, number in zip(pages.tolist(), (generation + 1).tolist(), strict=True):
            line = f"{self.name} page {page} round {number}\n".encode()
            joined += (line * (size // len(line) + 1))[:size]
        return np.frombuffer(joined, np.uint8).reshape(-1, size)


@dataclass(frozen=True, slots=True)
class FileMemory:
    """A block's memory as a file holds it: pages that are not zero are present."""

    path: str
    pages: int
    page_size: int

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of pages that hold anything."""
        with Source.open(self.path) as source:
            stop = -(-source.size // self.page_size)
            yield from non_zero_runs(source, 0, self.page_size, 0, stop)

    def written(self) -> Iterator[Pages]:
        """Numbers of the pages that hold anything, in order, in chunks."""
        for start, stop in self.runs():
            for low in range(start, stop, _DRAW):
                yield np.arange(low, min(low + _DRAW, stop), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class FilePages:
    """The pages of a FileMemory, copied."""

    memory: FileMemory

    @property
    def length(self) -> int:
        """The block's used_length."""
        return self.memory.pages * self.memory.page_size

    def write(self, output: Output, offset: int) -> None:
        """Copy what holds anything, in the kernel where that is possible."""
        size = self.memory.page_size
        with Source.open(self.memory.path) as source:
            for first, last in self.memory.runs():
                stop = min(last * size, source.size)
                output.copy_data(source, first * size, stop, offset + first * size)


@dataclass(frozen=True, slots=True)
class MadeBitmap:
    """The bitmap of a Memory, as a host stores it."""

    memory: Memory | FileMemory
    host_long: HostLong

    @property
    def length(self) -> int:
        """Bytes of the bitmap."""
        return PageBitmap.length_of(self.memory.pages, self.host_long)

    def write(self, output: Output, offset: int) -> None:
        """Write the parts that have a bit set."""
        longs = self.host_long.size * 8
        held = np.empty(0, np.int64)
        for written in self.memory.written():
            pages = np.concatenate([held, written])
            # The last long may go on with the next pages.
            held = (
                pages[np.searchsorted(pages // longs, pages[-1] // longs) :]
                if len(pages)
                else pages
            )
            pages = pages[: len(pages) - len(held)]
            self._write(output, offset, pages, longs)
        self._write(output, offset, held, longs)

    def _write(self, output: Output, offset: int, pages: Pages, longs: int) -> None:
        if not len(pages):
            return
        word = f"<u{self.host_long.size}"
        index = pages // longs
        bits = np.left_shift(np.ones(len(pages), word), (pages % longs).astype(word))
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        values, places = np.bitwise_or.reduceat(bits, starts), index[starts]
        # Far apart means apart: what lies between stays a hole.
        edges = [0, *(np.flatnonzero(np.diff(places) > _GAP) + 1).tolist(), len(places)]
        for low, high in pairwise(edges):
            first = int(places[low])
            dense = np.zeros(int(places[high - 1]) - first + 1, word)
            dense[places[low:high] - first] = values[low:high]
            data = swapped(dense.tobytes(), self.host_long)
            output.write(offset + first * self.host_long.size, data)


@dataclass(frozen=True, slots=True)
class MadePages:
    """The pages of a Memory."""

    memory: Memory

    @property
    def length(self) -> int:
        """The block's used_length."""
        return self.memory.pages * self.memory.page_size

    def write(self, output: Output, offset: int) -> None:
        """Write them in batches, neighbours together."""
        size = self.memory.page_size
        step = _BATCH // size
        tile = self.memory.tile()
        for pages in self.memory.written():
            for low in range(0, len(pages), step):
                batch = pages[low : low + step]
                data = self.memory.data(batch, tile)
                edges = np.flatnonzero(np.diff(batch) != 1) + 1
                bounds = [0, *edges.tolist(), len(batch)]
                for start, stop in pairwise(bounds):
                    place = offset + int(batch[start]) * size
                    output.write(place, memoryview(data[start:stop].reshape(-1)))  # type: ignore[arg-type]
