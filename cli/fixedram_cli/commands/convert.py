"""`fixedram convert`: an ordinary stream made into a mapped-ram image, or back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from fixedram_cli.command import Form, Searching, Writing
from fixedram_cli.options import ByteOrderOption, ImageArgument, OutputFile, host_long, option
from fixedram_cli.render.plan import finish, tell_made
from fixedram_cli.render.terminal import warn
from fixedram_cli.target import require_target
from fixedram_fmt.io.output import replacing

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


@dataclass(frozen=True, slots=True)
class Target:
    """What it is converted to."""

    to: Annotated[
        To, option("--to", "A mapped-ram image, or the ordinary stream.", "mapped-ram|stream")
    ] = To.MAPPED_RAM
    container: Annotated[
        Kept | None,
        option("--container", "Leave libvirt's header and XML out (default: keep them).", "none"),
    ] = None
    byte_order: ByteOrderOption = None


def convert(
    image: ImageArgument,
    out: OutputFile = None,
    *,
    target: Target,
    writing: Writing,
    form: Form,
    searching: Searching,
) -> None:
    """Ordinary streams are what QEMU migrates to file: and what virsh save writes.

    Device state stays as it is to the byte. Compressed streams are undone, XBZRLE is applied.

    Example: fixedram convert guest.save -o guest.sparse

    Example: fixedram convert guest.img --to stream -o guest.stream

    Example: zcat old.gz | fixedram convert - -o new.img
    """
    from fixedram_fmt.container.opening import OpenedStream
    from fixedram_fmt.conversion import Conversion, ConvertOptions

    require_target(out, plan=writing.plan)
    options = ConvertOptions(
        to=target.to.value,
        container=target.container.value if target.container else None,
        host_long=host_long(target.byte_order),
    )
    with OpenedStream.open(image, search=searching.search) as stream:
        conversion = Conversion(stream, options)
        if writing.plan or out is None:
            finish(conversion.pieces(), None, as_json=form.is_json)
        else:
            stream.container.keep_file(out)
            size = _write(conversion, out, force=writing.force, mode=stream.file_mode)
            tell_made(out, size, as_json=form.is_json)
        for note in conversion.notes:
            warn(note)


def _write(conversion: Conversion, out: Path, *, force: bool, mode: int) -> int:
    with replacing(out, force=force, mode=mode) as target:
        return conversion.write(target)
