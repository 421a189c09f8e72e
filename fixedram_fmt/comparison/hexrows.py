"""Differing pages side by side: the rows of bytes that differ, with those around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.comparison.pages import PagesOfImage
from fixedram_fmt.comparison.ram import content_of, unit_of
from fixedram_fmt.comparison.result import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.comparison.result import BlockDiff
    from fixedram_fmt.image import Image

__all__ = ["ROW", "PageRows", "page_rows"]

#: Bytes of a row.
ROW = 16


@dataclass(frozen=True, slots=True)
class PageRows:
    """One page of a block in both images; address is its first byte in the block.

    rows are those that differ: (address in the block, bytes in A, bytes in B).
    """

    block: str
    page: int
    address: int
    rows: tuple[tuple[int, bytes, bytes], ...]

    @property
    def bytes_differing(self) -> int:
        """How many bytes of the page differ."""
        return sum(x != y for _, a, b in self.rows for x, y in zip(a, b, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "block": self.block,
            "page": self.page,
            "address": self.address,
            "bytes_differing": self.bytes_differing,
            "rows": [
                {"address": address, "a": a.hex(), "b": b.hex()} for address, a, b in self.rows
            ],
        }


def page_rows(a: Image, b: Image, found: BlockDiff, limit: int | None = None) -> Iterator[PageRows]:
    """The pages of found's ranges, at most limit, read again one by one."""
    sides = [
        (PagesOfImage(image), _block_named(image, found.name, found.occurrence)) for image in (a, b)
    ]
    unit = unit_of(sides[0][1], sides[1][1])
    readers = [pages.of(block, unit) for pages, block in sides]
    left = limit
    for one in found.ranges:
        if one.change is Change.UNREADABLE:
            continue
        stop = one.stop if left is None else min(one.stop, one.start + left)
        for page in range(one.start, stop):
            contents = [content_of(reader, page, unit) for reader in readers]
            yield PageRows(found.name, page, page * unit, _rows(page * unit, *contents))
        if left is not None:
            left -= stop - one.start
            if left <= 0:
                return


def _rows(address: int, a: bytes, b: bytes) -> tuple[tuple[int, bytes, bytes], ...]:
    return tuple(
        (address + at, a[at : at + ROW], b[at : at + ROW])
        for at in range(0, len(a), ROW)
        if a[at : at + ROW] != b[at : at + ROW]
    )


def _block_named(image: Image, name: str, occurrence: int) -> RamBlock | None:
    """The block of that name; the occurrence-th where a hostile image has several."""
    named = [block for block in image.blocks if block.name == name]
    return named[occurrence] if occurrence < len(named) else None
