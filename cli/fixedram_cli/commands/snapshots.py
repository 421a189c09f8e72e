"""`fixedram snapshots`: the states of VMs in a qcow2 image."""

from __future__ import annotations

from typing import Annotated

import typer

from fixedram_cli.command import Form
from fixedram_cli.render.jsonout import print_json


def snapshots(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="qcow2 disk image; - for stdin.", show_default=False),
    ],
    form: Form,
) -> None:
    """Every command that reads takes FILE#NAME, and reads the state in place.

    Example: fixedram snapshots disk.qcow2

    Example: fixedram snapshots disk.qcow2 --json
    """
    from fixedram_fmt.snapshots import list_snapshots

    found = list_snapshots(file)
    if form.is_json:
        print_json(found)
        return
    from fixedram_cli.render.snapshotlist import print_snapshots

    print_snapshots(found)
