"""What a comparison found, as data; A is the first image, B the second."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.loaders import LoaderName, Outcome
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.validation.imagereport import ReportedFinding
from fixedram_fmt.validation.scope import Extent

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.paths import Pattern

__all__ = [
    "BlockDiff",
    "Change",
    "Diff",
    "ImageSide",
    "Options",
    "PageRange",
    "PageRows",
    "RamDiff",
    "Restore",
    "RestoreVerdict",
    "Row",
    "StateDiff",
    "StructureDiff",
    "ValueDiff",
]


class Change(StrEnum):
    """How a thing differs; unreadable: the file ends before it, nothing can be said."""

    CHANGED = "changed"
    ONLY_A = "only-a"
    ONLY_B = "only-b"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Options:
    """What to compare and how much of it to keep.

    blocks are names (None: all); ignore are paths of device state that do not count; limit is how
    many ranges of pages, and values of the state, are kept (None: all), all are counted; cells is
    how many parts the map of a block has.  restore, where the state is compared: what loader does
    with each image in a VM like the other's (None: as for validate).
    """

    structure: bool = True
    ram: bool = True
    state: bool = True
    blocks: frozenset[str] | None = None
    ignore: tuple[Pattern, ...] = ()
    limit: int | None = None
    cells: int = 512
    restore: bool = True
    loader: str | None = None


class ImageSide(Result, frozen=True):
    """One of the two images; complete: its stream can be read to its end."""

    path: str
    machine: str | None
    dialect: str
    container: str
    complete: bool


class PageRange(Result, frozen=True):
    """Pages of a block that differ in one way; address and length are bytes of the block."""

    first_page: Unsigned
    pages: Unsigned
    address: Unsigned
    length: Unsigned
    change: Change

    @classmethod
    def of(cls, start: int, stop: int, page_size: int, change: Change) -> PageRange:
        """Pages [start, stop) of page_size bytes."""
        pages = stop - start
        return cls(start, pages, start * page_size, pages * page_size, change)


class BlockDiff(Result, frozen=True):
    """The memory of one block; counts are in pages of page_size bytes, the smaller of the two.

    changed pages hold something else in both, only_a and only_b are zero in the other image,
    unreadable ones lie outside the file.  first_byte is the address of the first byte that
    differs, not_compared says why nothing was compared, where that is so.
    """

    hidden = frozenset({"cells", "left_out", "occurrence"})

    name: str
    page_size: Unsigned
    pages: Unsigned
    changed: Unsigned = 0
    only_a: Unsigned = 0
    only_b: Unsigned = 0
    unreadable: Unsigned = 0
    first_byte: int | None = None
    not_compared: str | None = None
    ranges_total: Unsigned = 0
    ranges: tuple[PageRange, ...] = ()
    #: (differing, total) pages of equal parts of the block.
    cells: tuple[tuple[int, int], ...] = ()
    #: x-ignore-shared left its memory out of an image: nothing to compare, and no trouble.
    left_out: bool = False
    #: Of the blocks that have this name, which one; 0 in any sound image.
    occurrence: int = 0

    @property
    def differing(self) -> int:
        """Pages that differ."""
        return self.changed + self.only_a + self.only_b


class Row(Result, frozen=True):
    """Bytes that differ, from an address of the block on."""

    address: Unsigned
    a: bytes
    b: bytes


class PageRows(Result, frozen=True):
    """One page of a block in both images; address is its first byte in the block.

    rows are those that differ.
    """

    block: str
    page: Unsigned
    address: Unsigned
    bytes_differing: Unsigned
    rows: tuple[Row, ...]


class RamDiff(Result, frozen=True):
    """The memory: pages that differ, over all blocks.

    blocks are those that differ or were not compared, and the first thousand of the others;
    blocks_compared counts all that were compared.  pages are those whose bytes were asked for.
    """

    pages_changed: Unsigned
    pages_only_a: Unsigned
    pages_only_b: Unsigned
    blocks_compared: Unsigned
    blocks: tuple[BlockDiff, ...]
    pages: tuple[PageRows, ...] = ()


class StructureDiff(Result, frozen=True):
    """A fact on the image that differs; None: not there.  what is `machine`, `block`, `device`."""

    what: str
    name: str
    a: str | None
    b: str | None


class ValueDiff(Result, frozen=True):
    """A value of the device state; offsets are in the files, None where it is not there.

    a and b are decoded values, of long ones a part (note says which), or None.
    """

    hidden = frozenset({"size"})

    path: str
    type: str
    change: Change
    a: Any = None
    b: Any = None
    offset_a: int | None = None
    offset_b: int | None = None
    note: str | None = None
    #: Bytes of the value.
    size: int = 0


class StateDiff(Result, frozen=True):
    """The values that differ, as many as were to be kept, and how many there are.

    devices counts those that have such values, ignored the values that were not to count; more:
    counting stopped there.
    """

    differing: Unsigned = 0
    devices: Unsigned = 0
    ignored: Unsigned = 0
    more: bool = False
    values: tuple[ValueDiff, ...] = ()


class RestoreVerdict(Result, frozen=True, kw_only=True):
    """What loader does with an image in a VM like the one that saved the other.

    verdict, decided_by and message are those of validate with that VM as the destination; verdict
    is null where nothing can be said.  findings are those about the destination (area T), worst
    first, unlisted counts by rule those that are too many to tell.  devices is how far their state
    was compared, not_judged what is left open, in words.
    """

    loader: LoaderName
    multifd: bool
    verdict: Outcome | None = None
    decided_by: ReportedFinding | None = None
    message: str = ""
    findings: tuple[ReportedFinding, ...] = ()
    unlisted: dict[str, Unsigned] = msgspec.field(default_factory=dict)
    devices: Extent = Extent.NONE
    not_judged: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it loads, nothing was found, and the devices were compared field by field."""
        known = self.verdict is Outcome.LOADS and self.devices is Extent.FULL
        return known and not self.findings


class Restore(Result, frozen=True):
    """Whether each image loads into a VM like the one that saved the other."""

    a_into_b: RestoreVerdict
    b_into_a: RestoreVerdict


class Diff(Result, frozen=True):
    """Where two images differ; a and b of a value are what each has there.

    same: nothing differs in what was compared.  notes tell differences in how it is stored,
    trouble what was not compared.  restore is null where the device state was not compared; same
    does not depend on it.
    """

    a: ImageSide
    b: ImageSide
    same: bool
    structure: tuple[StructureDiff, ...]
    ram: RamDiff
    state: StateDiff | None
    notes: tuple[str, ...]
    trouble: tuple[str, ...]
    restore: Restore | None = None

    @property
    def blocks(self) -> tuple[BlockDiff, ...]:
        """The blocks of the memory."""
        return self.ram.blocks
