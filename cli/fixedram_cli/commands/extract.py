"""`fixedram extract`: memory out of an image, into files that other tools read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.commands.blocks import block_files, file_names
from fixedram_cli.options import Force, ImageArgument, PlanOption, number, option
from fixedram_cli.render.extracted import file_entry, print_files, print_names, print_parts
from fixedram_cli.render.terminal import warn, warn_if_stopped
from fixedram_cli.target import keep, only_for_programs
from fixedram_fmt import export
from fixedram_fmt.io.output import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.export import Artifact
    from fixedram_fmt.image import Image


class ExtractFormat(StrEnum):
    """What is written."""

    RAW = "raw"
    PHYSICAL = "physical"
    ELF = "elf"
    LIME = "lime"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken out, and where it goes."""

    block: Annotated[
        list[str] | None,
        option("--block", "This block; may be given several times (raw; default: all).", "NAME"),
    ] = None
    out: Annotated[
        Path | None,
        option(
            "-o --out",
            "A file for one block or another format, a folder for several blocks, "
            "- for standard output.",
            "FILE|DIR|-",
        ),
    ] = None
    format_: Annotated[
        ExtractFormat,
        option(
            "--format",
            "raw: blocks; physical: guest-physical memory with holes; elf: a core "
            "with registers, for gdb, drgn, crash; lime: for volatility.",
            "raw|physical|elf|lime",
        ),
    ] = ExtractFormat.RAW
    range_: Annotated[
        str | None,
        option(
            "--range",
            "Only these bytes of the block, or of physical memory (default: all; "
            "--format physical: up to the end of RAM).",
            "START-STOP|START+LENGTH",
        ),
    ] = None
    with_devices: Annotated[
        bool,
        option(
            "--with-devices",
            "--format physical: up to the end of what devices map (video "
            "memory, flash, firmware), not of RAM and DIMMs.",
        ),
    ] = False
    without_bitmaps: Annotated[
        bool,
        option(
            "--without-bitmaps",
            "Take each page that holds data, whatever the bitmaps say: of a save that lost them"
            " (stale pages too; rescue makes an image).",
        ),
    ] = False
    force: Force = False
    plan: PlanOption = False

    @property
    def is_one(self) -> bool:
        """Whether one file is made, and not one a block."""
        return self.format_ is not ExtractFormat.RAW or len(self.block or ()) == 1


def extract(image: ImageArgument, wanted: Wanted, form: Form, reading: Reading) -> None:
    """What is absent is a hole, and nothing is loaded.

    Example: fixedram extract guest.img --block pc.ram -o ram.bin

    Example: fixedram extract guest.img -o blocks/

    Example: fixedram extract guest.img --format elf -o core && gdb -core core

    Example: fixedram extract guest.img --format physical --range 1M+64K -o - | xxd
    """
    span = _span(wanted.range_)
    _check(wanted, span)
    with _opened(image, wanted, reading) as opened:
        # Memory may be zero only because it was never saved.
        warn_if_stopped(opened, "the stream stops early, memory may be missing")
        blocks = [opened.block(name) for name in wanted.block or ()] or opened.blocks
        if wanted.is_one:
            _one(opened, image, wanted, _artifact(opened, wanted, blocks, span), form)
        else:
            _several(opened, image, wanted, blocks, form)
        if opened.ends_early and not wanted.plan:
            # A note on stderr is soon lost.
            raise typer.Exit(1)


def _opened(image: str, wanted: Wanted, reading: Reading) -> Image:
    if not wanted.without_bitmaps:
        return reading.open(image)
    from fixedram_fmt.recovery import DataImage

    opened = DataImage.open(image, search=reading.search, host_long=reading.host_long)
    if any(block.has_pages for block in opened.blocks):
        warn("pages are taken by their data: stale ones too, and pages never written are 0")
    else:
        warn("there are no bitmaps in an ordinary stream: it is read as it is")
    return opened


def _check(wanted: Wanted, span: tuple[int, int | None]) -> None:
    """Usage errors: what is to be written, and where."""
    names, out, plan = wanted.block, wanted.out, wanted.plan
    raw = wanted.format_ is ExtractFormat.RAW
    if names and not raw:
        raise typer.BadParameter("blocks are for --format raw", param_hint="'--block'")
    if out is None and not plan:
        raise typer.BadParameter("where to?  a file, a folder, or - (or --plan)", param_hint="'-o'")
    if not wanted.is_one:
        if span != (0, None):
            raise typer.BadParameter("of which block?  give one --block", param_hint="'--range'")
        if str(out) == "-" and not plan:
            raise typer.BadParameter(
                "several blocks need a folder, or --block one", param_hint="'-o'"
            )
    if wanted.with_devices and wanted.format_ is not ExtractFormat.PHYSICAL:
        raise typer.BadParameter("this is for --format physical", param_hint="'--with-devices'")


def _span(text: str | None) -> tuple[int, int | None]:
    """START and STOP that --range means."""
    if text is None:
        return 0, None
    first, plus, length = text.partition("+")
    low, dash, high = text.partition("-")
    if plus:
        start = number(first, "--range")
        return start, start + number(length, "--range")
    return number(low, "--range"), number(high, "--range") if dash else None


def _artifact(
    image: Image, wanted: Wanted, blocks: Sequence[RamBlock], span: tuple[int, int | None]
) -> Artifact:
    match wanted.format_:
        case ExtractFormat.RAW:
            return export.raw_block(image, blocks[0], *span)
        case ExtractFormat.PHYSICAL:
            return export.physical_image(image, *span, with_devices=wanted.with_devices)
        case ExtractFormat.ELF:
            return export.elf_core(image, *span)
        case ExtractFormat.LIME:
            return export.lime_image(image, *span)


def _one(image: Image, location: str, wanted: Wanted, artifact: Artifact, form: Form) -> None:
    """One file, or its plan."""
    if wanted.plan or wanted.out is None:
        print_parts(artifact, as_json=form.is_json)
        return
    if str(wanted.out) == "-":
        only_for_programs("-o")
        artifact.stream(sys.stdout.buffer.write)
        return
    keep([location], [wanted.out])
    with replacing(wanted.out, force=wanted.force, mode=image.file_mode) as file:
        copied = artifact.write(file)
    name = wanted.block[0] if wanted.block else None
    print_files([file_entry(wanted.out, name, artifact, copied)], as_json=form.is_json)


def _several(
    image: Image, location: str, wanted: Wanted, blocks: Sequence[RamBlock], form: Form
) -> None:
    """A file for each block and blocks.json that names them, or their plan."""
    saved = _saved(blocks)
    names = file_names(saved)
    if wanted.plan or wanted.out is None:
        print_names(names, saved, as_json=form.is_json)
        return
    keep([location], [wanted.out / name for name in names])
    made = []
    with block_files(wanted.out, saved, force=wanted.force, mode=image.file_mode) as (folder, _):
        for name, block in zip(names, saved, strict=True):
            artifact = export.raw_block(image, block)
            with folder.replacing(name) as file:
                copied = artifact.write(file)
            made.append(file_entry(wanted.out / name, block.name, artifact, copied))
    print_files(made, as_json=form.is_json)


def _saved(blocks: Sequence[RamBlock]) -> list[RamBlock]:
    """Blocks whose memory is in the image; a note on the others."""
    for block in blocks:
        if block.ignored:
            warn(f"{block.name} is not in the image (x-ignore-shared)")
    return [block for block in blocks if not block.ignored]
