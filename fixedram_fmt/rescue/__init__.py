"""What can be saved of a save that never finished, or that lost its bitmaps.

The names below are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.rescue.dataimage import DataImage
    from fixedram_fmt.rescue.rescuing import Rescue
    from fixedram_fmt.rescue.result import BitmapState, Purpose, Rescued

__all__ = ["BitmapState", "DataImage", "Purpose", "Rescue", "Rescued"]

_HOME = {
    "BitmapState": "result",
    "DataImage": "dataimage",
    "Purpose": "result",
    "Rescue": "rescuing",
    "Rescued": "result",
}

__getattr__ = importer(__name__, _HOME)
