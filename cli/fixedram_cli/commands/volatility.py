"""`fixedram volatility-path`: where volatility3 finds the layer for these images."""

from __future__ import annotations

import os

import typer

from fixedram_cli.options import (
    Json,
    Output,
    OutputFormat,
    wants_json,
)


def volatility_path(json_: Json = False, output: Output = OutputFormat.TEXT) -> None:
    """Print the folder of the layer for volatility3 (vol -p).

    volatility3 has to run in the same version of Python as fixedram.

    Example: vol -p "$(fixedram volatility-path)" -f guest.img banners

    Example: fixedram volatility-path --json
    """
    from fixedram_fmt.forensics import LayerFolder
    from fixedram_fmt.forensics import volatility_path as folder

    path = folder()
    if wants_json(json_, output):
        from fixedram_cli.render.jsonout import print_json

        print_json(LayerFolder(str(path)))
    else:
        typer.echo(os.fsencode(path))
