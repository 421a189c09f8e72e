"""`fixedram diagnose`: from what QEMU or libvirt said to the cause."""

from __future__ import annotations

import re
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Searching
from fixedram_cli.options import DestinationOption, option
from fixedram_cli.receiver import destination_of
from fixedram_cli.render.jsonout import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

#: What people mean as the name of a file, whether there is one or not.
_PATH = re.compile(r"\S*/\S*|\S+\.(?:log|txt|out|err)")


def diagnose(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="The image that was to be loaded; PATH@OFFSET when the stream starts at an"
            " offset; PATH#NAME: a snapshot in a qcow2 image.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        str | None,
        option(
            "--log",
            "What QEMU or libvirt said: a file, - for stdin, or the text itself.",
            "FILE|-|TEXT",
        ),
    ] = None,
    destination: DestinationOption = None,
    *,
    form: Form,
    searching: Searching,
) -> None:
    """What a message means, who has to change, what to do, and where it lies in the image.

    Without --log it says what validate finds. Exit code 1: a cause was found; 0: none.

    Example: fixedram diagnose --log /var/log/libvirt/qemu/guest.log

    Example: fixedram diagnose guest.img --log 'Missing section footer for ram'

    Example: fixedram diagnose guest.img --like receiver.img
    """
    if image is None and log is None:
        raise typer.BadParameter("give an IMAGE, or --log, or both", param_hint="'--log'")
    if image == "-" and log == "-":
        raise typer.BadParameter("image and log cannot both be stdin", param_hint="'--log'")
    from fixedram_fmt.failures import diagnose as ask

    with _opened(log) as said:
        told = ask(said, image, destination=destination_of(destination), search=searching.search)
    if form.is_json:
        print_json(told)
    else:
        from fixedram_cli.render.diagnosis import print_diagnosis

        print_diagnosis(told)
    raise typer.Exit(int(told.fails))


@contextmanager
def _opened(log: str | None) -> Iterator[str | BinaryIO | None]:
    """The log that is meant: a file of that name, standard input, or the words themselves."""
    if log == "-":
        yield sys.stdin.buffer
    elif not log or "\n" in log or not _is_file(log):
        yield log
    else:
        with Path(log).open("rb") as file:
            yield file


def _is_file(log: str) -> bool:
    """Whether it names a file; a usage error where it only looks so."""
    try:
        there = Path(log).exists()
    except (OSError, ValueError):
        there = False
    if not there and _PATH.fullmatch(log):
        raise typer.BadParameter(
            f"there is no file {log!r} (text is taken as it is, if it is not one word with a /)",
            param_hint="'--log'",
        )
    if there and stat.S_ISCHR(Path(log).stat().st_mode):
        raise typer.BadParameter(f"{log!r} is a device, and no log", param_hint="'--log'")
    return there
