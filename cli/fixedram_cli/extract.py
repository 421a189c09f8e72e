"""`fixedram extract`: memory out of an image, into files that other tools read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    PlanOption,
    Search,
)

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.export import Artifact
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
        typer.Option("--block", metavar="NAME", show_default=False,
                     help="This block; may be given several times (raw; default: all)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE|DIR|-", show_default=False,
                     help="A file for one block or another format, a folder for several blocks, "
                     "- for standard output."),
    ] = None,
    format_: Annotated[
        ExtractFormat,
        typer.Option("--format", metavar="raw|physical|elf|lime",
                     help="raw: blocks; physical: guest-physical memory with holes; elf: a core "
                     "with registers, for gdb, drgn, crash; lime: for volatility."),
    ] = ExtractFormat.RAW,
    range_: Annotated[
        str | None,
        typer.Option("--range", metavar="START-STOP|START+LENGTH", show_default=False,
                     help="Only these bytes of the block, or of physical memory "
                     "(default: all; --format physical: up to the end of RAM)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
    plan: PlanOption = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """Take memory out of an image; what is absent is a hole, and nothing is loaded.

    Example: fixedram extract guest.img --block pc.ram -o ram.bin

    Example: fixedram extract guest.img -o blocks/

    Example: fixedram extract guest.img --format elf -o core && gdb -core core

    Example: fixedram extract guest.img --format physical --range 1M+64K -o - | xxd
    """
    from fixedram_fmt.bitmap import HostLong
    from fixedram_fmt.image import Image

    as_json = json_ or output is OutputFormat.JSON
    if format_ is not ExtractFormat.RAW and block:
        raise typer.BadParameter("blocks are for --format raw", param_hint="--block")
    if out is None and not plan:
        raise typer.BadParameter("where to?  a file, a folder, or - (or --plan)", param_hint="-o")
    host_long = HostLong.from_label(byte_order.value) if byte_order else None
    span = _span(range_)
    with Image.open(image, search=search, host_long=host_long) as opened:
        _warn_of_gaps(opened)
        blocks = _blocks(opened, block or [])
        if format_ is not ExtractFormat.RAW or (block and len(block) == 1):
            name = blocks[0].name if format_ is ExtractFormat.RAW else None
            artifact = _artifact(opened, format_, blocks, span)
            if out is not None and not plan:
                _not_the_image(image, out)
            told = _one(artifact, out, name, force=force, plan=plan, as_json=as_json)
        else:
            if span[1] is not None or span[0]:
                raise typer.BadParameter("of which block?  give one --block", param_hint="--range")
            saved = _saved(blocks)
            if plan or out is None:
                _print_files(saved, as_json=as_json)
                return
            for file, _ in saved:
                _not_the_image(image, out / file)
            told = _several(opened, saved, out, force=force)
    if told is not None:
        _tell(told, as_json=as_json)


def _span(text: str | None) -> tuple[int, int | None]:
    """START and STOP that --range means."""
    from fixedram_fmt.units import parse_size

    if text is None:
        return 0, None
    first, plus, length = text.partition("+")
    low, dash, high = text.partition("-")
    try:
        if plus:
            return parse_size(first), parse_size(first) + parse_size(length)
        return parse_size(low), parse_size(high) if dash else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--range") from error


def _blocks(image: Image, names: list[str]) -> list[RamBlock]:
    from fixedram_fmt.errors import FormatError

    known = {block.name: block for block in reversed(image.blocks)}
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)[:8]) or "none"
            raise FormatError(f"there is no block {name!r}", hint=f"blocks are {listed}")
    return [known[name] for name in names] if names else image.blocks


def _artifact(
    image: Image, format_: ExtractFormat, blocks: list[RamBlock], span: tuple[int, int | None]
) -> Artifact:
    from fixedram_fmt import export

    if format_ is ExtractFormat.RAW:
        return export.raw_block(image, blocks[0], *span)
    makers = {
        ExtractFormat.PHYSICAL: export.physical_image,
        ExtractFormat.ELF: export.elf_core,
        ExtractFormat.LIME: export.lime_image,
    }
    return makers[format_](image, *span)


def _one(
    artifact: Artifact,
    out: Path | None,
    block: str | None,
    *,
    force: bool,
    plan: bool,
    as_json: bool,
) -> list[dict[str, Any]] | None:
    """Write one file, or all of it to standard output (then there is nothing to tell)."""
    if plan or out is None:
        _print_plan(artifact, as_json=as_json)
        return None
    if str(out) == "-":
        _to_stdout(artifact)
        return None
    from fixedram_fmt.build.folder import check_target
    from fixedram_fmt.build.output import OutputError, replacing

    if out.is_dir():
        raise OutputError(f"{str(out)!r} is a folder", hint="give the name of a file")
    check_target(out, force=force)
    with replacing(out) as target:
        copied = artifact.write(target)
    return [_file(out, block, artifact, copied)]


def _to_stdout(artifact: Artifact) -> None:
    import sys

    if sys.stdout.isatty():
        raise typer.BadParameter(
            "these are bytes, not for a terminal: give a file or a pipe", param_hint="-o"
        )
    artifact.stream(sys.stdout.buffer.write)


def _warn_of_gaps(image: Image) -> None:
    """What a person should know of the memory: it may be zero only because it was never saved."""
    from fixedram_cli.render.terminal import warn

    if image.stopped:
        warn(f"the stream stops early, memory may be missing: {image.stopped}")


def _saved(blocks: list[RamBlock]) -> list[tuple[str, RamBlock]]:
    """Blocks and the names of their files; those that are not in the image are told."""
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.filenames import safe_names

    for block in blocks:
        if block.ignored:
            warn(f"{block.name} is not in the image (x-ignore-shared)")
    saved = [block for block in blocks if not block.ignored]
    names = safe_names([block.name for block in saved], ".ram")
    return list(zip(names, saved, strict=True))


def _several(
    image: Image, saved: list[tuple[str, RamBlock]], out: Path, *, force: bool
) -> list[dict[str, Any]]:
    """A file for each block, and blocks.json that names them."""
    import json
    from contextlib import ExitStack

    from fixedram_fmt.build.folder import prepared
    from fixedram_fmt.build.output import replacing
    from fixedram_fmt.export import raw_block

    if str(out) == "-":
        raise typer.BadParameter("several blocks need a folder, or --block one", param_hint="-o")
    told = []
    with ExitStack() as stack:
        names = [name for name, _ in saved]
        stack.enter_context(prepared(out, [*names, "blocks.json"], force=force))
        index = stack.enter_context(replacing(out / "blocks.json"))
        for name, block in saved:
            artifact = raw_block(image, block)
            with replacing(out / name) as target:
                copied = artifact.write(target)
            told.append(_file(out / name, block.name, artifact, copied))
        listed = [
            {"file": name, "block": block.name, "bytes": block.used_length} for name, block in saved
        ]
        index.write(0, json.dumps({"files": listed}, indent=2).encode() + b"\n")
    return told


def _print_files(saved: list[tuple[str, RamBlock]], *, as_json: bool) -> None:
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json({
            "files": [
                {"path": name, "block": block.name, "bytes": block.used_length}
                for name, block in saved
            ]
        })  # fmt: skip
        return
    for name, block in saved:
        print(f"{name}  {block.used_length:,} bytes")


def _not_the_image(location: str, path: Path) -> None:
    """OutputError where writing path would replace what is being read."""
    from fixedram_fmt.build.output import OutputError
    from fixedram_fmt.container import split_location

    image = Path(split_location(location)[0])
    if image.exists() and path.exists() and path.samefile(image):
        raise OutputError(f"{str(path)!r} is the image itself", hint="give another name")


def _file(path: Path, block: str | None, artifact: Artifact, copied: int) -> dict[str, Any]:
    return {
        "path": str(path),
        "block": block,
        "bytes": artifact.size,
        "holes": artifact.size - copied,
    }


def _print_plan(artifact: Artifact, *, as_json: bool) -> None:
    from fixedram_fmt.export import Span

    rows = [
        {
            "offset": part.offset,
            "length": part.length,
            "address": part.content.start if isinstance(part.content, Span) else None,
        }
        for part in artifact.parts
    ]
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json({"size": artifact.size, "parts": rows})
        return
    for row in rows:
        what = "headers" if row["address"] is None else f"memory from {row['address']:#x}"
        print(f"{row['offset']:#14x}  {row['length']:>16,}  {what}")
    print(f"{artifact.size:#14x}  {'':>16}  end")


def _tell(told: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json({"files": told})
        return
    from fixedram_cli.render.terminal import visible
    from fixedram_fmt.units import human_size

    for one in told:
        present = human_size(one["bytes"] - one["holes"])
        text = f"{one['path']}: {human_size(one['bytes'])}, {present} of it present"
        print(visible(text + (f" ({one['block']})" if one["block"] else "")))
