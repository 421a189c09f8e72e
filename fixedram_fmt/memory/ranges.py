"""Ranges of guest-physical addresses: painted over one another, then looked up."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fixedram_fmt.results import Result, Unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fixedram_fmt.blocks import RamBlock

__all__ = ["GIB", "MIB", "Canvas", "MemoryMap", "MemoryRange", "ShownMap", "ShownRange"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_ADDRESSES = 1 << 64
#: More ranges than this are no machine's: each DIMM, flash chip and PCI BAR is one or two.
_LAYERS = 2048


class ShownRange(Result, frozen=True):
    """Guest-physical addresses [start, stop), and the block that is there, from offset on.

    kind is `ram` or `rom`, source where the fact comes from.
    """

    start: Unsigned
    stop: Unsigned
    block: str
    offset: Unsigned
    kind: str
    source: str


class ShownMap(Result, frozen=True):
    """Where RAM blocks are in the guest's address space; unmapped are names of those in no range.

    notes tell guesses, and why there is no map where there is none.
    """

    memory_map: tuple[ShownRange, ...]
    notes: tuple[str, ...]
    unmapped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """Guest-physical [start, stop) shows block from offset on; all in bytes.

    kind is `ram` or `rom` (the guest reads it and cannot write); source says in a few words where
    the fact comes from.
    """

    start: int
    stop: int
    block: RamBlock
    offset: int
    source: str
    kind: str = "ram"

    @property
    def length(self) -> int:
        """Bytes of address space."""
        return self.stop - self.start

    def part(self, start: int, stop: int) -> MemoryRange:
        """The part of it inside [start, stop)."""
        first = max(start, self.start)
        return replace(
            self, start=first, stop=min(stop, self.stop), offset=self.offset + first - self.start
        )

    @property
    def shown(self) -> ShownRange:
        """The range as JSON has it."""
        place = (self.start, self.stop, self.block.name, self.offset)
        return ShownRange(*place, self.kind, self.source)


class MemoryMap:
    """Sorted ranges that do not overlap; what lies in none is no memory of the image's.

    notes tell guesses, and why there is no map where there is none; unmapped are the blocks that
    are in no range (fw_cfg files, ROMs that are switched off).
    """

    def __init__(
        self,
        ranges: Iterable[MemoryRange] = (),
        notes: Sequence[str] = (),
        unmapped: Sequence[RamBlock] = (),
    ) -> None:
        self.ranges = tuple(ranges)
        self.notes = tuple(notes)
        self.unmapped = tuple(unmapped)
        self._starts = [piece.start for piece in self.ranges]

    def __len__(self) -> int:
        return len(self.ranges)

    def __iter__(self) -> Iterator[MemoryRange]:
        return iter(self.ranges)

    @property
    def stop(self) -> int:
        """The address after the last range; 0 for an empty map."""
        return self.ranges[-1].stop if self.ranges else 0

    def find(self, address: int) -> MemoryRange | None:
        """The range that holds address, None where the guest has no memory of the image's."""
        piece = self._before(address)
        return piece if piece is not None and address < piece.stop else None

    def _before(self, address: int) -> MemoryRange | None:
        index = bisect_right(self._starts, address) - 1
        return self.ranges[index] if index >= 0 else None

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, MemoryRange | None]]:
        """Pieces that tile [start, stop) in order: each with its range, None for a hole."""
        at = start
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self.ranges) and at < stop:
            piece = self.ranges[index]
            index += 1
            if piece.stop <= at:
                continue
            if piece.start >= stop:
                break
            if piece.start > at:
                yield at, piece.start, None
                at = piece.start
            end = min(piece.stop, stop)
            yield at, end, piece
            at = end
        if at < stop:
            yield at, stop, None

    def addresses(self, block: RamBlock, offset: int) -> list[int]:
        """Guest-physical addresses at which byte offset of block is seen; aliases make several."""
        return [
            piece.start + offset - piece.offset
            for piece in self.ranges
            if piece.block.index == block.index
            and piece.offset <= offset < piece.offset + piece.length
        ]

    def shown(self) -> tuple[ShownRange, ...]:
        """The ranges as JSON has them."""
        return tuple(piece.shown for piece in self.ranges)


class Canvas:
    """Where a map is put together: what is painted later covers what was there."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._ranges: list[MemoryRange] = []
        self._left = _LAYERS

    def note(self, text: str) -> None:
        """Tell a guess, once."""
        if text not in self.notes:
            self.notes.append(text)

    def paint(
        self,
        start: int,
        block: RamBlock,
        source: str,
        *,
        offset: int = 0,
        length: int | None = None,
        kind: str = "ram",
    ) -> None:
        """Show length bytes of block from offset on at start; cut to the block and 64 bits."""
        rest = block.used_length - offset
        stop = min(start + (rest if length is None else min(length, rest)), _ADDRESSES)
        if start < 0 or offset < 0 or stop <= start:
            return
        self.clear(start, stop)
        self._ranges.append(MemoryRange(start, stop, block, offset, source, kind))

    def clear(self, start: int, stop: int) -> None:
        """Nothing of the image's is seen in [start, stop) any more."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("more ranges than a machine has")
        kept = []
        for piece in self._ranges:
            if piece.stop <= start or stop <= piece.start:
                kept.append(piece)
                continue
            if piece.start < start:
                kept.append(piece.part(piece.start, start))
            if stop < piece.stop:
                kept.append(piece.part(stop, piece.stop))
        self._ranges = kept

    def finish(self, blocks: Sequence[RamBlock]) -> MemoryMap:
        """The map, neighbours that go on in the same block with the same source joined."""
        joined: list[MemoryRange] = []
        for piece in sorted(self._ranges, key=lambda piece: piece.start):
            last = joined[-1] if joined else None
            if last is not None and _goes_on(last, piece):
                joined[-1] = replace(last, stop=piece.stop)
            else:
                joined.append(piece)
        seen = {piece.block.index for piece in joined}
        return MemoryMap(joined, self.notes, [b for b in blocks if b.index not in seen])


def _goes_on(left: MemoryRange, right: MemoryRange) -> bool:
    return (
        left.stop == right.start
        and left.block.index == right.block.index
        and left.offset + left.length == right.offset
        and left.kind == right.kind
        and left.source == right.source
    )
