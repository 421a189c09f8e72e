"""Mutants whose verdict a real QEMU does not share, and why; lines of QEMU that no rule knows."""

from __future__ import annotations

__all__ = ["DISAGREEMENTS", "UNKNOWN_LINES"]

_RECEIVER_HAS_IT = (
    "the block is a ROM whose bytes the receiver has already: QEMU leaves what is absent as it is"
)
_NO_DEVICES = (
    "the stream ends at the byte that was put in: memory is right, the devices after it are not"
)
_ANOTHER_BITMAP = (
    "the pages that the two bitmaps tell apart hold zeros: loaded as either says they are the same"
)
_FIXED_INSTANCE = (
    "0xffffffff fits any device but those that QEMU registers under an alias or a fixed number"
)
_DESCRIPTION_OR_BODY = (
    "the size of one structure in the description was changed: taken for a body of another length"
)
#: By the mutant's name.
DISAGREEMENTS = {
    "real/description: size at 47189": _DESCRIPTION_OR_BODY,
    "busy/description: size at 29635": _DESCRIPTION_OR_BODY,
    "busy/description: size at 78747": _DESCRIPTION_OR_BODY,
    "busy/description: size at 87952": _DESCRIPTION_OR_BODY,
    "synth/memory: mem1 of 4M, full": (
        "the rest of the block stays as the receiver made it: zeros, in a VM that is new"
    ),
    "synth/memory: mem1 first": "the second block's pages are read from the first one's place",
    "synth/memory: mem1 of 12M, empty": "what the longer block has at its end is not in the VM",
    "real/section[0]/ram/block[5]/header.page_size/2": _RECEIVER_HAS_IT,
    "real/insert 0x00 before section[3]": _NO_DEVICES,
    "real/insert 0x00 before section[8]": _NO_DEVICES,
    "real/insert 0x00 before section[3] and section[3]/header.version_id+1": _NO_DEVICES,
    "synth/section[0]/ram/block[0]/bitmap bit 4095 and section[0]/ram/block[1]/header.bitmap_offset"
    " is the other pages": _ANOTHER_BITMAP,
    "busy/section[20] is instance 4294967295": _FIXED_INSTANCE,
    "busy/section[23] is instance 4294967295": _FIXED_INSTANCE,
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
