"""`fixedram info`: one screen on what an image is."""

from __future__ import annotations

from fixedram_cli.options import (
    ByteOrderOption,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
    open_image,
    wants_json,
)


def info(
    image: ImageArgument,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:
    """Show what an image is: machine, blocks, completeness.

    Reads headers and bitmaps only, however large the guest is.

    Example: fixedram info guest.img

    Example: fixedram info /var/lib/libvirt/qemu/save/guest.save --json
    """
    from fixedram_cli.render.infoview import MAP_CELLS, print_info
    from fixedram_cli.render.terminal import warn_if_stopped
    from fixedram_fmt.summary import summarize

    as_json = wants_json(json_, output)
    with open_image(image, search=search, byte_order=byte_order) as opened:
        summary = summarize(opened, image, cells=0 if as_json else MAP_CELLS)
        if as_json:
            from fixedram_cli.render.jsonout import print_json

            print_json(summary.as_dict())
        else:
            print_info(summary, opened.memory_map)
        warn_if_stopped(opened)
