"""What a comparison found, as data; A is the first image, B the second."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fixedram_fmt.vmstate.plain import plain

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.paths import Pattern

__all__ = [
    "BlockDiff",
    "Change",
    "Diff",
    "Options",
    "PageRange",
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
    how many parts the map of a block has.
    """

    ram: bool = True
    state: bool = True
    blocks: frozenset[str] | None = None
    ignore: tuple[Pattern, ...] = ()
    limit: int | None = None
    cells: int = 512


@dataclass(frozen=True, slots=True)
class PageRange:
    """Pages [start, stop) of a block that differ in one way."""

    start: int
    stop: int
    change: Change


@dataclass(frozen=True, slots=True)
class BlockDiff:
    """The memory of one block; counts are in pages of page_size bytes, the smaller of the two.

    changed pages hold something else in both, only_a and only_b are zero in the other image.
    not_compared says why nothing was compared, where that is so.  cells are (differing, total)
    pages of equal parts of the block, first_byte is the address of the first byte that differs.
    """

    name: str
    page_size: int
    pages: int
    changed: int = 0
    only_a: int = 0
    only_b: int = 0
    unreadable: int = 0
    ranges: tuple[PageRange, ...] = ()
    ranges_total: int = 0
    cells: tuple[tuple[int, int], ...] = ()
    first_byte: int | None = None
    not_compared: str = ""
    #: x-ignore-shared left its memory out of an image: nothing to compare, and no trouble.
    left_out: bool = False
    #: Of the blocks that have this name, which one; 0 in any sound image.
    occurrence: int = 0

    @property
    def differing(self) -> int:
        """Pages that differ."""
        return self.changed + self.only_a + self.only_b

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ranges are in bytes of the block as well."""
        return {
            "name": self.name,
            "page_size": self.page_size,
            "pages": self.pages,
            "changed": self.changed,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "unreadable": self.unreadable,
            "first_byte": self.first_byte,
            "not_compared": self.not_compared or None,
            "ranges_total": self.ranges_total,
            "ranges": [
                {
                    "first_page": one.start,
                    "pages": one.stop - one.start,
                    "address": one.start * self.page_size,
                    "length": (one.stop - one.start) * self.page_size,
                    "change": one.change.value,
                }
                for one in self.ranges
            ],
        }


@dataclass(frozen=True, slots=True)
class StructureDiff:
    """A fact on the image that differs; None: not there.  what is `machine`, `block`, `device`."""

    what: str
    name: str
    a: str | None
    b: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"what": self.what, "name": self.name, "a": self.a, "b": self.b}


@dataclass(frozen=True, slots=True)
class ValueDiff:
    """A value of the device state; offsets are in the files, None where it is not there.

    a and b are decoded values, of long ones a part (note says which), or None.
    """

    path: str
    type: str
    change: Change
    a: Any = None
    b: Any = None
    size: int = 0
    offset_a: int | None = None
    offset_b: int | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; bytes as hexadecimal digits."""
        return {
            "path": self.path,
            "type": self.type,
            "change": self.change.value,
            "a": plain(self.a),
            "b": plain(self.b),
            "offset_a": self.offset_a,
            "offset_b": self.offset_b,
            "note": self.note or None,
        }


@dataclass(frozen=True, slots=True)
class StateDiff:
    """The values that differ, as many as were to be kept, and how many there are.

    ignored counts those that were not to count; more: counting stopped there.
    """

    values: tuple[ValueDiff, ...] = ()
    total: int = 0
    ignored: int = 0
    more: bool = False
    #: Devices that have values among them.
    devices: int = 0


@dataclass(frozen=True, slots=True)
class Diff:
    """Everything; notes tell differences in how it is stored, trouble what was not compared.

    blocks are those that differ or were not compared, and the first thousand of the others;
    compared counts all that were compared.
    """

    structure: tuple[StructureDiff, ...] = ()
    blocks: tuple[BlockDiff, ...] = ()
    compared: int = 0
    state: StateDiff | None = None
    notes: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs in what was compared; trouble is another matter."""
        state_same = self.state is None or not self.state.total
        return not self.structure and state_same and not any(b.differing for b in self.blocks)
