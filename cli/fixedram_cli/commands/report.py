"""`fixedram report`: one page on an image, to read, to keep, to send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fixedram_cli.options import (
    ByteOrderOption,
    Deep,
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
    keep,
    open_image,
    option,
    wants_json,
)


def report(
    image: ImageArgument,
    out: Annotated[Path, option("-o --out", "File to write; - for stdout.", "PAGE.html")],
    deep: Deep = False,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:
    """Write a self-contained HTML page about an image.

    Summary, findings, page maps, devices, the stream.

    It loads nothing, and everything can be read without scripts.

    Example: fixedram report guest.img -o guest.html

    Example: fixedram report guest.img --deep -o guest.html
    """
    import sys
    from contextlib import nullcontext

    from fixedram_cli.render.htmlreport import html_report
    from fixedram_cli.render.terminal import visible, warn_if_stopped
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.units import human_size

    as_json = wants_json(json_, output)
    to_stdout = str(out) == "-"
    if to_stdout and as_json:
        raise typer.BadParameter("the page goes to stdout, where JSON would go", param_hint="'-o'")
    keep([image], [out])
    with open_image(image, search=search, byte_order=byte_order) as opened:
        target = nullcontext() if to_stdout else replacing(out, force=force, mode=opened.file_mode)
        with target as file:
            page = html_report(opened, image, deep=deep).encode("utf-8", "backslashreplace")
            if file is None:
                sys.stdout.buffer.write(page)
            else:
                file.write(0, page)
        warn_if_stopped(opened)
    if as_json:
        from fixedram_cli.render.jsonout import print_json
        from fixedram_fmt.results import WrittenPage

        print_json(WrittenPage(image, str(out), len(page)))
    elif not to_stdout:
        print(f"{visible(str(out))}: {human_size(len(page))}")
