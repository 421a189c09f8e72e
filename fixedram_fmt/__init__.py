"""fixedram_fmt: read, judge, make and take apart QEMU mapped-ram (fixed-ram) migration images.

    import fixedram_fmt as fx

    with fx.open("guest.img") as image:
        for block in image.blocks:
            print(block.name, image.presence(block).count(), "pages")
    print(fx.validate("guest.img").verdict)

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
    from fixedram_fmt.failures import diagnose, rehearse, rescue
    from fixedram_fmt.image import Image
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.verbs import (
        Written,
        convert,
        copy,
        diff,
        digest,
        extract,
        load,
        open,  # noqa: A004 - fx.open
        synth,
        validate,
    )

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
    "Written",
    "__version__",
    "convert",
    "copy",
    "diagnose",
    "diff",
    "digest",
    "extract",
    "load",
    "open",
    "rehearse",
    "rescue",
    "synth",
    "validate",
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
    "Written": "verbs",
    "convert": "verbs",
    "copy": "verbs",
    "diagnose": "failures",
    "diff": "verbs",
    "digest": "verbs",
    "extract": "verbs",
    "load": "verbs",
    "open": "verbs",
    "rehearse": "failures",
    "rescue": "failures",
    "synth": "verbs",
    "validate": "verbs",
}

__getattr__ = importer(__name__, _HOME)
