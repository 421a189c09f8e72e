"""`fixedram mount`: an image as a folder of read-only files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fixedram_cli.command import Reading
from fixedram_cli.options import ImageArgument, option
from fixedram_fmt.errors import SourceError


def mount(
    image: ImageArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="An empty folder.", show_default=False)
    ],
    foreground: Annotated[bool, option("-f --foreground", "Stay until it is unmounted.")] = False,
    *,
    reading: Reading,
) -> None:
    """RAM blocks, physical memory, an ELF core, device state.

    Nothing is loaded or copied, and nothing can be written.  Ends with umount DIR
    (fusermount3 -u DIR).  Needs FUSE: pip install 'fixedram[fuse]'.

    Example: fixedram mount guest.img /mnt/guest && strings /mnt/guest/physical

    Example: gdb -ex 'x/4i $pc' /mnt/guest/core.elf
    """
    from fixedram_fmt.mount.files import image_folder
    from fixedram_fmt.mount.fuse import mount as mount_folder
    from fixedram_fmt.mount.fuse import require_fuse

    require_fuse()
    if not folder.is_dir():
        raise SourceError(f"{str(folder)!r} is no folder", hint="mkdir it first")
    if any(folder.iterdir()):
        raise SourceError(f"{str(folder)!r} is not empty", hint="give an empty folder")
    with reading.open(image) as opened:
        shown = image_folder(opened)
        mount_folder(shown, str(folder), foreground=foreground)
