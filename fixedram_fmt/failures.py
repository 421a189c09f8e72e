"""The verbs for when something failed: a restore, or the save itself.

As fixedram_fmt.verbs, one call each, with a result that does not change any more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fixedram_fmt.errors import FormatError
from fixedram_fmt.image import Image

if TYPE_CHECKING:
    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.diagnosis import Diagnosis
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.recovery.rescued import Rescued
    from fixedram_fmt.rehearsal import Rehearsal

    Path_ = str | os.PathLike[str]

__all__ = ["diagnose", "rehearse", "rescue"]


def diagnose(
    log: str | Path | BinaryIO | None = None,
    image: Image | Location | None = None,
    *,
    destination: Receiver | Path_ | None = None,
    search: bool = False,
) -> Diagnosis:
    """Why a save or a restore failed: from what QEMU or libvirt said, from the image, or from both.

        import fixedram_fmt as fx

        told = fx.diagnose("Missing section footer for ram", "guest.img")
        for cause in told.causes:
            print(cause.message, cause.side, cause.fix, cause.offset)

    log is the text itself, a Path of a file with it, or a file opened in binary mode; without one
    validate is asked about the image.  destination is the VM that was to receive it, or a file
    that describes it.  A file that is no image is told in the warnings.
    """
    from fixedram_fmt.container.opening import name_of
    from fixedram_fmt.diagnosis import diagnose as ask
    from fixedram_fmt.receiver import Receiver, load_receiver

    if isinstance(log, Path):
        with log.open("rb") as file:
            return diagnose(file, image, destination=destination, search=search)
    if destination is not None and not isinstance(destination, Receiver):
        destination = load_receiver(os.fspath(destination))
    if image is None or isinstance(image, Image):
        return ask(log, image, destination)
    try:
        with Image.open(image, search=search) as opened:
            return ask(log, opened, destination)
    except FormatError as error:
        from fixedram_fmt.diagnosis.located import without_image

        return without_image(ask(log), error, name_of(image))


def rehearse(image: Image | Location, **options: Any) -> Rehearsal:
    """Really load an image: into a QEMU that is paused, can write nothing, and is ended then.

        import fixedram_fmt as fx

        try:
            done = fx.rehearse("guest.img", arguments=["-machine", "pc", "-m", "24"], adapt=8)
            print(done.status, done.memory_equal, done.messages, done.adapted)
        except fx.UnsupportedError as error:
            print(error)  # no QEMU here, or no qemu.qmp

    options are fields of fixedram_fmt.rehearsal.Options; without arguments the VM is derived from
    the image.  What QEMU does with it is the result; UnsupportedError and SourceError say why it
    could not be tried.
    """
    from msgspec.structs import replace

    from fixedram_fmt.container.opening import name_of
    from fixedram_fmt.rehearsal import Options
    from fixedram_fmt.rehearsal import rehearse as really

    if isinstance(image, Image):
        return really(image, Options(**options))
    with Image.open(image) as opened:
        return replace(really(opened, Options(**options)), path=name_of(image))


def rescue(
    image: Image | Location, out: Path_, *, all_pages: bool = False, force: bool = False
) -> Rescued:
    """What can be saved of a save that never finished, or that lost its bitmaps, as a new image.

        import fixedram_fmt as fx

        fx.synth({"machine": "pc"}, "lost.img", blocks=["pc.ram=1M"], faults=["bitmaps-empty"])
        saved = fx.rescue("lost.img", "saved.img")
        print(saved.purpose, [(block.name, block.pages_rebuilt) for block in saved.blocks])
        print(saved.lost, saved.unknown, saved.warnings)

    Bitmaps that are missing, empty or contradicted by the data are made again; all_pages takes each
    page with data, stale ones too.  A stream that stops early is ended after its memory: the
    result's purpose says whether the new image is for a restore.  Raises UnsupportedError where
    there is nothing to save.
    """
    from fixedram_fmt.io.output import refuse_over, replacing
    from fixedram_fmt.recovery import Rescue
    from fixedram_fmt.verbs import opened_image

    with opened_image(image) as opened:
        refuse_over(out, opened.container.outermost(opened.source))
        plan = Rescue(opened, all_pages=all_pages)
        with replacing(Path(out), force=force, mode=opened.file_mode) as output:
            return plan.write(output, opened.source.name, Path(out))
