"""RAM blocks as files in a folder: what several commands do with them."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fixedram_fmt.io.filenames import safe_names
from fixedram_fmt.io.folder import prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.io.folder import Folder

__all__ = ["block_files", "file_names"]

_INDEX = "blocks.json"


def file_names(blocks: Sequence[RamBlock]) -> list[str]:
    """A name for the file of each block; names of blocks may be anything."""
    return safe_names([block.name for block in blocks], ".ram")


@contextmanager
def block_files(
    path: Path, blocks: Sequence[RamBlock], *, force: bool, mode: int
) -> Iterator[tuple[Folder, list[str]]]:
    """The folder at path and the name of each block's file in it, beside blocks.json."""
    names = file_names(blocks)
    listed = [
        {"file": name, "block": block.name, "bytes": block.used_length}
        for name, block in zip(names, blocks, strict=True)
    ]
    with ExitStack() as stack:
        folder = stack.enter_context(prepared(path, [*names, _INDEX], force=force, mode=mode))
        # The first to be opened gets its name last: where it is, the others are.
        index = stack.enter_context(folder.replacing(_INDEX))
        index.write(0, json.dumps({"files": listed}, indent=2).encode() + b"\n")
        yield folder, names
