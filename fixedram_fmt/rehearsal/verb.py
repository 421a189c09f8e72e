"""The verb: a location or an open image, and options as keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fixedram_fmt.container.opening import name_of
from fixedram_fmt.image import Image
from fixedram_fmt.rehearsal.rehearsing import Options
from fixedram_fmt.rehearsal.rehearsing import rehearse as _rehearse

if TYPE_CHECKING:
    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.rehearsal.rehearsed import Rehearsal

__all__ = ["rehearse"]


def rehearse(image: Image | Location, **options: Any) -> Rehearsal:
    """Really load an image: into a QEMU that is paused, can write nothing, and is ended then.

        import fixedram_fmt as fx

        try:
            done = fx.rehearse("guest.img", arguments=["-machine", "pc", "-m", "24"], adapt=8)
            print(done.status, done.memory_equal, done.messages, done.adapted)
        except fx.UnsupportedError as error:
            print(error)  # no QEMU here, or no qemu.qmp

    options are fields of fixedram_fmt.rehearsal.Options; without arguments the VM is derived from
    the image.  What QEMU does with it is the result; UnsupportedError and SourceError say why it
    could not be tried.
    """
    if isinstance(image, Image):
        return _rehearse(image, Options(**options))
    with Image.open(image) as opened:
        return replace(_rehearse(opened, Options(**options)), path=name_of(image))
