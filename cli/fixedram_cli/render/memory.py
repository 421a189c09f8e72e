"""Memory that was asked for: its bytes as text, JSON, raw or in a file, and how it was found."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from fixedram_cli.render.hexview import hex_lines
from fixedram_cli.render.terminal import visible
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.output import replacing
from fixedram_fmt.memory import AddressError, PhysicalMemory
from fixedram_fmt.memory.paging import VirtualMemory
from fixedram_fmt.memory.pieces import ABSENT, HOLE, PRESENT, ReadMemory, ReadPiece, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.block import Readable
    from fixedram_fmt.memory.paging import Translation
    from fixedram_fmt.memory.pieces import Piece

__all__ = ["Asked", "answer", "explain", "print_hex", "write_file", "write_raw"]

_LENGTH = 256
_STEP = 1 << 20
#: JSON carries its bytes in hex, all in one object.
_JSON_CEILING = 16 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """length bytes of memory at address; space is phys, block or virt."""

    space: str
    memory: Readable
    address: int
    length: int = 0
    fill: int | None = None

    def with_length(self, length: int | None) -> Asked:
        """So many bytes; where none is given 256, or fewer where the block ends."""
        room = self.memory.size - self.address if self.space == "block" else 1 << 64
        if self.space == "virt":
            room = (1 << 64) - self.address
        if room <= 0 or (length or 0) > room:
            raise AddressError(
                "this is outside the block" if self.space == "block" else "more than 64 bits",
                expected=f"addresses below {self.memory.size:#x}",
                found=f"{length or _LENGTH} bytes at {self.address:#x}",
            )
        return replace(self, length=min(_LENGTH, room) if length is None else length)

    @property
    def stop(self) -> int:
        """The address after the last byte."""
        return self.address + self.length

    def translation(self) -> Translation | None:
        """How a virtual address was found; None for others."""
        if not isinstance(self.memory, VirtualMemory):
            return None
        return self.memory.translate(self.address)


# -- bytes -----------------------------------------------------------------------------------------


def _pieces(asked: Asked) -> Iterator[Piece]:
    return pieces_of(asked.memory, asked.address, asked.stop)


def _some_memory(asked: Asked) -> None:
    """Raise what read() raises where the first piece is no memory and there is no other."""
    pieces = iter(_pieces(asked))
    first = next(pieces, None)
    if first is None or first.state in (PRESENT, ABSENT):
        return
    if next(pieces, None) is None:
        asked.memory.read(asked.address, 1)


def print_hex(asked: Asked) -> None:
    """Rows of bytes with their addresses."""
    _some_memory(asked)
    write = sys.stdout.write
    for line in hex_lines(asked.memory, _pieces(asked), asked.stop):
        write(line + "\n")


def write_raw(asked: Asked) -> None:
    """The bytes alone, on standard output."""
    buffer = bytearray(min(_STEP, asked.length))
    for address in range(asked.address, asked.stop, _STEP):
        view = memoryview(buffer)[: min(_STEP, asked.stop - address)]
        asked.memory.readinto(address, view)
        sys.stdout.buffer.write(view)


def write_file(image: Image, asked: Asked, path: Path, *, force: bool) -> None:
    """The bytes in a file; what is zero is a hole."""
    with replacing(path, force=force, mode=image.file_mode) as output:
        for piece in _pieces(asked):
            offset = piece.start - asked.address
            if piece.state == PRESENT and piece.file_offset is not None:
                length = piece.stop - piece.start
                output.copy(image.source, piece.file_offset, piece.file_offset + length, offset)
            elif piece.state == HOLE and asked.fill == 0:
                continue
            elif piece.state == PRESENT or piece.block is None:
                for start in range(piece.start, piece.stop, _STEP):
                    stop = min(start + _STEP, piece.stop)
                    output.write(start - asked.address, asked.memory.read(start, stop - start))
            elif piece.state != ABSENT:
                asked.memory.read(piece.start, 1)
        output.finish(asked.length)


def answer(asked: Asked, *, explain: bool) -> ReadMemory:
    """What JSON says."""
    if asked.length > _JSON_CEILING:
        raise UnsupportedError(
            "too much for JSON", expected=f"at most {_JSON_CEILING} bytes", hint="use --raw or -o"
        )
    _some_memory(asked)
    pieces, data = [], bytearray()
    for piece in _pieces(asked):
        length = piece.stop - piece.start
        known = piece.state in (PRESENT, ABSENT)
        data += asked.memory.read(piece.start, length) if known else bytes(length)
        place = (piece.block, piece.offset, piece.file_offset)
        pieces.append(ReadPiece(piece.start, length, piece.state, *place))
    first = pieces[0] if pieces else ReadPiece(0, 0, "", None, None, None)
    return ReadMemory(
        address=asked.address,
        length=asked.length,
        space=asked.space,
        block=first.block,
        offset=first.offset,
        file_offset=first.file_offset,
        present=all(piece.state == PRESENT for piece in pieces),
        data=data.hex(),
        pieces=tuple(pieces),
        translation=asked.translation() if explain else UNSET,
    )


# -- how it was found ------------------------------------------------------------------------------


def explain(asked: Asked, *, to: Any) -> None:
    """How the address was found: page tables, block, region."""
    physical: int | None = asked.address if asked.space == "phys" else None
    lines = []
    if (found := asked.translation()) is not None:
        lines.append(f"virtual {found.virtual:#x}: {found.mode}")
        lines += [
            f"  {step.level}[{step.index}] at {step.address:#x}: {step.entry:#018x}, {step.meaning}"
            for step in found.steps
        ]
        physical = found.physical
        lines.append(f"  {found.fault}" if physical is None else f"physical {physical:#x}")
    memory = asked.memory.memory if isinstance(asked.memory, VirtualMemory) else asked.memory
    if physical is not None and isinstance(memory, PhysicalMemory):
        piece = memory.map.find(physical)
        if piece is not None:
            where = f"{piece.block.name}+{piece.offset + physical - piece.start:#x}"
            lines.append(f"block {where} ({piece.kind}): {piece.source}")
    for line in lines:
        print(visible(line), file=to)
