"""`fixedram info`: one screen on what an image is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
    open_image,
    option,
    wants_json,
)

if TYPE_CHECKING:
    from fixedram_fmt.image import Image


def info(
    image: ImageArgument,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
    xml: Annotated[
        bool, option("--xml", "Print the domain XML of a libvirt save, and nothing else.")
    ] = False,
) -> None:
    """Show what an image is: machine, blocks, completeness.

    Reads headers and bitmaps only, however large the guest is.

    Example: fixedram info guest.img

    Example: fixedram info /var/lib/libvirt/qemu/save/guest.save --json

    Example: fixedram info guest.save --xml > domain.xml
    """
    from fixedram_cli.render.infoview import MAP_CELLS, print_info
    from fixedram_cli.render.terminal import warn_if_stopped
    from fixedram_fmt.summary import summarize

    as_json = wants_json(json_, output)
    with open_image(image, search=search, byte_order=byte_order) as opened:
        if xml:
            _print_xml(opened, as_json=as_json)
            return
        summary = summarize(opened, image, cells=0 if as_json else MAP_CELLS)
        if as_json:
            from fixedram_cli.render.jsonout import print_json

            print_json(summary)
        else:
            print_info(summary, opened.memory_map)
        warn_if_stopped(opened)


def _print_xml(image: Image, *, as_json: bool) -> None:
    """As text with everything escaped that could act on a terminal; line ends are kept."""
    from fixedram_cli.render.terminal import visible
    from fixedram_fmt.errors import UnsupportedError
    from fixedram_fmt.schema.base import text

    if as_json:
        raise typer.BadParameter("give --xml or --json, not both", param_hint="'--xml'")
    saved = image.container.libvirt
    if saved is None:
        raise UnsupportedError("there is no domain XML: this is no libvirt save")
    for line in text(saved.xml).splitlines():
        print(visible(line.expandtabs()))
