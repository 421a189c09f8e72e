"""Faults of the fixed layout: MappedRamHeader and where it points."""

from __future__ import annotations

from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults.fault import Elements, Outcome, Pieces, on_elements, on_pieces

LOADS, REFUSES, WRONG = Outcome.LOADS, Outcome.REFUSES, Outcome.WRONG_MEMORY
CRASHES = Outcome.CRASHES

_HEADER = Kind.MAPPED_RAM_HEADER


@on_elements("header-version-2", "a MappedRamHeader of a version from the future", REFUSES)
def _(e: Elements) -> None:
    e.change(_HEADER, version=2)


@on_elements("header-version-0", "a MappedRamHeader of version 0", LOADS)
def _(e: Elements) -> None:
    e.change(_HEADER, version=0)


@on_elements("page-size-zero", "a page size of 0 in the header", CRASHES)
def _(e: Elements) -> None:
    e.change(_HEADER, page_size=0)


@on_elements("page-size-double", "twice the page size in the header, not in the bitmap", WRONG)
def _(e: Elements) -> None:
    e.change(_HEADER, page_size=2 * e.page_size)


@on_elements(
    "page-size-quarter", "a quarter of the page size in the header, not in the bitmap", LOADS
)
def _(e: Elements) -> None:
    e.change(_HEADER, page_size=e.page_size // 4)


@on_elements("page-size-odd", "a page size that is no power of two", WRONG)
def _(e: Elements) -> None:
    e.change(_HEADER, page_size=e.page_size + 1)


@on_elements("page-size-huge", "a page size of 2^63", WRONG)
def _(e: Elements) -> None:
    e.change(_HEADER, page_size=1 << 63)


@on_pieces("bitmap-past-end", "bitmap_offset lies after the end of the file", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, bitmap_offset=p.items[-1].stop + p.page_size)


@on_pieces("bitmap-half-past-end", "the file ends inside the bitmap", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, bitmap_offset=p.items[-1].stop - 8)


@on_pieces("bitmap-offset-wraps", "bitmap_offset is almost 2^64", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, bitmap_offset=(1 << 64) - 8)


@on_pieces("bitmap-at-zero", "bitmap_offset is 0: the bitmap is the head of the file", WRONG)
def _(p: Pieces) -> None:
    p.change(_HEADER, bitmap_offset=0)


@on_pieces("pages-unaligned", "pages_offset is no multiple of the page size", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, pages_offset=p.piece(_HEADER).value.pages_offset + min(512, p.page_size // 2))


@on_pieces("pages-past-end", "pages_offset lies after the end of the file", REFUSES, CRASHES)
def _(p: Pieces) -> None:
    beyond = -(-p.items[-1].stop // p.page_size) * p.page_size + (1 << 20)
    p.change(_HEADER, pages_offset=beyond)


@on_pieces("pages-offset-wraps", "pages_offset is almost 2^64", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, pages_offset=(1 << 64) - p.page_size)


@on_pieces("pages-a-page-late", "pages_offset is a page too large", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, pages_offset=p.piece(_HEADER).value.pages_offset + p.page_size)


@on_pieces("pages-over-stream", "pages_offset is 0: the pages begin with the stream", REFUSES)
def _(p: Pieces) -> None:
    p.change(_HEADER, pages_offset=0)


@on_pieces("overlapping-blocks", "the last block's bitmap is that of the first", WRONG, blocks=2)
def _(p: Pieces) -> None:
    p.change(_HEADER, -1, bitmap_offset=p.piece(_HEADER).value.bitmap_offset)


@on_pieces("bitmap-over-pages", "a bitmap that lies in the pages of its block", WRONG)
def _(p: Pieces) -> None:
    value = p.piece(_HEADER).value
    p.change(_HEADER, bitmap_offset=value.pages_offset)


@on_pieces(
    "offsets-shifted", "all offsets too large by a constant: cut out of a container", REFUSES
)
def _(p: Pieces) -> None:
    for number, piece in enumerate(q for q in list(p.items) if q.kind is _HEADER):
        p.change(
            _HEADER,
            number,
            bitmap_offset=piece.value.bitmap_offset + 66765,
            pages_offset=piece.value.pages_offset + 66765,
        )


@on_elements(
    "ignored-without-capability",
    "a block with zero offsets, but no x-ignore-shared",
    REFUSES,
    CRASHES,
)
def _(e: Elements) -> None:
    from dataclasses import replace

    index = e.index(_HEADER)
    e.items[index] = replace(e.items[index], ignored=True)  # type: ignore[arg-type]
