"""`fixedram report`: one page on an image, to read, to keep, to send."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import Deep, DestinationOption, Force, ImageArgument, option
from fixedram_cli.receiver import destination_of
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible
from fixedram_cli.target import keep, sink
from fixedram_fmt.units import human_size


@dataclass(frozen=True, slots=True)
class Judged:
    """What the image is judged by."""

    deep: Deep = False
    destination: DestinationOption = None


def report(
    image: ImageArgument,
    out: Annotated[Path, option("-o --out", "File to write; - for stdout.", "PAGE.html")],
    judged: Judged,
    force: Force = False,
    *,
    form: Form,
    reading: Reading,
) -> None:
    """Summary, findings, where it restores, page maps, devices, the stream.

    It loads nothing, and everything can be read without scripts.

    Example: fixedram report guest.img -o guest.html

    Example: fixedram report guest.img --deep -o guest.html

    Example: fixedram report guest.img --like good.img -o guest.html
    """
    from fixedram_cli.render.htmlreport import html_report

    file = None if str(out) == "-" else out
    if file is None and form.is_json:
        raise typer.BadParameter("the page goes to stdout, where JSON would go", param_hint="'-o'")
    keep([image, *(judged.destination or ())], [file])
    destination = destination_of(judged.destination)
    with (
        reading.shown(image) as opened,
        sink(file, force=force, mode=opened.file_mode) as write,
    ):
        page = html_report(opened, image, deep=judged.deep, destination=destination)
        data = page.encode("utf-8", "backslashreplace")
        write(data)
    if form.is_json:
        from fixedram_fmt.results import WrittenPage

        print_json(WrittenPage(image, str(out), len(data)))
    elif file is not None:
        print(f"{visible(str(out))}: {human_size(len(data))}")
