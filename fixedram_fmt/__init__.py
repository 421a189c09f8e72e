"""fixedram_fmt: read QEMU fixed-ram (mapped-ram) migration images.

    from fixedram_fmt import Image

    with Image.open("guest.img") as image:
        for block in image.blocks:
            bitmap = image.bitmap(block)
            print(block.name, bitmap.count() if bitmap else "not in the image")

The names below are the supported ones; they are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.errors import (
        FixedRamError,
        FormatError,
        SourceError,
        TruncatedError,
        UnsupportedError,
    )
    from fixedram_fmt.image import Image
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.presence.hostlong import HostLong

__version__ = "0.1.0"

__all__ = [
    "FixedRamError",
    "FormatError",
    "HostLong",
    "Image",
    "PageBitmap",
    "Source",
    "SourceError",
    "TruncatedError",
    "UnsupportedError",
    "__version__",
]

_HOME = {
    "Image": "image",
    "Source": "io.source",
    "PageBitmap": "presence.bitmap",
    "HostLong": "presence.hostlong",
    "FixedRamError": "errors",
    "FormatError": "errors",
    "SourceError": "errors",
    "TruncatedError": "errors",
    "UnsupportedError": "errors",
}

__getattr__ = importer(__name__, _HOME)
