"""`fixedram destination`: what the VM that saved an image had, for validate --destination."""

from __future__ import annotations

from fixedram_cli.command import Form, Searching
from fixedram_cli.options import Force, ImageArgument, OutputFile
from fixedram_cli.render.jsonout import dumps
from fixedram_cli.render.terminal import warn
from fixedram_cli.render.tomlout import toml
from fixedram_cli.target import keep, write_text


def destination(
    image: ImageArgument,
    out: OutputFile = None,
    force: Force = False,
    *,
    form: Form,
    searching: Searching,
) -> None:
    """As TOML, or as JSON with --json or a FILE.json.

    What is deleted from the file is not judged by validate --destination.

    Example: fixedram destination good.img -o vm.toml
    """
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.results import builtins

    keep([image], [out])
    with searching.open(image) as opened:
        document = Receiver.of_image(opened)
        if not opened.complete:
            warn(f"{image} cannot be read to its end: what comes after that is missing here")
    as_json = form.is_json or (out is not None and out.suffix == ".json")
    text = dumps(document, 2) + "\n" if as_json else "".join(toml(builtins(document)))
    write_text(text, out, force=force)
