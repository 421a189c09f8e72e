"""Which byte order the bitmaps of an image have: nothing in the file says so, evidence does.

A page that a wrong order calls present shows itself: it lies in a hole of the file, or past the
block's last page.  Where neither tells, the machine type does when only big-endian hosts run it
at speed, and then a look at some pages settles it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.hostlong import HostLong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.source import Source

__all__ = ["HostLongGuess", "infer_host_long"]

#: Machine types that are saved on big-endian hosts when KVM runs them.
_BIG_ENDIAN_MACHINES = (b"s390-ccw", b"pseries")

_CANDIDATES = (HostLong.LITTLE_64, HostLong.BIG_64, HostLong.BIG_32)
_HOLES_LOOKED_AT = 1024
_PAGES_LOOKED_AT = 32


class HostLongGuess(NamedTuple):
    """The order, and what speaks for it."""

    value: HostLong
    reason: str


def infer_host_long(
    source: Source, blocks: Sequence[RamBlock], machine: bytes | None
) -> HostLongGuess:
    """The order under which the bitmaps contradict the file least; little-endian on a tie."""
    mapped = _apart([block for block in blocks if block.has_pages])
    if any(machine and machine.startswith(name) for name in _BIG_ENDIAN_MACHINES):
        candidates: tuple[HostLong, ...] = _CANDIDATES
    elif _contradictions(source, mapped, HostLong.LITTLE_64):
        candidates = _CANDIDATES
    else:
        return HostLongGuess(HostLong.LITTLE_64, "nothing contradicts it")
    scores = {order: _contradictions(source, mapped, order) for order in candidates}
    best = min(scores, key=scores.__getitem__)
    if scores[best] < max(scores.values()):
        return HostLongGuess(best, "tail bits and holes of the file")
    zeros = {order: _zero_pages(source, mapped, order) for order in candidates}
    best = min(zeros, key=zeros.__getitem__)
    reason = "page data" if zeros[best] < max(zeros.values()) else "nothing contradicts it"
    return HostLongGuess(best, reason)


def _apart(blocks: Sequence[RamBlock]) -> list[RamBlock]:
    """Blocks whose bitmaps share no bytes: a hostile list names one bitmap many thousand times."""
    kept: list[RamBlock] = []
    stop = -1
    for block in sorted(blocks, key=lambda block: block.bitmap_offset):
        if block.bitmap_offset >= stop:
            kept.append(block)
            stop = block.bitmap_offset + block.bitmap_length()
    return kept


def _bitmap(source: Source, block: RamBlock, order: HostLong) -> PageBitmap | None:
    try:
        return PageBitmap.of_block(source, block, order)
    except FixedRamError:
        return None


def _contradictions(source: Source, blocks: Sequence[RamBlock], order: HostLong) -> int:
    """Bits set past the last page, and pages present that lie in holes of the file."""
    total = 0
    for block in blocks:
        bitmap = _bitmap(source, block, order)
        if bitmap is None:
            continue
        total += bitmap.tail_bits()
        extents = source.extents(block.pages_offset, block.pages_stop)
        for extent in islice(extents, _HOLES_LOOKED_AT):
            if not extent.data:
                first = -(-(extent.start - block.pages_offset) // block.page_size)
                last = (extent.stop - block.pages_offset) // block.page_size
                total += bitmap.count(first, last)
    return total


def _zero_pages(source: Source, blocks: Sequence[RamBlock], order: HostLong) -> int:
    """How many of the first present pages hold nothing; QEMU does not store such pages."""
    looked, zeros = 0, 0
    for block in blocks:
        bitmap = _bitmap(source, block, order)
        if bitmap is None:
            continue
        for run in bitmap.runs():
            if looked >= _PAGES_LOOKED_AT:
                return zeros
            if run.present:
                looked += 1
                page = source.read_upto(
                    block.pages_offset + run.start * block.page_size, block.page_size
                )
                zeros += page.count(0) == len(page)
    return zeros
