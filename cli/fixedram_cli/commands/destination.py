"""`fixedram destination`: what the VM that saved an image had, for validate --destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fixedram_cli.command import Form, Searching
from fixedram_cli.options import Force, OutputFile, image_argument
from fixedram_cli.render.jsonout import dumps
from fixedram_cli.render.terminal import warn
from fixedram_cli.render.tomlout import toml
from fixedram_cli.target import keep, write_text

if TYPE_CHECKING:
    from fixedram_fmt.receiver import Receiver


def destination(
    images: Annotated[
        list[str],
        image_argument("IMAGE...", "An image that the VM saved, its domain XML, -dump-vmstate"),
    ],
    out: OutputFile = None,
    force: Force = False,
    *,
    form: Form,
    searching: Searching,
) -> None:
    """As TOML, or as JSON with --json or a FILE.json; several descriptions add up.

    What is deleted from the file is not judged by validate --destination.

    Example: fixedram destination good.img -o vm.toml
    """
    from fixedram_fmt.receiver.joining import joined
    from fixedram_fmt.results import builtins

    keep(images, [out])
    document = joined([_described(image, searching) for image in images])
    for words in document.contradictions or ():
        warn(f"told in two ways: {words}")
    as_json = form.is_json or (out is not None and out.suffix == ".json")
    text = dumps(document, 2) + "\n" if as_json else "".join(toml(builtins(document)))
    write_text(text, out, force=force)


def _described(image: str, searching: Searching) -> Receiver:
    from fixedram_fmt.receiver import Receiver, load_receiver
    from fixedram_fmt.receiver.document import is_document

    if is_document(image):
        return load_receiver(image)
    with searching.open(image) as opened:
        if not opened.complete:
            warn(f"{image} cannot be read to its end: what comes after that is missing here")
        return Receiver.of_image(opened)
