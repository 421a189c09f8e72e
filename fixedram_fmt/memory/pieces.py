"""What is in a range of addresses: present, absent, a hole, not mapped; as data, nothing read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from fixedram_fmt.memory.block import BlockMemory
from fixedram_fmt.memory.paging.virtual import VirtualMemory
from fixedram_fmt.memory.paging.walk import Translation
from fixedram_fmt.memory.physical import PhysicalMemory
from fixedram_fmt.results import Hex, Result, Unsigned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.memory.block import Readable

__all__ = [
    "ABSENT",
    "HOLE",
    "IGNORED",
    "PRESENT",
    "UNMAPPED",
    "Piece",
    "ReadMemory",
    "ReadPiece",
    "pieces_of",
]

PRESENT, ABSENT, HOLE, IGNORED, UNMAPPED = "present", "absent", "hole", "ignored", "unmapped"


@dataclass(frozen=True, slots=True)
class Piece:
    """Addresses [start, stop): state, and for memory its block, the offset in it and in the file.

    state: `present` in the image, `absent` (zero), a `hole` in guest-physical memory, `ignored`
    (the block is not in the image), `unmapped` (a virtual address that leads nowhere; why tells).
    """

    start: int
    stop: int
    state: str
    block: str | None = None
    offset: int | None = None
    file_offset: int | None = None
    why: str = ""


class ReadPiece(Result, frozen=True):
    """Addresses with one state; of memory its block, the offset in it, and that in the file."""

    address: Unsigned
    length: Unsigned
    state: str
    block: str | None
    offset: int | None
    file_offset: int | None


class ReadMemory(Result, frozen=True, omit_defaults=True):
    """Bytes of memory, what is not there as zeros; space is that of address.

    space is `block`, `phys` or `virt`; block and offsets are those of the first piece.  present:
    all of it is in the image.  translation is how a virtual address was found.
    """

    address: Unsigned
    length: Unsigned
    space: str
    block: str | None
    offset: int | None
    file_offset: int | None
    present: bool
    data: Hex
    pieces: tuple[ReadPiece, ...]
    translation: Translation | msgspec.UnsetType | None = msgspec.UNSET


def pieces_of(memory: Readable, start: int, stop: int) -> Iterator[Piece]:
    """Pieces that tile [start, stop) in order; one pass over the bitmaps."""
    if isinstance(memory, BlockMemory):
        yield from _of_block(memory, start, stop)
    elif isinstance(memory, PhysicalMemory):
        yield from _of_physical(memory, start, stop)
    elif isinstance(memory, VirtualMemory):
        yield from _of_virtual(memory, start, stop)
    else:
        raise TypeError(f"no memory: {type(memory).__name__}")


def _of_block(memory: BlockMemory, start: int, stop: int) -> Iterator[Piece]:
    at, name = start, memory.block.name
    for address, length, file_offset in memory.runs(start, stop):
        if address > at:
            yield Piece(at, address, ABSENT, name, at)
        yield Piece(address, address + length, PRESENT, name, address, file_offset)
        at = address + length
    if at < stop:
        yield Piece(at, stop, ABSENT, name, at)


def _of_physical(memory: PhysicalMemory, start: int, stop: int) -> Iterator[Piece]:
    for first, last, piece in memory.map.parts(start, stop):
        if piece is None:
            yield Piece(first, last, HOLE)
        elif piece.block.ignored:
            yield Piece(first, last, IGNORED, piece.block.name, piece.offset + first - piece.start)
        else:
            shift = piece.start - piece.offset
            block = memory.block(piece.block)
            for part in _of_block(block, first - shift, last - shift):
                yield replace(part, start=part.start + shift, stop=part.stop + shift)


def _of_virtual(memory: VirtualMemory, start: int, stop: int) -> Iterator[Piece]:
    at = start
    while at < stop:
        found = memory.translate(at)
        last = min(at + found.page_left, stop)
        if found.physical is None:
            yield Piece(at, last, UNMAPPED, why=found.fault)
        elif isinstance(memory.memory, PhysicalMemory):
            shift = at - found.physical
            for part in _of_physical(memory.memory, found.physical, found.physical + last - at):
                yield replace(part, start=part.start + shift, stop=part.stop + shift)
        at = last
