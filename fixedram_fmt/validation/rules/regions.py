"""Area L: where bitmaps and pages lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.validation.causes import after_pages
from fixedram_fmt.validation.effects import Phase, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.headers import OFFSET_CEILING, at_header
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.ownership import Region
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_PARSE = "FORMAT 7; migration/ram.c parse_ramblock_mapped_ram()"
_SAVE = "FORMAT 7; migration/ram.c mapped_ram_setup_ramblock()"
_PADDING_LOOKED_AT = 1 << 24
#: Fine enough to tell where something lies.
_WORD = 8
#: What is said of shared bytes that no loader reads as two things.
_OTHER_DATA = ", but no bitmap of this block"
_UNREAD = ", nothing of it read"
#: Bytes of pages looked at to see whether a bitmap leaves out memory.
_LEFT_OUT_LOOKED_AT = 1 << 26


@over_image("L06", Severity.ERROR, _PARSE, effect=refuses("bitmap-unread"), phase=Phase.BITMAP)
def bitmap_outside(survey: Survey) -> Iterator[Observation]:
    """A bitmap lies outside the file, wholly or in part.

    Which pages are present cannot be known.

    Fix: get the file again; it was cut off, or bitmap_offset is damaged.
    """
    size = survey.image.source.size
    for block in survey.blocks:
        stop = block.bitmap_offset + survey.image.bitmap_length(block)
        if block.bitmap_offset < 0 or size < stop < OFFSET_CEILING:
            yield at_header(
                survey,
                block,
                "bitmap_offset",
                "the bitmap lies outside the file",
                f"{block.bitmap_offset:#x}..{stop:#x}",
                f"at most {size:#x}",
            )


@over_image(
    "L07",
    Severity.ERROR,
    _PARSE + ": region has bad alignment",
    effect=refuses("alignment"),
    phase=Phase.ALIGNMENT,
)
def pages_unaligned(survey: Survey) -> Iterator[Observation]:
    """pages_offset is no multiple of the page size.

    QEMU checks that, and that alone.

    Fix: an image that was moved has all offsets wrong: fixedram copy --rebase auto.
    """
    size = survey.target_page_size
    for block in survey.blocks:
        told = block.pages_offset
        if told % size and not survey.image.offset_bias:
            yield at_header(
                survey,
                block,
                "pages_offset",
                "pages_offset is not aligned",
                f"{told:#x}",
                f"a multiple of {size:#x}",
            )


@over_image("L08", Severity.ERROR, _PARSE, effect=after_pages, phase=Phase.AFTER_PAGES)
def pages_past_end(survey: Survey) -> Iterator[Observation]:
    """The file ends inside the pages of a block, none of which is present from there on.

    The stream goes on after the pages, so a reader that gets there finds nothing.

    Fix: get the file again; it was cut off, or pages_offset is damaged.
    """
    size = survey.image.source.size
    for block in survey.blocks:
        if size < block.pages_stop < OFFSET_CEILING and not survey.unreadable(block):
            yield at_header(
                survey,
                block,
                "pages_offset",
                "the pages reach past the end of the file",
                f"{block.pages_offset:#x}..{block.pages_stop:#x}",
                f"at most {size:#x}",
            )


def _names(survey: Survey, region: Region) -> str:
    if region.block is None:
        return region.what
    return f"{region.what} of {shown(survey.image.blocks[region.block].idstr)}"


def _overlap(survey: Survey, first: Region, second: Region) -> Observation:
    involved = [survey.image.blocks[one.block] for one in (first, second) if one.block is not None]
    # The one whose bitmap is not where it should be is to blame, otherwise the later one.
    block = max(
        involved, key=lambda one: (one.bitmap_offset != survey.usual_bitmap(one), one.index)
    )
    stop = min(first.stop, second.stop)
    return Observation(
        f"{_names(survey, first)} and {_names(survey, second)} share bytes",
        second.start,
        block.path,
        f"{second.start:#x}..{stop:#x} twice" + ("" if _spoils(survey, first, second) else _UNREAD),
        "an owner for each byte",
    )


def _spoils(survey: Survey, first: Region, second: Region) -> bool:
    """Whether a loader takes bytes of one for the other's.

    Absent pages are not read: what lies over them does no harm.  A moved bitmap says what its
    usual place says, or is another's bytes.
    """
    shared = (second.start, min(first.stop, second.stop))
    read = [one for one in (first, second) if _is_read(survey, one, *shared)]
    if len(read) < 2:
        return False
    blocks = survey.image.blocks
    bitmaps = [blocks[one.block or 0] for one in read if one.what == "bitmap"]
    moved = [one for one in bitmaps if one.bitmap_offset != survey.usual_bitmap(one)]
    if len(bitmaps) == 2 or any(one.block is None for one in read):
        # Pages spoil nothing of the stream or of a bitmap: it has been read as what it is.
        return not moved or any(survey.has_other_bits(one) for one in moved)
    return True


def _is_read(survey: Survey, region: Region, start: int, stop: int) -> bool:
    """Whether a loader reads these bytes as what the region is."""
    if region.what != "pages" or region.block is None:
        return True
    block = survey.image.blocks[region.block]
    bitmap = survey.bitmaps[block.index]
    first = (start - block.pages_offset) // block.page_size
    last = -(-(stop - block.pages_offset) // block.page_size)
    return bitmap is None or bool(bitmap.count(first, min(last, block.pages_total)))


def _read_as_both(case: Case) -> Effect | None:
    """Bytes that belong to another spoil the memory, unless nobody reads them as both."""
    unread = case.finding.found.endswith(_UNREAD)
    return None if unread else wrong("bytes of one region are loaded as another's")


@over_image("L09", Severity.ERROR, "FORMAT 7 and 7", effect=_read_as_both, phase=Phase.MEMORY)
def regions_overlap(survey: Survey) -> Iterator[Observation]:
    """Bitmaps or pages lie over each other.

    What is at such a place is both at once. QEMU does not look, and loads what it finds.

    Fix: save the guest again; an offset in a header is damaged.
    """
    for first, second in survey.regions.overlaps:
        if first.block is not None and second.block is not None:
            yield _overlap(survey, first, second)


@over_image("L10", Severity.ERROR, "FORMAT 7 and 7", effect=_read_as_both, phase=Phase.MEMORY)
def region_over_stream(survey: Survey) -> Iterator[Observation]:
    """A bitmap or pages lie over the stream itself.

    Headers are taken for memory, and a guest whose memory is restored can read them.

    Fix: save the guest again; an offset in a header is damaged.
    """
    for first, second in survey.regions.overlaps:
        if (first.block is None) != (second.block is None):
            yield _overlap(survey, first, second)


@over_image("L11", Severity.ERROR, "FORMAT 2", effect=refuses("alignment"), phase=Phase.ALIGNMENT)
def offsets_shifted(survey: Survey) -> Iterator[Observation]:
    """All offsets are wrong by the same amount.

    Offsets are absolute in the file; this image was cut out of a container, or put into one.

    Fix: fixedram copy --rebase auto IMAGE -o REPAIRED.
    """
    bias = survey.image.offset_bias
    if bias and survey.blocks:
        block = survey.blocks[0]
        yield at_header(
            survey,
            block,
            "bitmap_offset",
            f"all offsets are wrong by {bias:+,}",
            f"{block.bitmap_offset + bias:#x}",
            f"{block.bitmap_offset:#x}",
        )


@over_image("L12", Severity.ERROR, _PARSE, effect=after_pages, phase=Phase.AFTER_PAGES)
def pages_before_header(survey: Survey) -> Iterator[Observation]:
    """pages_offset points back, before its own header.

    The stream goes on after the pages: a reader comes to records that it has read before.

    Fix: save the guest again; pages_offset is damaged.
    """
    for block in survey.blocks:
        if block.pages_offset < (block.header_offset or 0):
            yield at_header(
                survey,
                block,
                "pages_offset",
                "pages_offset points back",
                f"{block.pages_offset:#x}",
                f"after the header at {block.header_offset:#x}",
            )


def _other_pages(case: Case) -> Effect | None:
    other_data = case.finding.expected.endswith(_OTHER_DATA)
    return None if other_data else wrong("pages are loaded as another bitmap says")


@over_image("L13", Severity.ERROR, _SAVE, effect=_other_pages, phase=Phase.MEMORY)
def bitmap_elsewhere(survey: Survey) -> Iterator[Observation]:
    """A bitmap is not where QEMU puts it, and something else lies there.

    A reader must believe bitmap_offset; but right after the header, where every QEMU puts the
    bitmap, there is data that nothing owns.

    Fix: compare both places; fixedram dump --offset shows them.
    """
    for block in survey.blocks:
        usual = survey.usual_bitmap(block)
        length = min(survey.image.bitmap_length(block), _PADDING_LOOKED_AT)
        if survey.has_other_bits(block) and any(_orphans(survey, usual, usual + length)):
            left_out = _leaves_out(survey, block, usual)
            yield at_header(
                survey,
                block,
                "bitmap_offset",
                "the bitmap seems to lie elsewhere",
                f"{block.bitmap_offset:#x}",
                f"{usual:#x}, where there is data" + ("" if left_out else _OTHER_DATA),
            )


def _leaves_out(survey: Survey, block: RamBlock, usual: int) -> bool:
    """Whether pages that only the usual place calls present hold data.

    Otherwise what lies there is no bitmap of this block, or says the same in other words.
    """
    bitmap = survey.bitmaps[block.index]
    try:
        other = PageBitmap.of_block(
            survey.image.source,
            replace(block, bitmap_offset=usual),
            survey.image.host_long.value,
        )
    except FormatError:
        return True
    left = _LEFT_OUT_LOOKED_AT // block.page_size
    for first, last, present in other.runs():
        stop = min(last, first + left) if present else first
        for page in range(first, stop):
            absent = bitmap is not None and not bitmap.count(page, page + 1)
            offset = block.pages_offset + page * block.page_size
            if absent and any(_data(survey, offset, offset + block.page_size)):
                return True
        left -= stop - first
    return False


def _orphans(survey: Survey, start: int, stop: int) -> Iterator[int]:
    """Offsets in [start, stop) of bytes other than 0 that no region owns; one per stretch."""
    for low, high in survey.regions.unowned(start, stop):
        yield from _data(survey, low, high)


def _data(survey: Survey, start: int, stop: int) -> Iterator[int]:
    """The first offset in [start, stop) near which there is a byte other than 0, if any."""
    source = survey.image.source
    stop = min(stop, source.size)
    if stop <= start or start < 0:
        return
    whole = (stop - start) // _WORD
    for first, _ in non_zero_runs(source, start, _WORD, 0, whole):
        yield start + first * _WORD
        return
    rest = start + whole * _WORD
    if any(source.read_exact(rest, stop - rest)):
        yield rest


@over_image("L17", Severity.NOTE, "FORMAT 7")
def padding_used(survey: Survey) -> Iterator[Observation]:
    """The padding before a block's pages is not zero.

    QEMU leaves it empty. What is there may be left of an older file, and hold old memory.

    Fix: fixedram copy --align 1M writes it anew.
    """
    looked_at = 0
    for block in sorted(survey.blocks, key=lambda one: one.bitmap_offset):
        start = block.bitmap_offset + survey.image.bitmap_length(block)
        stop = min(block.pages_offset, start + _PADDING_LOOKED_AT)
        if block.bitmap_offset != survey.usual_bitmap(block) or (
            block.header_page_size != survey.target_page_size
        ):
            continue
        for offset in _orphans(survey, max(start, looked_at), stop):
            yield Observation(
                "bytes in the padding",
                offset,
                f"{block.path}/padding",
                "bytes other than 0",
                "zeros",
            )
        looked_at = max(looked_at, stop)
