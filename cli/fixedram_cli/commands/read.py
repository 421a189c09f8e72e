"""`fixedram read`: guest memory by block, guest-physical or virtual address."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import Force, ImageArgument, OutputFile, number, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.memorymap import memory_map_lines
from fixedram_cli.render.terminal import warn_if_stopped
from fixedram_cli.target import keep, only_for_programs
from fixedram_fmt import memory

if TYPE_CHECKING:
    from fixedram_cli.render.memory import Asked
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image


@dataclass(frozen=True, slots=True)
class Place:
    """Where in memory."""

    phys: Annotated[str | None, option("--phys", "Guest-physical address.", "ADDR")] = None
    block: Annotated[
        str | None, option("--block", "RAM block, and an offset in it.", "NAME[+OFFSET]")
    ] = None
    virt: Annotated[
        str | None, option("--virt", "Virtual address, by a CPU's page tables.", "ADDR")
    ] = None
    cpu: Annotated[int, option("--cpu", "Whose page tables.", "N", min=0)] = 0

    @property
    def given(self) -> int:
        """How many places are named."""
        return sum(one is not None for one in (self.phys, self.block, self.virt))


@dataclass(frozen=True, slots=True)
class Shown:
    """What is printed or written, and where."""

    explain: Annotated[bool, option("--explain", "Tell how the address was found.")] = False
    raw: Annotated[bool, option("--raw", "The bytes alone, to stdout.")] = False
    out: OutputFile = None
    fill: Annotated[
        str | None,
        option("--fill", "With --raw and -o: read holes as this byte instead of failing.", "BYTE"),
    ] = None
    list_: Annotated[bool, option("--list", "Print the memory map.")] = False
    force: Force = False


def read(
    image: ImageArgument,
    length: Annotated[
        str | None,
        typer.Argument(
            metavar="LENGTH", help="Bytes to read; 256 if not given.", show_default=False
        ),
    ] = None,
    *,
    place: Place,
    shown: Shown,
    form: Form,
    reading: Reading,
) -> None:
    """Absent pages are zero.  Addresses and lengths take K/M/G/T suffixes and 0x.

    Example: fixedram read guest.img --phys 0xfffffff0 16

    Example: fixedram read guest.img --virt 0xffffffff81000000 --explain

    Example: fixedram read guest.img --block pc.ram+1M 64M -o ram.bin
    """
    _check_usage(place, shown, as_json=form.is_json)
    keep([image], [shown.out])
    with reading.open(image) as opened:
        warn_if_stopped(opened)
        if not place.given:
            _list(opened, as_json=form.is_json)
            return
        asked = _located(opened, place, fill=_byte(shown.fill))
        asked = asked.with_length(number(length, "LENGTH") if length else None)
        _show(opened, asked, shown, as_json=form.is_json)
        if opened.ends_early:
            # What was read may be zero only because it was never saved.
            raise typer.Exit(1)


def _check_usage(place: Place, shown: Shown, *, as_json: bool) -> None:
    if place.given > 1:
        raise typer.BadParameter("give one of --phys, --block, --virt")
    if place.given and shown.list_:
        raise typer.BadParameter("--list goes without an address")
    if sum((shown.raw, as_json, shown.out is not None)) > 1:
        raise typer.BadParameter("give one of --raw, --json, -o")
    if not place.given and (shown.raw or shown.out is not None):
        raise typer.BadParameter("what is to be read? give --phys, --block or --virt")
    if shown.raw:
        only_for_programs("--raw")


def _byte(text: str | None) -> int | None:
    if text is None:
        return None
    value = number(text, "--fill")
    if value > 255:
        raise typer.BadParameter("a byte is 0 to 255", param_hint="'--fill'")
    return value


def _located(image: Image, place: Place, *, fill: int | None) -> Asked:
    from fixedram_cli.render.memory import Asked
    from fixedram_fmt.memory.paging import VirtualMemory, registers_of

    if place.block is not None:
        found, offset = _block(image, place.block)
        return Asked("block", memory.BlockMemory(image, found), offset, fill=fill)
    physical = memory.PhysicalMemory(image, fill=fill)
    if place.phys is not None:
        return Asked("phys", physical, number(place.phys, "--phys"), fill=fill)
    virtual = VirtualMemory(physical, registers_of(image.state, place.cpu))
    return Asked("virt", virtual, number(place.virt or "", "--virt"), fill=fill)


def _block(image: Image, text: str) -> tuple[RamBlock, int]:
    """The block of NAME[+OFFSET]; a name may hold a plus of its own."""
    name, plus, offset = text.rpartition("+")
    if plus and all(block.name != text for block in image.blocks):
        return image.block(name), number(offset, "--block")
    return image.block(text), 0


def _list(image: Image, *, as_json: bool) -> None:
    found = memory.memory_map(image)
    if as_json:
        from fixedram_fmt.memory.ranges import ShownMap

        unmapped = tuple(block.name for block in found.unmapped)
        print_json(ShownMap(found.shown(), found.notes, unmapped))
        return
    for line in memory_map_lines(found):
        print(line)


def _show(image: Image, asked: Asked, shown: Shown, *, as_json: bool) -> None:
    from fixedram_cli.render import memory as views

    if shown.explain and not as_json:
        views.explain(asked, to=sys.stderr if shown.raw else sys.stdout)
    if shown.out is not None:
        views.write_file(image, asked, shown.out, force=shown.force)
    elif shown.raw:
        views.write_raw(asked)
    elif as_json:
        print_json(views.answer(asked, explain=shown.explain))
    else:
        views.print_hex(asked)
