"""What a fault is, and the tools its function works with.

A fault is a function on the elements (before anything has a place: what follows moves along) or on
the pieces (places are fixed: offsets can be made wrong).  It says what real QEMU 10.0 does with the
result, without and with multifd; the interop tests hold it to that.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import Result
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind
from fixedram_fmt.write.elements import FixedBlock, Literal, Structure
from fixedram_fmt.write.placing import Piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.write.elements import Element

__all__ = [
    "Elements",
    "Fault",
    "FaultError",
    "FaultList",
    "FaultSummary",
    "Outcome",
    "Pieces",
    "catalogue",
    "fault_list",
    "fault_named",
    "on_elements",
    "on_pieces",
]


class FaultError(FixedRamError):
    """There is no such fault, or the image has nothing it could break."""


def _nth(kinds: list[Kind], kind: Kind, number: int) -> int:
    """Index of the number-th kind, negative from the end; FaultError if there is none."""
    found = [index for index, one in enumerate(kinds) if one is kind]
    try:
        return found[number]
    except IndexError:
        raise FaultError(
            "the image has nothing this fault could break",
            path=kind.value,
            expected=f"at least {number + 1 if number >= 0 else -number} of them",
            found=str(len(found)),
        ) from None


@dataclass(slots=True)
class Elements:
    """The elements of an image while a fault changes them; page_size is the target's, in bytes."""

    items: list[Element]
    page_size: int

    def index(self, kind: Kind, number: int = 0) -> int:
        """Where the number-th element of kind is, negative from the end; FaultError if nowhere."""
        kinds = [
            Kind.MAPPED_RAM_HEADER if isinstance(item, FixedBlock) else item.kind
            for item in self.items
        ]
        return _nth(kinds, kind, number)

    def change(self, kind: Kind, number: int = 0, **values: Any) -> None:
        """Give fields of a structure other values."""
        index = self.index(kind, number)
        item = self.items[index]
        if isinstance(item, FixedBlock):
            self.items[index] = replace(item, header=replace(item.header, **values))
        elif isinstance(item, Structure):
            self.items[index] = replace(item, value=replace(item.value, **values))

    def value(self, kind: Kind, number: int = 0) -> Any:
        """The values of a structure."""
        item = self.items[self.index(kind, number)]
        return item.header if isinstance(item, FixedBlock) else getattr(item, "value", None)

    def remove(self, kind: Kind, number: int = 0) -> None:
        """Take an element out; what follows moves up."""
        del self.items[self.index(kind, number)]

    def insert(self, before: int, *items: Element) -> None:
        """Put elements in front of the one at index before."""
        self.items[before:before] = items

    def section(self, kind: Kind, number: int = 0) -> slice:
        """Header to footer of a section."""
        start = self.index(kind, number)
        stop = start
        while getattr(self.items[stop], "kind", None) is not Kind.SECTION_FOOTER:
            stop += 1
        return slice(start, stop + 1)


@dataclass(slots=True)
class Pieces:
    """The pieces of an image, in their places; size is what the file is cut to, if it is."""

    items: list[Piece]
    page_size: int
    size: int | None = field(default=None)

    def index(self, kind: Kind, number: int = 0) -> int:
        """Where the number-th piece of kind is; FaultError if there is none."""
        return _nth([item.kind for item in self.items], kind, number)

    def piece(self, kind: Kind, number: int = 0) -> Piece:
        """That piece."""
        return self.items[self.index(kind, number)]

    def change(self, kind: Kind, number: int = 0, **values: Any) -> None:
        """Give fields of a structure other values, in place."""
        index = self.index(kind, number)
        piece = self.items[index]
        value = replace(piece.value, **values)
        data = Literal(SCHEMA_OF_KIND[kind].build(value))
        self.items[index] = replace(piece, value=value, content=data)

    def overwrite(self, kind: Kind, number: int, data: bytes, at: int = 0) -> None:
        """Put data over the bytes of a piece, at bytes from its start."""
        piece = self.piece(kind, number)
        over = Piece(kind, f"{piece.path}/fault", piece.offset + at, Literal(data))
        self.items.insert(self.index(kind, number) + 1, over)


@dataclass(frozen=True, slots=True)
class Fault:
    """A named defect; plain and multifd are what QEMU 10.0 does with the image."""

    name: str
    text: str
    plain: Outcome
    multifd: Outcome
    on_elements: Callable[[Elements], None] | None = None
    on_pieces: Callable[[Pieces], None] | None = None
    #: How many RAM blocks the image must have.
    blocks: int = 1

    def break_elements(self, items: list[Element], page_size: int) -> list[Element]:
        """The elements with the fault in them, if it works on elements."""
        if self.on_elements is None:
            return items
        elements = Elements(list(items), page_size)
        self.on_elements(elements)
        return elements.items

    def break_pieces(self, items: list[Piece], page_size: int) -> tuple[list[Piece], int | None]:
        """The pieces with the fault in them, and the size to cut the file to, if any."""
        if self.on_pieces is None:
            return items, None
        pieces = Pieces(list(items), page_size)
        self.on_pieces(pieces)
        return pieces.items, pieces.size


_CATALOGUE: dict[str, Fault] = {}


def _register(fault: Fault) -> None:
    if fault.name in _CATALOGUE:
        raise ValueError(f"fault {fault.name} is there twice")
    _CATALOGUE[fault.name] = fault


def on_elements(
    name: str, text: str, plain: Outcome, multifd: Outcome | None = None, *, blocks: int = 1
) -> Callable[[Callable[[Elements], None]], Callable[[Elements], None]]:
    """Register a fault that works before anything has a place."""

    def register(act: Callable[[Elements], None]) -> Callable[[Elements], None]:
        _register(Fault(name, text, plain, multifd or plain, on_elements=act, blocks=blocks))
        return act

    return register


def on_pieces(
    name: str, text: str, plain: Outcome, multifd: Outcome | None = None, *, blocks: int = 1
) -> Callable[[Callable[[Pieces], None]], Callable[[Pieces], None]]:
    """Register a fault that works on what has its place already."""

    def register(act: Callable[[Pieces], None]) -> Callable[[Pieces], None]:
        _register(Fault(name, text, plain, multifd or plain, on_pieces=act, blocks=blocks))
        return act

    return register


class FaultSummary(Result, frozen=True):
    """A fault that can be put into an image; plain and multifd are what QEMU 10.0 does with it."""

    name: str
    text: str
    plain: Outcome = msgspec.field(name="qemu-10.0")
    multifd: Outcome = msgspec.field(name="qemu-10.0 multifd")


class FaultList(Result, frozen=True):
    """Every fault by name."""

    faults: tuple[FaultSummary, ...]


def fault_list() -> FaultList:
    """What `synth --list-faults` tells."""
    faults = catalogue().values()
    return FaultList(
        tuple(FaultSummary(one.name, one.text, one.plain, one.multifd) for one in faults)
    )


def catalogue() -> dict[str, Fault]:
    """All faults by name, in the order in which they are written down."""
    from fixedram_fmt.write.faults import layout, memory, records, sections  # noqa: F401

    return _CATALOGUE


def fault_named(name: str) -> Fault:
    """The fault of that name; FaultError with the nearest names if there is none."""
    faults = catalogue()
    if name not in faults:
        close = difflib.get_close_matches(name, faults, n=3)
        raise FaultError(
            f"there is no fault {name!r}",
            hint=f"did you mean {', '.join(close)}?" if close else "--list-faults shows them all",
        )
    return faults[name]
