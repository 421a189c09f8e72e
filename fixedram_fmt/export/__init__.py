"""Memory taken out of an image: raw blocks, physical memory, ELF cores, LiME.

The names below are imported when first used: a raw block needs nothing of an ELF core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.export.artifact import Artifact, Part, Span
    from fixedram_fmt.export.elf import elf_core
    from fixedram_fmt.export.flat import lime_image, physical_image, raw_block

__all__ = [
    "Artifact",
    "Part",
    "Span",
    "elf_core",
    "lime_image",
    "physical_image",
    "raw_block",
]

_HOME = {
    "Artifact": "artifact",
    "Part": "artifact",
    "Span": "artifact",
    "elf_core": "elf",
    "lime_image": "flat",
    "physical_image": "flat",
    "raw_block": "flat",
}

__getattr__ = importer(__name__, _HOME)
