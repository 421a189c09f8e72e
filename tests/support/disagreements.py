"""Mutants whose verdict a real QEMU does not share, and why; lines of QEMU that no rule knows."""

from __future__ import annotations

__all__ = ["DISAGREEMENTS", "UNKNOWN_LINES"]

_RECEIVER_HAS_IT = (
    "the block is a ROM whose bytes the receiver has already: QEMU leaves what is absent as it is"
)
_AS_AFTER_RESET = (
    "the stream ends at the byte that was put in; the devices after it were saved as a reset leaves"
    " them"
)
#: By the mutant's name.
DISAGREEMENTS = {
    "synth/memory: mem1 of 4M, full": (
        "the rest of the block stays as the receiver made it: zeros, in a VM that is new"
    ),
    "synth/memory: mem1 first": "the second block's pages are read from the first one's place",
    "synth/memory: mem1 of 12M, empty": "what the longer block has at its end is not in the VM",
    "real/insert 0x00 before section[3]": _AS_AFTER_RESET,
    "real/insert 0x00 before section[8]": _AS_AFTER_RESET,
    "real/insert 0x00 before section[3] and section[3]/header.version_id+1": _AS_AFTER_RESET,
    "real/section[0]/ram/block[5]/header.page_size/2": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[6]/header.page_size+1": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[6]/header.bitmap_offset-4096": _RECEIVER_HAS_IT,
    "real/section[0]/ram/block[4]/header.bitmap_offset=0": _RECEIVER_HAS_IT,
}
#: Devices have words of their own; these are parts of their lines.
UNKNOWN_LINES: tuple[str, ...] = (
    "CMD_PACKAGED: Buffer receive fail",
    # Names that hold a line break.
    'Unknown ramblock "em1 page', 'Unknown ramblock "m1 page',
)  # fmt: skip
