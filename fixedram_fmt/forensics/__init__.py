"""Where memory forensics finds what this package brings for it.

The folder holds volatility3's layer and stacker.  It is no part of the package's modules: that one
file is under volatility3's licence, and imports volatility3, which this package never does.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["volatility_path"]


def volatility_path() -> Path:
    """The folder to give to `vol -p`."""
    return Path(__file__).resolve().parent / "volatility3-plugins"
