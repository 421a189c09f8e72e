"""What differs between two images: memory, device state, structure.

    from fixedram_fmt import Image
    from fixedram_fmt.diff import diff

    with Image.open("before.img") as a, Image.open("after.img") as b:
        found = diff(a, b)
        print(found.same, [block.name for block in found.blocks if block.differing])

What is compared is what a guest would find after a load: absent pages are zero, whatever lies in
the file.  How it is stored (dialect, container, offsets, byte order) is told in notes.
"""

from __future__ import annotations

from fixedram_fmt.diff.compare import diff
from fixedram_fmt.diff.hexrows import PageRows, page_rows
from fixedram_fmt.diff.ram import compare_block
from fixedram_fmt.diff.result import (
    BlockDiff,
    Change,
    Diff,
    Options,
    PageRange,
    StateDiff,
    StructureDiff,
    ValueDiff,
)
from fixedram_fmt.diff.state import compare_states
from fixedram_fmt.diff.structure import compare_structure

__all__ = [
    "BlockDiff",
    "Change",
    "Diff",
    "Options",
    "PageRange",
    "PageRows",
    "StateDiff",
    "StructureDiff",
    "ValueDiff",
    "compare_block",
    "compare_states",
    "compare_structure",
    "diff",
    "page_rows",
]
