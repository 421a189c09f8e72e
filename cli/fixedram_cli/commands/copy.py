"""`fixedram copy`: an image written again, to the byte or with what was asked for changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fixedram_cli.options import (
    ByteOrder,
    Compression,
    Container,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFile,
    OutputFormat,
    PlanOption,
    Search,
    WrittenByteOrder,
    host_long,
    number,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.write.rewrite import RewriteOptions


def copy(
    image: ImageArgument,
    out: OutputFile = None,
    rebase: Annotated[
        str | None,
        option("--rebase",
               "Move the stream to OFFSET, all offsets follow; auto sets wrong offsets right.",
               "OFFSET|auto"),
    ] = None,
    container: Annotated[
        Container | None,
        option("--container",
               "Take the stream out of its container, or put it into a libvirt save image.",
               "none|libvirt"),
    ] = None,
    xml: Annotated[
        Path | None,
        option("--xml", "Domain XML for --container libvirt (default: the image's own).", "FILE"),
    ] = None,
    running: Annotated[
        bool | None,
        option("--running/--paused", "What virsh restore is to do with the guest of a libvirt save"
               " (default: as it was).", show_default=False),
    ] = None,
    mark_complete: Annotated[
        bool,
        option("--mark-complete",
               "Set the magic LibvirtQemudPart of a complete stream to LibvirtQemudSave."),
    ] = False,
    compress: Annotated[
        Compression | None,
        option("--compress", "Compress the stream of a libvirt save, as save_image_format in"
               " qemu.conf does.", "gzip|bzip2|xz|zstd"),
    ] = None,
    align: Annotated[
        str | None, option("--align", "Align the pages of blocks to SIZE.", "SIZE")
    ] = None,
    drop_stale: Annotated[
        bool, option("--drop-stale", "Leave out stale pages: they hold old memory.")
    ] = False,
    drop_devices: Annotated[
        bool, option("--drop-devices", "Leave out everything that is not RAM.")
    ] = False,
    byte_order: WrittenByteOrder = None,
    plan: PlanOption = False,
    search: Search = False,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
) -> None:  # fmt: skip
    """Write an image again, the same to the byte or changed.

    It is parsed and built anew; holes stay holes.

    Example: fixedram copy guest.img -o again.img

    Example: fixedram copy guest.save -o guest.img --container none --drop-stale

    Example: fixedram copy cut-out.img -o repaired.img --rebase auto
    """
    from dataclasses import replace
    from functools import partial

    from fixedram_cli.render.plan import finish, require_target
    from fixedram_fmt.write.packing import write_packed
    from fixedram_fmt.write.rewrite import rewrite

    as_json = wants_json(json_, output)
    require_target(out, plan=plan)
    with open_image(image, search=search) as opened:
        options = _options(opened, rebase, container, align, byte_order)
        options = replace(
            options,
            xml=_xml(xml) if xml else None,
            drop_stale=drop_stale,
            drop_devices=drop_devices,
            running=running,
            mark_complete=mark_complete,
            compress=compress.value if compress else None,
        )
        _tell(opened, options)
        finish(
            rewrite(opened, options), None if plan else out, as_json=as_json, force=force,
            mode=opened.file_mode,
            write=partial(write_packed, compression=compress.value) if compress else None,
        )  # fmt: skip


def _options(
    image: Image,
    rebase: str | None,
    container: Container | None,
    align: str | None,
    byte_order: ByteOrder | None,
) -> RewriteOptions:
    from fixedram_fmt.write.rewrite import RewriteOptions

    start = None if rebase in (None, "auto") else number(str(rebase), "--rebase")
    alignment = None if align is None else number(align, "--align")
    return RewriteOptions(
        start=start,
        container=container.value if container else None,
        align=alignment,
        host_long=host_long(byte_order),
        repair=rebase == "auto" and bool(image.offset_bias),
    )


def _xml(path: Path) -> bytes:
    from fixedram_fmt.errors import SourceError
    from fixedram_fmt.io.documents import read_document

    try:
        return read_document(path)
    except ValueError as error:
        raise SourceError(f"cannot read {str(path)!r}: {error}") from error


def _tell_container(image: Image, options: RewriteOptions) -> None:
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.container.libvirt import LibvirtSave

    saved = image.container.find(LibvirtSave)
    if options.container == "libvirt" and saved is None and options.xml is None:
        warn(
            "no --xml: the XML that is written has the machine and its memory alone; virsh needs"
            " the guest's own XML"
        )
    if options.container == "libvirt" and saved is None and options.running is None:
        warn("virsh restore will leave the guest paused; --running resumes it")
    if saved and saved.partial and options.container != "none" and not options.mark_complete:
        warn(
            "the magic stays LibvirtQemudPart, which virsh restore refuses;"
            " --mark-complete sets it right where the stream is complete"
        )


def _tell(image: Image, options: RewriteOptions) -> None:
    """What a person should know before the work, on stderr."""
    from fixedram_cli.render.terminal import warn, warn_if_stopped
    from fixedram_fmt.units import human_size
    from fixedram_fmt.write.rewrite import possible_losses, stale_bytes

    if image.offset_bias and not options.moves:
        warn(f"all offsets are wrong by {image.offset_bias:+,}; --rebase auto sets them right")
    elif image.offset_bias:
        warn(f"all offsets were wrong by {image.offset_bias:+,}; they are set right")
    elif options.repair:
        warn("the offsets are right, nothing to repair")
    _tell_container(image, options)
    if image.container.compression and not options.compress:
        again = "; --compress packs it again" if image.container.kind == "libvirt" else ""
        warn(f"the copy is not compressed ({image.container.compression} was undone){again}")
    if options.drop_stale:
        possible = possible_losses(image)
        held = stale_bytes(image)
        warn(f"stale pages left out: {human_size(held)} ({held:,} bytes)")
        for name in possible:
            warn(
                f"no page of {name!r} is present: what is left out of it is stale, or memory whose "
                "bitmap is lost; keep the original until a restored guest is right"
            )
    warn_if_stopped(image, "the stream stops early, the rest is copied as it is")
