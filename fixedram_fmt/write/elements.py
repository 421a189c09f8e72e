"""What an image is made of before anything has a position.

A Structure is one schema's values, Raw is bytes nobody decodes, FixedBlock is a block's header,
bitmap and pages, whose places layout.py decides.  Contents know their length and write themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind

if TYPE_CHECKING:
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.schema.ram import MappedRamHeader

__all__ = [
    "Content",
    "Copied",
    "Element",
    "FixedBlock",
    "Hole",
    "Literal",
    "Raw",
    "Structure",
]


class Content(Protocol):
    """Bytes that can be written to any place; length in bytes."""

    @property
    def length(self) -> int:
        """How many bytes it takes in the file, holes included."""

    def write(self, output: Output, offset: int) -> None:
        """Write all that is not a hole to output, from offset on."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are at hand."""

    data: bytes

    @property
    def length(self) -> int:
        """How many bytes."""
        return len(self.data)

    def write(self, output: Output, offset: int) -> None:
        """Write them."""
        output.write(offset, self.data)


@dataclass(frozen=True, slots=True)
class Hole:
    """Zeros that are not written."""

    length: int

    def write(self, output: Output, offset: int) -> None:
        """Nothing: what is not written is a hole."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A range of another file, holes kept."""

    source: Source
    start: int
    length: int

    def write(self, output: Output, offset: int) -> None:
        """Copy it, in the kernel where that is possible."""
        output.copy(self.source, self.start, self.start + self.length, offset)


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure of the stream, by its values."""

    kind: Kind
    path: str
    value: Any

    @property
    def content(self) -> Literal:
        """Its bytes, built by the schema of its kind."""
        return Literal(SCHEMA_OF_KIND[self.kind].build(self.value))


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes of the stream that are not decoded."""

    kind: Kind
    path: str
    content: Content


@dataclass(frozen=True, slots=True)
class FixedBlock:
    """Header, bitmap and pages of a block; the header's offsets are set by the layout.

    An ignored block has offsets of zero, and neither bitmap nor pages.
    """

    path: str
    header: MappedRamHeader
    bitmap: Content
    pages: Content
    ignored: bool = False


Element = Structure | Raw | FixedBlock
