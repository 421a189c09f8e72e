"""`fixedram destination`: what the VM that saved an image had, for validate --destination."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fixedram_cli.options import ImageArgument, Json, Output, OutputFile, OutputFormat, Search

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def destination(
    image: ImageArgument,
    out: OutputFile = None,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
) -> None:
    """Write down what a VM needs to receive images like this one: TOML, or JSON.

    What is deleted from the file is not judged by validate --destination.

    Example: fixedram destination good.img -o vm.toml
    """
    import sys

    from fixedram_cli.render.terminal import warn
    from fixedram_cli.validate import keep
    from fixedram_fmt.image import Image
    from fixedram_fmt.validate.destination import Destination

    keep([image], [out])
    with Image.open(image, search=search) as opened:
        document = Destination.of_image(opened).as_dict()
        if not opened.complete:
            warn(f"{image} cannot be read to its end: what comes behind that is missing here")
    as_json = json_ or output is OutputFormat.JSON or (out is not None and out.suffix == ".json")
    text = json.dumps(document, indent=2) + "\n" if as_json else "".join(_toml(document))
    if out is None:
        sys.stdout.write(text)
        return
    from fixedram_fmt.build.output import replacing

    with replacing(out) as file:
        file.write(0, text.encode())


def _toml(document: Mapping[str, Any]) -> Iterator[str]:
    """Plain values first, then the tables."""
    for name, value in document.items():
        if not isinstance(value, dict):
            yield f"{name} = {_value(value)}\n"
    for name, value in document.items():
        if isinstance(value, dict):
            yield f"\n[{name}]\n"
            for key, inner in value.items():
                yield f"{_value(key)} = {_value(inner)}\n"


def _value(value: Any) -> str:
    """A text, a number or a list of them; JSON's escapes are not all TOML's."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if not isinstance(value, str):
        return str(value)
    told = (
        char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08X}"
        for char in value
    )
    return f'"{"".join(told)}"'
