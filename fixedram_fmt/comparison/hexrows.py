"""Differing pages side by side: the rows of bytes that differ, with those around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.comparison.pages import PagesOfImage
from fixedram_fmt.comparison.ram import content_of, unit_of
from fixedram_fmt.comparison.result import Change, PageRows, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.comparison.result import BlockDiff
    from fixedram_fmt.image import Image

__all__ = ["ROW", "page_rows"]

#: Bytes of a row.
ROW = 16


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
        pages = one.pages if left is None else min(one.pages, left)
        for page in range(one.first_page, one.first_page + pages):
            yield _page(found.name, page, *(content_of(reader, page, unit) for reader in readers))
        if left is not None:
            left -= pages
            if left <= 0:
                return


def _page(block: str, page: int, a: bytes, b: bytes) -> PageRows:
    address = page * len(a)
    rows = tuple(
        Row(address + start, a[start : start + ROW], b[start : start + ROW])
        for start in range(0, len(a), ROW)
        if a[start : start + ROW] != b[start : start + ROW]
    )
    differing = sum(x != y for row in rows for x, y in zip(row.a, row.b, strict=True))
    return PageRows(block, page, address, differing, rows)


def _block_named(image: Image, name: str, occurrence: int) -> RamBlock | None:
    """The block of that name; the occurrence-th where a hostile image has several."""
    named = [block for block in image.blocks if block.name == name]
    return named[occurrence] if occurrence < len(named) else None
