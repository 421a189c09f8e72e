"""`fixedram convert`: an ordinary stream made into a mapped-ram image, or back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from fixedram_cli.options import (
    ByteOrderOption,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFile,
    OutputFormat,
    PlanOption,
    Search,
    host_long,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.conversion import Conversion


class To(StrEnum):
    """What a file is converted to; fixedram_fmt.conversion.MAPPED_RAM and STREAM."""

    MAPPED_RAM = "mapped-ram"
    STREAM = "stream"


class Kept(StrEnum):
    """What becomes of libvirt's header."""

    NONE = "none"


def convert(
    image: ImageArgument,
    out: OutputFile = None,
    to: Annotated[
        To, option("--to", "A mapped-ram image, or the ordinary stream.", "mapped-ram|stream")
    ] = To.MAPPED_RAM,
    container: Annotated[
        Kept | None,
        option("--container", "Leave libvirt's header and XML out (default: keep them).", "none"),
    ] = None,
    byte_order: ByteOrderOption = None,
    plan: PlanOption = False,
    search: Search = False,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
) -> None:  # fmt: skip
    """Make a mapped-ram image of an ordinary stream, or back.

    Ordinary streams are what QEMU migrates to file: and what virsh save writes.

    Device state stays as it is to the byte. Compressed streams are undone, XBZRLE is applied.

    Example: fixedram convert guest.save -o guest.sparse

    Example: fixedram convert guest.img --to stream -o guest.stream

    Example: zcat old.gz | fixedram convert - -o new.img
    """
    from fixedram_cli.render.plan import finish, require_target
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.container.opening import OpenedStream
    from fixedram_fmt.conversion import Conversion, ConvertOptions

    as_json = wants_json(json_, output)
    require_target(out, plan=plan)
    options = ConvertOptions(
        to=to.value,
        container=container.value if container else None,
        host_long=host_long(byte_order),
    )
    with OpenedStream.open(image, search=search) as stream:
        conversion = Conversion(stream, options)
        if plan or out is None:
            finish(conversion.pieces(), None, as_json=as_json)
        else:
            _write(conversion, out, as_json=as_json, force=force, mode=stream.file_mode)
        for note in conversion.notes:
            warn(note)


def _write(conversion: Conversion, out: Path, *, as_json: bool, force: bool, mode: int) -> None:
    """Make the file, and say what was made."""
    from fixedram_cli.render.plan import tell_made
    from fixedram_fmt.io.output import replacing

    with replacing(out, force=force, mode=mode) as target:
        size = conversion.write(target)
    tell_made(out, size, as_json=as_json)
