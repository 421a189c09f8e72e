"""From an image to the command line: each contributor looks at the state and adds its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import Draft
from fixedram_fmt.commandline.result import CommandLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.image import Image

__all__ = ["command_line"]

#: In this order; each adds to the draft and claims the sections that its arguments bring.
_CONTRIBUTORS: tuple[Callable[[Image, Draft], None], ...] = ()


def command_line(image: Image, location: str | None = None, *, own_xml: bool = True) -> CommandLine:
    """The QEMU that receives an image, from the image alone; of a libvirt save from its XML.

    location is the path that -incoming names (None: the image's own); with own_xml false the XML of
    a libvirt save is left out.  Raises UnsupportedError where the machine is not told.
    """
    draft = Draft()
    for contribute in _CONTRIBUTORS:
        contribute(image, draft)
    incoming = _incoming(image, location)
    argv = (draft.program, *draft.arguments(), *incoming)
    return CommandLine(argv, tuple(draft.uncertain), incoming)


def _incoming(image: Image, location: str | None) -> tuple[str, ...]:
    return ("-incoming", f"file:{location or image.source.name}")
