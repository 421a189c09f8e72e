"""What differs between two images: memory, device state, structure.

    from fixedram_fmt import Image
    from fixedram_fmt.comparison import diff

    with Image.open("before.img") as a, Image.open("after.img") as b:
        found = diff(a, b)
        print(found.same, [block.name for block in found.blocks if block.differing])

What is compared is what a guest would find after a load: absent pages are zero, whatever lies in
the file.  How it is stored (dialect, container, offsets, byte order) is told in notes, and whether
each image loads into a VM like the other's in restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.comparison.compare import diff
from fixedram_fmt.comparison.devicestate import compare_states
from fixedram_fmt.comparison.hexrows import page_rows
from fixedram_fmt.comparison.ram import compare_block
from fixedram_fmt.comparison.result import (
    BlockDiff,
    Change,
    Diff,
    Options,
    PageRange,
    PageRows,
    Restore,
    RestoreVerdict,
    StateDiff,
    StructureDiff,
    ValueDiff,
)
from fixedram_fmt.comparison.structurediff import compare_structure
from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.comparison.restoring import restore_between

__all__ = [
    "BlockDiff",
    "Change",
    "Diff",
    "Options",
    "PageRange",
    "PageRows",
    "Restore",
    "RestoreVerdict",
    "StateDiff",
    "StructureDiff",
    "ValueDiff",
    "compare_block",
    "compare_states",
    "compare_structure",
    "diff",
    "page_rows",
    "restore_between",
]

#: It judges, which takes the rules.
__getattr__ = importer(__name__, {"restore_between": "restoring"})
