"""What `fixedram extract` prints: the plan of a file or of a folder, and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible
from fixedram_fmt.export.extracted import Extracted, ExtractedFile, planned
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.export import Artifact

__all__ = ["file_entry", "print_files", "print_names", "print_parts"]


def print_names(names: Sequence[str], blocks: Sequence[RamBlock], *, as_json: bool) -> None:
    """The files that a folder would have."""
    files = [
        ExtractedFile(name, block.name, block.used_length)
        for name, block in zip(names, blocks, strict=True)
    ]
    if as_json:
        print_json(Extracted(tuple(files)))
        return
    for one in files:
        print(f"{one.path}  {one.bytes:,} bytes")


def file_entry(path: Path, block: str | None, artifact: Artifact, copied: int) -> ExtractedFile:
    """A file that was written; copied: bytes that are in it, the others are holes."""
    return ExtractedFile(str(path), block, artifact.size, artifact.size - copied)


def print_parts(artifact: Artifact, *, as_json: bool) -> None:
    """The plan of a file: what is where."""
    plan = planned(artifact)
    if as_json:
        print_json(plan)
        return
    for part in plan.parts:
        what = "headers" if part.address is None else f"memory from {part.address:#x}"
        print(f"{part.offset:#14x}  {part.length:>16,}  {what}")
    print(f"{plan.size:#14x}  {'':>16}  end")


def print_files(files: Sequence[ExtractedFile], *, as_json: bool) -> None:
    """The files that were written."""
    if as_json:
        print_json(Extracted(tuple(files)))
        return
    for one in files:
        present = human_size(one.bytes - (one.holes or 0))
        text = f"{one.path}: {human_size(one.bytes)}, {present} of it present"
        print(visible(text + (f" ({one.block})" if one.block else "")))
