"""Mutants whose verdict a real QEMU does not share, and why; lines of QEMU that no rule knows."""

from __future__ import annotations

__all__ = ["DISAGREEMENTS", "UNKNOWN_LINES"]

_RECEIVER_HAS_IT = (
    "the block is a ROM whose bytes the receiver has already: QEMU leaves what is absent as it is"
)
#: By the mutant's name.
DISAGREEMENTS = {
    "real/section[0]/ram/block[6]/header.page_size+1": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[6]/header.bitmap_offset-4096": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[4]/header.bitmap_offset=0": _RECEIVER_HAS_IT,
}
#: Devices have words of their own; these are parts of their lines.
UNKNOWN_LINES: tuple[str, ...] = ()
