"""Gives every element its place: a pure function from elements to positions, then executed.

The rule is QEMU's (migration/ram.c mapped_ram_setup_ramblock): the bitmap right after the header,
the pages at the next multiple of the alignment in the file, the stream goes on after the pages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fixedram_fmt.schema.ram import MAPPED_RAM_FILE_OFFSET_ALIGNMENT, MAPPED_RAM_HEADER
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import FixedBlock, Hole, Literal, Structure
from fixedram_fmt.write.live import save_live
from fixedram_fmt.write.piece import Piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.write.elements import Element

__all__ = ["keeps_pages_aligned", "lay_out", "write_pieces"]


def keeps_pages_aligned(align: int, page_size: int) -> bool:
    """Whether pages laid out at multiples of align are aligned, as a loader demands."""
    return align >= page_size and align % page_size == 0


def lay_out(
    elements: Iterable[Element], *, start: int = 0, align: int = MAPPED_RAM_FILE_OFFSET_ALIGNMENT
) -> Iterator[Piece]:
    """The pieces of the file in order, padding included, for a stream that starts at start."""
    offset = start
    for element in elements:
        if isinstance(element, FixedBlock):
            for piece in _fixed_block(element, offset, align):
                yield piece
                offset = piece.stop
        else:
            value = element.value if isinstance(element, Structure) else None
            piece = Piece(element.kind, element.path, offset, element.content, value)
            yield piece
            offset = piece.stop


def _fixed_block(block: FixedBlock, offset: int, align: int) -> Iterator[Piece]:
    header_path = f"{block.path}/header"
    if block.ignored:
        header = replace(block.header, bitmap_offset=0, pages_offset=0)
        data = Literal(MAPPED_RAM_HEADER.build(header))
        yield Piece(Kind.MAPPED_RAM_HEADER, header_path, offset, data, header)
        return
    bitmap_offset = offset + MAPPED_RAM_HEADER.size
    bitmap_stop = bitmap_offset + block.bitmap.length
    pages_offset = -(-bitmap_stop // align) * align
    header = replace(block.header, bitmap_offset=bitmap_offset, pages_offset=pages_offset)
    data = Literal(MAPPED_RAM_HEADER.build(header))
    yield Piece(Kind.MAPPED_RAM_HEADER, header_path, offset, data, header)
    yield Piece(Kind.BITMAP, f"{block.path}/bitmap", bitmap_offset, block.bitmap)
    padding = Hole(pages_offset - bitmap_stop)
    yield Piece(Kind.PADDING, f"{block.path}/padding", bitmap_stop, padding)
    yield Piece(Kind.PAGES, f"{block.path}/pages", pages_offset, block.pages)


def write_pieces(pieces: Iterable[Piece], output: Output, cut: int | None = None) -> int:
    """Execute a plan; the size the file has then, at most cut bytes.

    Bitmaps come last, as QEMU writes them: what is in them is known when the pages are written.
    """
    pieces = list(pieces)
    save_live(pieces, output)
    size = 0
    for piece in sorted(pieces, key=lambda piece: piece.kind is Kind.BITMAP):
        piece.content.write(output, piece.offset)
        size = max(size, piece.stop)
    size = size if cut is None else min(size, cut)
    output.finish(size)
    return size
