"""`fixedram info`: one screen on what an image is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import ImageArgument, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible
from fixedram_fmt.errors import UnsupportedError

if TYPE_CHECKING:
    from fixedram_fmt.image import Image


def info(
    image: ImageArgument,
    form: Form,
    reading: Reading,
    xml: Annotated[
        bool, option("--xml", "Print the domain XML of a libvirt save, and nothing else.")
    ] = False,
) -> None:
    """Reads headers and bitmaps only, however large the guest is.

    Example: fixedram info guest.img

    Example: fixedram info /var/lib/libvirt/qemu/save/guest.save --json

    Example: fixedram info guest.save --xml > domain.xml
    """
    if xml and form.is_json:
        raise typer.BadParameter("give --xml or --json, not both", param_hint="'--xml'")
    from fixedram_fmt.summary import summarize  # start-up

    with reading.shown(image) as opened:
        if xml:
            _print_xml(opened)
        elif form.is_json:
            print_json(summarize(opened, image, cells=0))
        else:
            from fixedram_cli.render.infoview import MAP_CELLS, print_info

            print_info(summarize(opened, image, cells=MAP_CELLS), opened.memory_map)


def _print_xml(image: Image) -> None:
    """As text with everything escaped that could act on a terminal; line ends are kept."""
    from fixedram_fmt.container.libvirt import LibvirtSave
    from fixedram_fmt.schema.base import text

    saved = image.container.find(LibvirtSave)
    if saved is None:
        raise UnsupportedError("there is no domain XML: this is no libvirt save")
    for line in text(saved.xml).splitlines():
        print(visible(line.expandtabs()))
