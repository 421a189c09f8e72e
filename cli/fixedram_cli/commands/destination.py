"""`fixedram destination`: what the VM that saved an image had, and a QEMU that receives it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Searching
from fixedram_cli.options import Force, Json, OutputFile, image_argument, option
from fixedram_cli.render.jsonout import dumps
from fixedram_cli.render.terminal import warn
from fixedram_cli.render.tomlout import toml
from fixedram_cli.target import keep, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.commandline import CommandLine
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver


class DestinationFormat(StrEnum):
    """Forms of the output; text is what other commands call the one for people."""

    TOML = "toml"
    JSON = "json"
    COMMAND = "command"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class DestinationForm:
    """How the destination is written down."""

    json_: Json = False
    output: Annotated[
        DestinationFormat,
        option(
            "--output",
            "Form of the output; command: a QEMU that receives the image, what is not certain of"
            " it on stderr; with --json its argv and that.",
            "toml|json|command",
        ),
    ] = DestinationFormat.TOML

    @property
    def is_command(self) -> bool:
        """Whether a command line is asked for."""
        return self.output is DestinationFormat.COMMAND

    def is_json(self, out: Path | None) -> bool:
        """Whether --json or --output json was given, or a FILE.json."""
        named = out is not None and out.suffix == ".json"
        return self.json_ or self.output is DestinationFormat.JSON or named


def destination(
    images: Annotated[
        list[str],
        image_argument("IMAGE...", "An image that the VM saved, its domain XML, -dump-vmstate"),
    ],
    out: OutputFile = None,
    force: Force = False,
    *,
    form: DestinationForm,
    searching: Searching,
) -> None:
    """As TOML, or as JSON with --json or a FILE.json; several descriptions add up.

    What is deleted from the file is not judged by validate --destination.  With --output command:
    a QEMU command line that receives the one image, derived from its state alone.

    Example: fixedram destination good.img -o vm.toml
    """
    keep(images, [out])
    as_json = form.is_json(out)
    if form.is_command:
        if len(images) > 1:
            raise typer.BadParameter("a command line is derived from one image", param_hint="IMAGE")
        text = _command(images[0], searching, as_json=as_json)
    else:
        text = _document(images, searching, as_json=as_json)
    write_text(text, out, force=force)


def _command(image: str, searching: Searching, *, as_json: bool) -> str:
    from fixedram_fmt.commandline import command_line
    from fixedram_fmt.errors import UnsupportedError
    from fixedram_fmt.receiver.document import is_document

    if is_document(image):
        raise UnsupportedError(f"{image!r} is no image: a command line is derived from an image")
    with searching.open(image) as opened:
        _tell_end(image, opened)
        derived = command_line(opened)
    if as_json:
        return dumps(derived, 2) + "\n"
    for sentence in derived.uncertain:
        warn(f"not certain: {sentence}")
    return f"{derived}\n"


def _document(images: list[str], searching: Searching, *, as_json: bool) -> str:
    from fixedram_fmt.receiver.joining import joined
    from fixedram_fmt.results import builtins

    with_command = as_json and len(images) == 1
    document = joined([_described(one, searching, with_command=with_command) for one in images])
    for words in document.contradictions or ():
        warn(f"told in two ways: {words}")
    return dumps(document, 2) + "\n" if as_json else "".join(toml(builtins(document)))


def _described(image: str, searching: Searching, *, with_command: bool) -> Receiver:
    from msgspec.structs import replace

    from fixedram_fmt.receiver import Receiver, load_receiver
    from fixedram_fmt.receiver.document import is_document

    if is_document(image):
        return load_receiver(image)
    with searching.open(image) as opened:
        _tell_end(image, opened)
        receiver = Receiver.of_image(opened)
        derived = _derived(opened) if with_command else None
    if derived is None:
        return receiver
    argv, uncertain = [*derived.argv], [*derived.uncertain]
    return replace(receiver, argv=argv, uncertain=uncertain)


def _derived(image: Image) -> CommandLine | None:
    """The command line, where there is one to be derived."""
    from fixedram_fmt.commandline import command_line
    from fixedram_fmt.errors import FixedRamError

    try:
        return command_line(image)
    except FixedRamError:
        return None


def _tell_end(image: str, opened: Image) -> None:
    if not opened.complete:
        warn(f"{image} cannot be read to its end: what comes after that is missing here")
