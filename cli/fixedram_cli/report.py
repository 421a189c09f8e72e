"""`fixedram report`: one page on an image, to read, to keep, to send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    Deep,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
)


def report(
    image: ImageArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PAGE.html", help="File to write; - for stdout.")
    ],
    deep: Deep = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:
    """Write a self-contained HTML page: summary, findings, page maps, devices, the stream.

    It loads nothing, and everything can be read without scripts.

    Example: fixedram report guest.img -o guest.html

    Example: fixedram report guest.img --deep -o guest.html
    """
    import sys

    from fixedram_cli.render.htmlreport import html_report
    from fixedram_cli.render.terminal import visible, warn
    from fixedram_fmt.bitmap import HostLong
    from fixedram_fmt.build.output import replacing
    from fixedram_fmt.image import Image
    from fixedram_fmt.units import human_size

    as_json = json_ or output is OutputFormat.JSON
    to_stdout = str(out) == "-"
    if to_stdout and as_json:
        raise typer.BadParameter("the page goes to stdout, where JSON would go", param_hint="-o")
    host_long = HostLong.from_label(byte_order.value) if byte_order else None
    with Image.open(image, search=search, host_long=host_long) as opened:
        page = html_report(opened, image, deep=deep).encode("utf-8", "backslashreplace")
        stopped = opened.stopped
    if to_stdout:
        sys.stdout.buffer.write(page)
    else:
        with replacing(out) as target:
            target.write(0, page)
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json({"path": image, "out": str(out), "bytes": len(page)})
    elif not to_stdout:
        print(f"{visible(str(out))}: {human_size(len(page))}")
    if stopped:
        warn(f"the stream stops early: {stopped}")
