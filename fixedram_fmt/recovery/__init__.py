"""What can be saved of a save that never finished, or that lost its bitmaps.

The names below are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.recovery.dataimage import DataImage
    from fixedram_fmt.recovery.rescued import BitmapState, Purpose, Rescued
    from fixedram_fmt.recovery.rescuing import Rescue

__all__ = ["BitmapState", "DataImage", "Purpose", "Rescue", "Rescued"]

_HOME = {
    "BitmapState": "rescued",
    "DataImage": "dataimage",
    "Purpose": "rescued",
    "Rescue": "rescuing",
    "Rescued": "rescued",
}

__getattr__ = importer(__name__, _HOME)
