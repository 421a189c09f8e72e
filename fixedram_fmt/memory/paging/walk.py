"""One translation: the entries that were read, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.results import Result

if TYPE_CHECKING:
    from fixedram_fmt.memory.block import Readable

__all__ = ["Registers", "Step", "Translation", "Walk"]


class Step(Result, frozen=True):
    """One entry that was read: index of table, at address; level is the architecture's name."""

    level: str
    table: int
    index: int
    address: int
    entry: int
    meaning: str


class Translation(Result, frozen=True):
    """Where a virtual address leads: physical is None and fault says why when it leads nowhere.

    page_size is that of the page (or block) it lies in, in bytes; of a fault it is how much leads
    nowhere for the same reason.  Either way a multiple of it begins there.
    """

    virtual: int
    physical: int | None
    mode: str
    page_size: int = 4096
    fault: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def page_left(self) -> int:
        """Bytes from here to the end of the page."""
        return self.page_size - self.virtual % self.page_size


class Registers(Protocol):
    """What a walk needs of a CPU; each architecture has its own."""

    @property
    def cpu(self) -> int:
        """Number of the CPU."""

    @property
    def mode(self) -> str:
        """The kind of translation that is switched on, for people."""

    def translate(self, memory: Readable, address: int) -> Translation:
        """Walk the tables in physical memory; at most a handful of entries, whatever they say."""


@dataclass(slots=True)
class Walk:
    """A walk that is going on."""

    memory: Readable
    virtual: int
    mode: str
    byteorder: Literal["little", "big"] = "little"
    steps: list[Step] = field(default_factory=list)
    fault: str = ""

    def entry(self, level: str, table: int, index: int, size: int) -> int | None:
        """Entry number index of the table at a physical address; None where it is no memory."""
        address = table + index * size
        try:
            entry = int.from_bytes(self.memory.read(address, size), self.byteorder)
        except FixedRamError as error:
            self.fault = f"the {level} at {address:#x} is not in the image: {error.message}"
            return None
        self.steps.append(Step(level, table, index, address, entry, ""))
        return entry

    def tell(self, meaning: str) -> None:
        """What the last entry means."""
        last = self.steps.pop()
        self.steps.append(
            Step(last.level, last.table, last.index, last.address, last.entry, meaning)
        )

    def page(self, base: int, size: int) -> Translation:
        """It ends in the page at base."""
        self.tell(f"page of {size:#x} bytes at {base:#x}")
        physical = base + self.virtual % size
        return Translation(self.virtual, physical, self.mode, size, steps=tuple(self.steps))

    def failed(self, why: str = "", size: int = 4096) -> Translation:
        """It ends nowhere; so do all the addresses of the same size bytes."""
        if why and self.steps:
            self.tell(why)
        fault, steps = why or self.fault, tuple(self.steps)
        return Translation(self.virtual, None, self.mode, size, fault, steps)
