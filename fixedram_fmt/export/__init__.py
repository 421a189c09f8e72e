"""Memory taken out of an image: raw blocks, physical memory, ELF cores, LiME."""

from __future__ import annotations

from fixedram_fmt.export.artifact import Artifact, Part, Span
from fixedram_fmt.export.elf import elf_core
from fixedram_fmt.export.memory import lime_image, physical_image, raw_block

__all__ = [
    "Artifact",
    "Part",
    "Span",
    "elf_core",
    "lime_image",
    "physical_image",
    "raw_block",
]
