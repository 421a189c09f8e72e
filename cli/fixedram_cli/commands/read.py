"""`fixedram read`: guest memory by block, guest-physical or virtual address."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.commands.blocks import block_named
from fixedram_cli.options import (
    ByteOrderOption,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFile,
    OutputFormat,
    Search,
    keep,
    number,
    only_for_programs,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.block import Readable
    from fixedram_fmt.memory.paging import Translation
    from fixedram_fmt.memory.pieces import Piece

_LENGTH = 256
_STEP = 1 << 20
#: JSON carries its bytes in hex, all in one object.
_JSON_CEILING = 16 << 20


def read(
    image: ImageArgument,
    length: Annotated[
        str | None,
        typer.Argument(metavar="LENGTH", help="Bytes to read; 256 if not given.",
                       show_default=False),
    ] = None,
    phys: Annotated[str | None, option("--phys", "Guest-physical address.", "ADDR")] = None,
    block: Annotated[
        str | None, option("--block", "RAM block, and an offset in it.", "NAME[+OFFSET]")
    ] = None,
    virt: Annotated[
        str | None, option("--virt", "Virtual address, by a CPU's page tables.", "ADDR")
    ] = None,
    cpu: Annotated[int, option("--cpu", "Whose page tables.", "N", min=0)] = 0,
    explain: Annotated[bool, option("--explain", "Tell how the address was found.")] = False,
    raw: Annotated[bool, option("--raw", "The bytes alone, to stdout.")] = False,
    out: OutputFile = None,
    fill: Annotated[
        str | None,
        option("--fill", "With --raw and -o: read holes as this byte instead of failing.", "BYTE"),
    ] = None,
    list_: Annotated[bool, option("--list", "Print the memory map.")] = False,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """Read guest memory, or print the map of it.

    Absent pages are zero.  Addresses and lengths take K/M/G/T suffixes and 0x.

    Example: fixedram read guest.img --phys 0xfffffff0 16

    Example: fixedram read guest.img --virt 0xffffffff81000000 --explain

    Example: fixedram read guest.img --block pc.ram+1M 64M -o ram.bin
    """
    from fixedram_cli.render.terminal import warn_if_stopped

    as_json = wants_json(json_, output)
    _check_usage([phys, block, virt], listed=list_, raw=raw, as_json=as_json, out=out)
    keep([image], [out])
    with open_image(image, search=search, byte_order=byte_order) as opened:
        warn_if_stopped(opened)
        if phys is block is virt is None:
            _list(opened, as_json=as_json)
            return
        asked = _locate(opened, phys, block, virt, cpu=cpu, fill=_byte(fill))
        asked = asked.with_length(number(length, "LENGTH") if length else None)
        if explain and not as_json:
            _explain(asked, to=sys.stderr if raw else sys.stdout)
        if out is not None:
            _write_file(opened, asked, out, force=force)
        elif raw:
            _write_raw(asked)
        elif as_json:
            _print_json(asked, explain=explain)
        else:
            _print_hex(asked)
        if opened.ends_early:
            # What was read may be zero only because it was never saved.
            raise typer.Exit(1)


def _check_usage(
    places: list[str | None], *, listed: bool, raw: bool, as_json: bool, out: Path | None
) -> None:
    given = sum(place is not None for place in places)
    if given > 1:
        raise typer.BadParameter("give one of --phys, --block, --virt")
    if given and listed:
        raise typer.BadParameter("--list goes without an address")
    if sum((raw, as_json, out is not None)) > 1:
        raise typer.BadParameter("give one of --raw, --json, -o")
    if not given and (raw or out is not None):
        raise typer.BadParameter("what is to be read? give --phys, --block or --virt")
    if raw:
        only_for_programs("--raw")


def _byte(text: str | None) -> int | None:
    if text is None:
        return None
    value = number(text, "--fill")
    if value > 255:
        raise typer.BadParameter("a byte is 0 to 255", param_hint="'--fill'")
    return value


@dataclass(frozen=True, slots=True)
class _Asked:
    """length bytes of memory at address; space is phys, block or virt."""

    space: str
    memory: Readable
    address: int
    length: int = 0
    fill: int | None = None

    def with_length(self, length: int | None) -> _Asked:
        """So many bytes; where none is told 256, or fewer where the block ends."""
        from dataclasses import replace

        from fixedram_fmt.memory import AddressError

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
        return self.address + self.length

    def translation(self) -> Translation | None:
        """How a virtual address was found; None for others."""
        from fixedram_fmt.memory.paging import VirtualMemory

        if not isinstance(self.memory, VirtualMemory):
            return None
        return self.memory.translate(self.address)


def _locate(
    image: Image, phys: str | None, block: str | None, virt: str | None, *, cpu: int,
    fill: int | None,
) -> _Asked:  # fmt: skip
    from fixedram_fmt.memory import BlockMemory, PhysicalMemory

    if block is not None:
        found, offset = _block(image, block)
        return _Asked("block", BlockMemory(image, found), offset, fill=fill)
    physical = PhysicalMemory(image, fill=fill)
    if phys is not None:
        return _Asked("phys", physical, number(phys, "--phys"), fill=fill)
    from fixedram_fmt.memory.paging import VirtualMemory, registers_of

    memory = VirtualMemory(physical, registers_of(image, cpu))
    return _Asked("virt", memory, number(virt or "", "--virt"), fill=fill)


def _block(image: Image, text: str) -> tuple[RamBlock, int]:
    """The block of NAME[+OFFSET]; a name may hold a plus of its own."""
    name, plus, offset = text.rpartition("+")
    if plus and all(block.name != text for block in image.blocks):
        return block_named(image, name), number(offset, "--block")
    return block_named(image, text), 0


# -- the map ---------------------------------------------------------------------------------------


def _list(image: Image, *, as_json: bool) -> None:
    from fixedram_cli.render.jsonout import print_json
    from fixedram_cli.render.memorymap import memory_map_lines
    from fixedram_fmt.memory import memory_map
    from fixedram_fmt.memory.ranges import ShownMap

    found = memory_map(image)
    if as_json:
        unmapped = tuple(block.name for block in found.unmapped)
        print_json(ShownMap(found.shown(), found.notes, unmapped))
        return
    for line in memory_map_lines(found):
        print(line)


# -- bytes -----------------------------------------------------------------------------------------


def _pieces(asked: _Asked) -> Iterator[Piece]:
    from fixedram_fmt.memory.pieces import pieces_of

    return pieces_of(asked.memory, asked.address, asked.stop)


def _some_memory(asked: _Asked) -> None:
    """Raise what read() raises where the first piece is no memory and there is no other."""
    from fixedram_fmt.memory.pieces import ABSENT, PRESENT

    pieces = iter(_pieces(asked))
    first = next(pieces, None)
    if first is None or first.state in (PRESENT, ABSENT):
        return
    if next(pieces, None) is None:
        asked.memory.read(asked.address, 1)


def _print_hex(asked: _Asked) -> None:
    from fixedram_cli.render.hexview import hex_lines

    _some_memory(asked)
    write = sys.stdout.write
    for line in hex_lines(asked.memory, _pieces(asked), asked.stop):
        write(line + "\n")


def _write_raw(asked: _Asked) -> None:
    buffer = bytearray(min(_STEP, asked.length))
    at = asked.address
    while at < asked.stop:
        view = memoryview(buffer)[: min(_STEP, asked.stop - at)]
        asked.memory.readinto(at, view)
        sys.stdout.buffer.write(view)
        at += view.nbytes


def _write_file(image: Image, asked: _Asked, path: Path, *, force: bool) -> None:
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.memory.pieces import ABSENT, HOLE, PRESENT

    with replacing(path, force=force, mode=image.file_mode) as output:
        for piece in _pieces(asked):
            at = piece.start - asked.address
            if piece.state == PRESENT and piece.file_offset is not None:
                length = piece.stop - piece.start
                output.copy(image.source, piece.file_offset, piece.file_offset + length, at)
            elif piece.state == HOLE and asked.fill == 0:
                continue
            elif piece.state == PRESENT or piece.block is None:
                for start in range(piece.start, piece.stop, _STEP):
                    stop = min(start + _STEP, piece.stop)
                    output.write(start - asked.address, asked.memory.read(start, stop - start))
            elif piece.state != ABSENT:
                asked.memory.read(piece.start, 1)
        output.finish(asked.length)


def _print_json(asked: _Asked, *, explain: bool) -> None:
    from msgspec import UNSET

    from fixedram_cli.render.jsonout import print_json
    from fixedram_fmt.errors import UnsupportedError
    from fixedram_fmt.memory.pieces import ABSENT, PRESENT, ReadMemory, ReadPiece

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
    print_json(
        ReadMemory(
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
    )


# -- how it was found ------------------------------------------------------------------------------


def _explain(asked: _Asked, *, to: Any) -> None:
    from fixedram_cli.render.terminal import visible
    from fixedram_fmt.memory import PhysicalMemory
    from fixedram_fmt.memory.paging import VirtualMemory

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
