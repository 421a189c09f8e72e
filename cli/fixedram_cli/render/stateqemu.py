"""Device state as scripts/analyze-migration.py prints it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fixedram_fmt.vmstate.qemu import pieces

if TYPE_CHECKING:
    from fixedram_cli.render.stateview import StateView

__all__ = ["print_state"]


def print_state(view: StateView) -> None:
    """The whole state, whatever the path is."""
    for piece in pieces(view.image, view.machine):
        sys.stdout.write(piece)
    sys.stdout.write("\n")
