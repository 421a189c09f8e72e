"""`fixedram extract`: memory out of an image, into files that other tools read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.commands.blocks import block_files, block_named, file_names
from fixedram_cli.options import (
    ByteOrderOption,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    PlanOption,
    Search,
    keep,
    number,
    only_for_programs,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.export import Artifact
    from fixedram_fmt.export.result import ExtractedFile
    from fixedram_fmt.image import Image


class ExtractFormat(StrEnum):
    """What is written."""

    RAW = "raw"
    PHYSICAL = "physical"
    ELF = "elf"
    LIME = "lime"


def extract(
    image: ImageArgument,
    block: Annotated[
        list[str] | None,
        option("--block", "This block; may be given several times (raw; default: all).", "NAME"),
    ] = None,
    out: Annotated[
        Path | None,
        option("-o --out", "A file for one block or another format, a folder for several blocks, "
               "- for standard output.", "FILE|DIR|-"),
    ] = None,
    format_: Annotated[
        ExtractFormat,
        option("--format", "raw: blocks; physical: guest-physical memory with holes; elf: a core "
               "with registers, for gdb, drgn, crash; lime: for volatility.",
               "raw|physical|elf|lime"),
    ] = ExtractFormat.RAW,
    range_: Annotated[
        str | None,
        option("--range", "Only these bytes of the block, or of physical memory (default: all; "
               "--format physical: up to the end of RAM).", "START-STOP|START+LENGTH"),
    ] = None,
    with_devices: Annotated[
        bool,
        option("--with-devices", "--format physical: up to the end of what devices map (video "
               "memory, flash, firmware), not of RAM and DIMMs."),
    ] = False,
    force: Force = False,
    plan: PlanOption = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """Take memory out of an image, into files for other tools.

    What is absent is a hole, and nothing is loaded.

    Example: fixedram extract guest.img --block pc.ram -o ram.bin

    Example: fixedram extract guest.img -o blocks/

    Example: fixedram extract guest.img --format elf -o core && gdb -core core

    Example: fixedram extract guest.img --format physical --range 1M+64K -o - | xxd
    """
    import sys

    from fixedram_cli.render.terminal import warn_if_stopped

    as_json = wants_json(json_, output)
    span = _span(range_)
    _check(format_, block, out, span, plan=plan)
    if with_devices and format_ is not ExtractFormat.PHYSICAL:
        raise typer.BadParameter("this is for --format physical", param_hint="'--with-devices'")
    with open_image(image, search=search, byte_order=byte_order) as opened:
        # Memory may be zero only because it was never saved.
        warn_if_stopped(opened, "the stream stops early, memory may be missing")
        blocks = [block_named(opened, name) for name in block] if block else opened.blocks
        if format_ is not ExtractFormat.RAW or (block and len(block) == 1):
            name = blocks[0].name if format_ is ExtractFormat.RAW else None
            artifact = _artifact(opened, format_, blocks, span, with_devices=with_devices)
            if plan or out is None:
                _print_plan(artifact, as_json=as_json)
            elif str(out) == "-":
                only_for_programs("-o")
                artifact.stream(sys.stdout.buffer.write)
            else:
                keep([image], [out])
                made = _one(artifact, out, name, force=force, mode=opened.file_mode)
                _tell([made], as_json=as_json)
            _exit_if_partial(opened, plan=plan or out is None)
            return
        saved = _saved(blocks)
        if plan or out is None:
            _print_files(saved, as_json=as_json)
            return
        keep([image], [out / file for file in file_names(saved)])
        told = _several(opened, saved, out, force=force)
    _tell(told, as_json=as_json)
    _exit_if_partial(opened, plan=False)


def _exit_if_partial(image: Image, *, plan: bool) -> None:
    """Memory that may be a part is told by exit code 1, as a note on stderr is soon lost."""
    if image.ends_early and not plan:
        raise typer.Exit(1)


def _check(
    format_: ExtractFormat,
    names: list[str] | None,
    out: Path | None,
    span: tuple[int, int | None],
    *,
    plan: bool,
) -> None:
    """Usage errors: what is to be written, and where."""
    raw = format_ is ExtractFormat.RAW
    if names and not raw:
        raise typer.BadParameter("blocks are for --format raw", param_hint="'--block'")
    if out is None and not plan:
        raise typer.BadParameter("where to?  a file, a folder, or - (or --plan)", param_hint="'-o'")
    if raw and len(names or ()) != 1:
        if span != (0, None):
            raise typer.BadParameter("of which block?  give one --block", param_hint="'--range'")
        if str(out) == "-" and not plan:
            raise typer.BadParameter(
                "several blocks need a folder, or --block one", param_hint="'-o'"
            )


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
    image: Image,
    format_: ExtractFormat,
    blocks: list[RamBlock],
    span: tuple[int, int | None],
    *,
    with_devices: bool,
) -> Artifact:
    from fixedram_fmt import export

    if format_ is ExtractFormat.RAW:
        return export.raw_block(image, blocks[0], *span)
    if format_ is ExtractFormat.PHYSICAL:
        return export.physical_image(image, *span, with_devices=with_devices)
    makers = {
        ExtractFormat.ELF: export.elf_core,
        ExtractFormat.LIME: export.lime_image,
    }
    return makers[format_](image, *span)


def _one(
    artifact: Artifact, out: Path, block: str | None, *, force: bool, mode: int
) -> ExtractedFile:
    """Write one file."""
    from fixedram_fmt.io.output import replacing

    with replacing(out, force=force, mode=mode) as target:
        copied = artifact.write(target)
    return _file(out, block, artifact, copied)


def _saved(blocks: list[RamBlock]) -> list[RamBlock]:
    """Blocks whose memory is in the image; the others are told."""
    from fixedram_cli.render.terminal import warn

    for block in blocks:
        if block.ignored:
            warn(f"{block.name} is not in the image (x-ignore-shared)")
    return [block for block in blocks if not block.ignored]


def _several(image: Image, saved: list[RamBlock], out: Path, *, force: bool) -> list[ExtractedFile]:
    """A file for each block, and blocks.json that names them."""
    from fixedram_fmt.export import raw_block

    told = []
    with block_files(out, saved, force=force, mode=image.file_mode) as (folder, names):
        for name, block in zip(names, saved, strict=True):
            artifact = raw_block(image, block)
            with folder.replacing(name) as target:
                copied = artifact.write(target)
            told.append(_file(out / name, block.name, artifact, copied))
    return told


def _print_files(saved: list[RamBlock], *, as_json: bool) -> None:
    named = list(zip(file_names(saved), saved, strict=True))
    if as_json:
        from fixedram_cli.render.jsonout import print_json
        from fixedram_fmt.export.result import Extracted, ExtractedFile

        print_json(Extracted(tuple(
            ExtractedFile(name, block.name, block.used_length) for name, block in named
        )))  # fmt: skip
        return
    for name, block in named:
        print(f"{name}  {block.used_length:,} bytes")


def _file(path: Path, block: str | None, artifact: Artifact, copied: int) -> ExtractedFile:
    from fixedram_fmt.export.result import ExtractedFile

    return ExtractedFile(str(path), block, artifact.size, artifact.size - copied)


def _print_plan(artifact: Artifact, *, as_json: bool) -> None:
    from fixedram_fmt.export.result import planned

    plan = planned(artifact)
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json(plan)
        return
    for part in plan.parts:
        what = "headers" if part.address is None else f"memory from {part.address:#x}"
        print(f"{part.offset:#14x}  {part.length:>16,}  {what}")
    print(f"{plan.size:#14x}  {'':>16}  end")


def _tell(told: list[ExtractedFile], *, as_json: bool) -> None:
    if as_json:
        from fixedram_cli.render.jsonout import print_json
        from fixedram_fmt.export.result import Extracted

        print_json(Extracted(tuple(told)))
        return
    from fixedram_cli.render.terminal import visible
    from fixedram_fmt.units import human_size

    for one in told:
        present = human_size(one.bytes - (one.holes or 0))
        text = f"{one.path}: {human_size(one.bytes)}, {present} of it present"
        print(visible(text + (f" ({one.block})" if one.block else "")))
