"""Where memory forensics finds what this package brings for it.

The folder holds volatility3's layer and stacker.  It is no part of the package's modules: that one
file is under volatility3's licence, and imports volatility3, which this package never does.
"""

from __future__ import annotations

from pathlib import Path

from fixedram_fmt.results import Result

__all__ = ["LayerFolder", "volatility_path"]


class LayerFolder(Result, frozen=True):
    """The folder to give to `vol -p`."""

    path: str


def volatility_path() -> Path:
    """The folder to give to `vol -p`."""
    return Path(__file__).resolve().parent / "volatility3-plugins"
