"""What `fixedram extract` prints: the plan of a file or of a folder, and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.terminal import visible
from fixedram_fmt import export
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.export import Artifact

__all__ = ["file_entry", "print_files", "print_names", "print_parts"]


def print_names(names: Sequence[str], blocks: Sequence[RamBlock], *, as_json: bool) -> None:
    """The files that a folder would have."""
    named = list(zip(names, blocks, strict=True))
    if as_json:
        print_json({
            "files": [
                {"path": name, "block": block.name, "bytes": block.used_length}
                for name, block in named
            ]
        })  # fmt: skip
        return
    for name, block in named:
        print(f"{name}  {block.used_length:,} bytes")


def file_entry(path: Path, block: str | None, artifact: Artifact, copied: int) -> dict[str, Any]:
    """A file that was written; copied: bytes that are in it, the others are holes."""
    return {
        "path": str(path),
        "block": block,
        "bytes": artifact.size,
        "holes": artifact.size - copied,
    }


def print_parts(artifact: Artifact, *, as_json: bool) -> None:
    """The plan of a file: what is where."""
    rows = [
        {
            "offset": part.offset,
            "length": part.length,
            "address": part.content.start if isinstance(part.content, export.Span) else None,
        }
        for part in artifact.parts
    ]
    if as_json:
        print_json({"size": artifact.size, "parts": rows})
        return
    for row in rows:
        what = "headers" if row["address"] is None else f"memory from {row['address']:#x}"
        print(f"{row['offset']:#14x}  {row['length']:>16,}  {what}")
    print(f"{artifact.size:#14x}  {'':>16}  end")


def print_files(files: list[dict[str, Any]], *, as_json: bool) -> None:
    """The files that were written."""
    if as_json:
        print_json({"files": files})
        return
    for one in files:
        present = human_size(one["bytes"] - one["holes"])
        text = f"{one['path']}: {human_size(one['bytes'])}, {present} of it present"
        print(visible(text + (f" ({one['block']})" if one["block"] else "")))
