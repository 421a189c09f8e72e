"""`fixedram report`: one page on an image, to read, to keep, to send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import Deep, Force, ImageArgument, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible
from fixedram_cli.target import keep, sink
from fixedram_fmt.units import human_size


def report(
    image: ImageArgument,
    out: Annotated[Path, option("-o --out", "File to write; - for stdout.", "PAGE.html")],
    deep: Deep = False,
    force: Force = False,
    *,
    form: Form,
    reading: Reading,
) -> None:
    """Summary, findings, page maps, devices, the stream.

    It loads nothing, and everything can be read without scripts.

    Example: fixedram report guest.img -o guest.html

    Example: fixedram report guest.img --deep -o guest.html
    """
    from fixedram_cli.render.htmlreport import html_report

    file = None if str(out) == "-" else out
    if file is None and form.is_json:
        raise typer.BadParameter("the page goes to stdout, where JSON would go", param_hint="'-o'")
    keep([image], [file])
    with (
        reading.shown(image) as opened,
        sink(file, force=force, mode=opened.file_mode) as write,
    ):
        page = html_report(opened, image, deep=deep).encode("utf-8", "backslashreplace")
        write(page)
    if form.is_json:
        from fixedram_fmt.results import WrittenPage

        print_json(WrittenPage(image, str(out), len(page)))
    elif file is not None:
        print(f"{visible(str(out))}: {human_size(len(page))}")
