"""`fixedram destination`: what the VM that saved an image had, for validate --destination."""

from __future__ import annotations

from fixedram_cli.options import (
    Force,
    ImageArgument,
    Json,
    Output,
    OutputFile,
    OutputFormat,
    Search,
    keep,
    open_image,
    wants_json,
)


def destination(
    image: ImageArgument,
    out: OutputFile = None,
    force: Force = False,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
) -> None:
    """Write down what a VM needs to receive such an image.

    As TOML, or as JSON with --json or a FILE.json.

    What is deleted from the file is not judged by validate --destination.

    Example: fixedram destination good.img -o vm.toml
    """
    import sys

    from fixedram_cli.render.jsonout import dumps
    from fixedram_cli.render.terminal import warn
    from fixedram_cli.render.tomlout import toml
    from fixedram_fmt.results import builtins
    from fixedram_fmt.validation.destination import Destination

    keep([image], [out])
    with open_image(image, search=search) as opened:
        document = Destination.of_image(opened)
        if not opened.complete:
            warn(f"{image} cannot be read to its end: what comes behind that is missing here")
    as_json = wants_json(json_, output) or (out is not None and out.suffix == ".json")
    text = dumps(document, 2) + "\n" if as_json else "".join(toml(builtins(document)))
    if out is None:
        sys.stdout.write(text)
        return
    from fixedram_fmt.io.output import replacing

    with replacing(out, force=force) as file:
        file.write(0, text.encode())
