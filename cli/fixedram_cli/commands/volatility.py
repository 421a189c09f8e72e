"""`fixedram volatility-path`: where volatility3 finds the layer for these images."""

from __future__ import annotations

import os

import typer

from fixedram_cli.command import Form
from fixedram_cli.render.jsonout import print_json
from fixedram_fmt import forensics


def volatility_path(form: Form) -> None:
    """volatility3 has to run in the same version of Python as fixedram.

    Example: vol -p "$(fixedram volatility-path)" -f guest.img banners

    Example: fixedram volatility-path --json
    """
    path = forensics.volatility_path()
    if form.is_json:
        print_json(forensics.LayerFolder(str(path)))
    else:
        typer.echo(os.fsencode(path))
