"""`fixedram copy`: an image written again, to the byte or with what was asked for changed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    Container,
    ImageArgument,
    Json,
    Output,
    OutputFile,
    OutputFormat,
    PlanOption,
    Search,
)

if TYPE_CHECKING:
    from fixedram_fmt.build.rewrite import RewriteOptions
    from fixedram_fmt.image import Image


def copy(
    image: ImageArgument,
    out: OutputFile = None,
    rebase: Annotated[
        str | None,
        typer.Option(
            "--rebase", metavar="OFFSET|auto",
            help="Move the stream to OFFSET, all offsets follow; auto sets wrong offsets right.",
            show_default=False,
        ),
    ] = None,
    container: Annotated[
        Container | None,
        typer.Option(
            "--container", metavar="none|libvirt", show_default=False,
            help="Take the stream out of its container, or put it into a libvirt save image.",
        ),
    ] = None,
    xml: Annotated[
        Path | None,
        typer.Option(
            "--xml", help="Domain XML for --container libvirt (default: the image's own).",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option("--align", metavar="SIZE", help="Align the pages of blocks to SIZE.",
                     show_default=False),
    ] = None,
    drop_stale: Annotated[
        bool, typer.Option("--drop-stale", help="Leave out stale pages: they hold old memory.")
    ] = False,
    drop_devices: Annotated[
        bool, typer.Option("--drop-devices", help="Leave out everything that is not RAM.")
    ] = False,
    byte_order: ByteOrderOption = None,
    plan: PlanOption = False,
    search: Search = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
) -> None:  # fmt: skip
    """Write an image again through full parse and build; the same to the byte by default.

    Example: fixedram copy guest.img -o again.img

    Example: fixedram copy guest.save -o guest.img --container none --drop-stale

    Example: fixedram copy cut-out.img -o repaired.img --rebase auto
    """
    from fixedram_cli.render.plan import finish, require_target
    from fixedram_fmt.build.rewrite import rewrite
    from fixedram_fmt.image import Image

    as_json = json_ or output is OutputFormat.JSON
    require_target(out, plan=plan)
    with Image.open(image, search=search) as opened:
        options = _options(opened, rebase, container, align, byte_order)
        options = _with_flags(options, xml, drop_stale=drop_stale, drop_devices=drop_devices)
        _tell(opened, options)
        finish(rewrite(opened, options), out, plan=plan, as_json=as_json)


def _options(
    image: Image,
    rebase: str | None,
    container: StrEnum | None,
    align: str | None,
    byte_order: StrEnum | None,
) -> RewriteOptions:
    from fixedram_fmt.bitmap import HostLong
    from fixedram_fmt.build.rewrite import RewriteOptions
    from fixedram_fmt.units import parse_size

    try:
        start = None if rebase in (None, "auto") else parse_size(str(rebase))
        alignment = None if align is None else parse_size(align)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return RewriteOptions(
        start=start,
        container=container.value if container else None,
        align=alignment,
        host_long=HostLong.from_label(byte_order.value) if byte_order else None,
        repair=rebase == "auto" and bool(image.offset_bias),
    )


def _with_flags(
    options: RewriteOptions, xml: Path | None, *, drop_stale: bool, drop_devices: bool
) -> RewriteOptions:
    from dataclasses import replace

    return replace(
        options,
        xml=xml.read_bytes() if xml else None,
        drop_stale=drop_stale,
        drop_devices=drop_devices,
    )


def _tell(image: Image, options: RewriteOptions) -> None:
    """What a person should know before the work, on stderr."""
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.build.rewrite import stale_bytes
    from fixedram_fmt.units import human_size

    if image.offset_bias and not options.moves:
        warn(f"all offsets are wrong by {image.offset_bias:+,}; --rebase auto sets them right")
    elif image.offset_bias:
        warn(f"all offsets were wrong by {image.offset_bias:+,}; they are set right")
    elif options.repair:
        warn("the offsets are right, nothing to repair")
    if image.container.compression:
        warn(f"the copy is not compressed ({image.container.compression} was undone)")
    if options.drop_stale:
        held = stale_bytes(image)
        warn(f"stale pages left out: {human_size(held)} ({held:,} bytes)")
    if image.stopped:
        warn(f"the stream stops early, the rest is copied as it is: {image.stopped}")
