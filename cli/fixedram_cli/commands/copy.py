"""`fixedram copy`: an image written again, to the byte or with what was asked for changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fixedram_cli.command import Form, Searching, Writing
from fixedram_cli.options import (
    Compression,
    Container,
    ImageArgument,
    OutputFile,
    WrittenByteOrder,
    host_long,
    number,
    option,
)
from fixedram_cli.render.plan import finish
from fixedram_cli.render.terminal import warn, warn_if_stopped
from fixedram_cli.target import require_target
from fixedram_fmt.errors import SourceError
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.write.rewrite import RewriteOptions


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes different."""

    rebase: Annotated[
        str | None,
        option(
            "--rebase",
            "Move the stream to OFFSET, all offsets follow; auto sets wrong offsets right.",
            "OFFSET|auto",
        ),
    ] = None
    container: Annotated[
        Container | None,
        option(
            "--container",
            "Take the stream out of its container, or put it into a libvirt save image.",
            "none|libvirt",
        ),
    ] = None
    xml: Annotated[
        Path | None,
        option("--xml", "Domain XML for --container libvirt (default: the image's own).", "FILE"),
    ] = None
    running: Annotated[
        bool | None,
        option(
            "--running/--paused",
            "What virsh restore is to do with the guest of a libvirt save (default: as it was).",
            show_default=False,
        ),
    ] = None
    mark_complete: Annotated[
        bool,
        option(
            "--mark-complete",
            "Set the magic LibvirtQemudPart of a complete stream to LibvirtQemudSave.",
        ),
    ] = False
    compress: Annotated[
        Compression | None,
        option(
            "--compress",
            "Compress the stream of a libvirt save, as save_image_format in qemu.conf does.",
            "gzip|bzip2|xz|zstd",
        ),
    ] = None
    align: Annotated[
        str | None, option("--align", "Align the pages of blocks to SIZE.", "SIZE")
    ] = None
    drop_stale: Annotated[
        bool, option("--drop-stale", "Leave out stale pages: they hold old memory.")
    ] = False
    drop_devices: Annotated[
        bool, option("--drop-devices", "Leave out everything that is not RAM.")
    ] = False
    byte_order: WrittenByteOrder = None

    def options(self, image: Image) -> RewriteOptions:
        """What rewrite() takes."""
        from fixedram_fmt.write.rewrite import RewriteOptions

        start = None if self.rebase in (None, "auto") else number(str(self.rebase), "--rebase")
        return RewriteOptions(
            start=start,
            container=self.container.value if self.container else None,
            align=None if self.align is None else number(self.align, "--align"),
            host_long=host_long(self.byte_order),
            repair=self.rebase == "auto" and bool(image.offset_bias),
            xml=_xml(self.xml) if self.xml else None,
            drop_stale=self.drop_stale,
            drop_devices=self.drop_devices,
            running=self.running,
            mark_complete=self.mark_complete,
            compress=self.compress.value if self.compress else None,
        )


def copy(
    image: ImageArgument,
    out: OutputFile = None,
    *,
    changes: Changes,
    writing: Writing,
    form: Form,
    searching: Searching,
) -> None:
    """It is parsed and built anew; holes stay holes.

    Example: fixedram copy guest.img -o again.img

    Example: fixedram copy guest.save -o guest.img --container none --drop-stale

    Example: fixedram copy cut-out.img -o repaired.img --rebase auto
    """
    from fixedram_fmt.write.packing import write_packed
    from fixedram_fmt.write.rewrite import rewrite

    require_target(out, plan=writing.plan)
    with searching.open(image) as opened:
        options = changes.options(opened)
        _tell(opened, options)
        if out is not None:
            opened.container.keep_file(out)
        finish(
            rewrite(opened, options),
            None if writing.plan else out,
            as_json=form.is_json,
            force=writing.force,
            mode=opened.file_mode,
            write=partial(write_packed, compression=options.compress) if options.compress else None,
        )


def _xml(path: Path) -> bytes:
    from fixedram_fmt.io.documents import read_document

    try:
        return read_document(path)
    except ValueError as error:
        raise SourceError(f"cannot read {str(path)!r}: {error}") from error


def _tell_container(image: Image, options: RewriteOptions) -> None:
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
