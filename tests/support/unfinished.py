"""Saves as they are when QEMU is killed: made whole, then taken back to an earlier moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from support.builders import open_bytes
from support.memory import block_memory
from support.synthetic import made

if TYPE_CHECKING:
    from fixedram_fmt import Image

__all__ = ["PAUSED", "RUNNING", "memory_of", "offset_of", "saved", "without_bitmaps"]


def _globalstate(state: bytes) -> dict[str, str]:
    """The section in which a machine says what state it was in (migration/global_state.c)."""
    body = (len(state) + 1).to_bytes(4, "big") + state.ljust(100, b"\0")
    return {"name": "globalstate", "data": body.hex()}


PAUSED, RUNNING = _globalstate(b"paused"), _globalstate(b"running")


def saved(state: dict[str, str] = PAUSED, **spec: Any) -> bytes:
    """A whole image with two blocks and devices."""
    return made(**{"devices": [{"name": "cpu", "data": "7e" * 40}, state], **spec})


def offset_of(raw: bytes, kind: Kind, number: int = 0, *, stop: bool = False) -> int:
    """Where a leaf of that kind begins, or stops; number counts them."""
    with open_bytes(raw) as image:
        found = [leaf for leaf in leaves(image, runs=False) if leaf.kind is kind][number]
    return found.stop if stop else found.offset


def without_bitmaps(raw: bytes, *numbers: int) -> bytes:
    """The image with the bitmaps of these blocks (none given: of all) not written yet."""
    data = bytearray(raw)
    with open_bytes(raw) as image:
        for block in image.blocks:
            if not numbers or block.index in numbers:
                length = image.bitmap_length(block)
                data[block.bitmap_offset : block.bitmap_offset + length] = bytes(length)
    return bytes(data)


def memory_of(image: Image) -> dict[str, bytes]:
    """The memory of each block."""
    return {block.name: block_memory(image, block) for block in image.blocks}
