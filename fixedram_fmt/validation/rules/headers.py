"""Area L: the headers of the fixed layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.dialect import X_IGNORE_SHARED
from fixedram_fmt.errors import FormatError
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.schema.ram import (
    MAPPED_RAM_FILE_OFFSET_ALIGNMENT,
    MAPPED_RAM_HDR_VERSION,
    MAPPED_RAM_HEADER,
)
from fixedram_fmt.validation.causes import after_pages, first_number, page_unread, unread_page
from fixedram_fmt.validation.ctext import c_int
from fixedram_fmt.validation.effects import Phase, crashes, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_HEADER = "FORMAT 7; migration/ram.c mapped_ram_read_header()"
_PARSE = "FORMAT 7; migration/ram.c parse_ramblock_mapped_ram()"
_SAVE = "FORMAT 7; migration/ram.c mapped_ram_setup_ramblock()"

#: Where the fields lie in a MappedRamHeader.
_AT = {span.name: span.offset for span in MAPPED_RAM_HEADER.spans(bytes(MAPPED_RAM_HEADER.size))}
OFFSET_CEILING = 1 << 63


def at_header(
    survey: Survey, block: RamBlock, field: str, message: str, found: str, expected: str
) -> Observation:
    """A finding at a field of a block's header."""
    offset = (block.header_offset or 0) + _AT[field]
    return Observation(
        message,
        offset,
        f"{block.path}/header",
        found,
        expected,
        holes={
            "field": field,
            "page_size": block.header_page_size or 0,
            "local_page_size": survey.target_page_size,
        },
    )


def _header_version(case: Case) -> Effect:
    return refuses("header-version", version=c_int(first_number(case.finding.found)))


@over_image("L01", Severity.ERROR, _HEADER, effect=_header_version, phase=Phase.BLOCK_HEADER)
def header_version(survey: Survey) -> Iterator[Observation]:
    """A MappedRamHeader has a version from the future.

    What its fields mean cannot be known. QEMU refuses versions above its own.

    Fix: load it with the QEMU that wrote it.
    """
    for block in survey.image.blocks:
        if (block.header_version or 0) > MAPPED_RAM_HDR_VERSION:
            yield at_header(
                survey,
                block,
                "version",
                "unknown version of the header",
                str(block.header_version),
                str(MAPPED_RAM_HDR_VERSION),
            )


@over_image("L02", Severity.WARNING, _HEADER)
def header_version_zero(survey: Survey) -> Iterator[Observation]:
    """A MappedRamHeader has version 0, which was never written.

    QEMU only refuses versions above its own. A zero where a header should be can also mean that
    the header is not there.

    Fix: save the guest again, or set the version to 1 if the rest of the header is right.
    """
    for block in survey.image.blocks:
        if block.header_version == 0:
            yield at_header(
                survey,
                block,
                "version",
                "version 0 of the header",
                "0",
                str(MAPPED_RAM_HDR_VERSION),
            )


@over_image(
    "L03",
    Severity.ERROR,
    _PARSE,
    effect=crashes("division by zero"),
    since={11: refuses("header-page-size")},
    phase=Phase.BLOCK_HEADER,
)
def page_size_zero(survey: Survey) -> Iterator[Observation]:
    """A header's page_size is 0.

    QEMU before 11 divides by it and dies.

    Fix: save the guest again; the header is damaged.
    """
    for block in survey.image.blocks:
        if block.header_page_size == 0:
            yield at_header(
                survey, block, "page_size", "pages of 0 bytes", "0", str(survey.target_page_size)
            )


def _shorter_bitmap(case: Case) -> Effect | None:
    """A bitmap that is read too short: the pages whose bits come after its end are left out."""
    survey, block = case.survey, case.block
    if survey is not None and block is not None and block.header_page_size:
        pages = block.used_length // survey.target_page_size
        read = block.used_length // block.header_page_size
        try:
            if not PageBitmap(survey.image.source, block.bitmap_offset, pages).count(read):
                return None
        except FormatError:
            pass
    return wrong("a part of the memory is left out")


@over_image(
    "L04",
    Severity.ERROR,
    _PARSE,
    effect=_shorter_bitmap,
    since={11: refuses("header-page-size")},
    phase=Phase.MEMORY,
)
def page_size_larger(survey: Survey) -> Iterator[Observation]:
    """A header's page_size is larger than the target's pages.

    QEMU before 11 believes it, reads a bitmap that is too short and leaves memory out without a
    word; 11 refuses.

    Fix: save the guest again; the header is damaged, or not of this target.
    """
    for block in survey.image.blocks:
        if (block.header_page_size or 0) > survey.target_page_size:
            yield _other_page_size(survey, block)


def _longer_bitmap(case: Case) -> Effect | None:
    """A longer bitmap than there is: what follows it counts as pages past the block's end."""
    survey, block = case.survey, case.block
    if survey is None or block is None or not block.header_page_size:
        return None
    bits = block.used_length // block.header_page_size
    try:
        bitmap = PageBitmap(survey.image.source, block.bitmap_offset, bits)
    except FormatError:
        return refuses("bitmap-unread")
    if bitmap.count(block.used_length // survey.target_page_size):
        return refuses("outside-block")
    return None


@over_image(
    "L05",
    Severity.ERROR,
    _PARSE,
    effect=_longer_bitmap,
    since={11: refuses("header-page-size")},
    phase=Phase.PAGE_RANGE,
)
def page_size_smaller(survey: Survey) -> Iterator[Observation]:
    """A header's page_size is smaller than the target's pages.

    QEMU before 11 takes it for a longer bitmap, whose pages past the block's end it may try to
    load; 11 refuses.

    Fix: save the guest again; the header is damaged, or not of this target.
    """
    for block in survey.image.blocks:
        if 0 < (block.header_page_size or 0) < survey.target_page_size:
            yield _other_page_size(survey, block)


def _other_page_size(survey: Survey, block: RamBlock) -> Observation:
    found, expected = str(block.header_page_size), str(survey.target_page_size)
    message = "page_size is not the target's"
    return at_header(survey, block, "page_size", message, found, expected)


@over_image("L14", Severity.NOTE, _SAVE)
def pages_elsewhere(survey: Survey) -> Iterator[Observation]:
    """Pages begin at an offset that is no multiple of 1 MiB.

    QEMU aligns them so for direct I/O, and takes any multiple of the page size.
    """
    size = survey.target_page_size
    for block in survey.blocks:
        told = block.pages_offset
        if survey.image.offset_bias:
            continue
        if told % MAPPED_RAM_FILE_OFFSET_ALIGNMENT and told % size == 0:
            yield at_header(
                survey,
                block,
                "pages_offset",
                "pages_offset is unusual",
                f"{told:#x}",
                f"a multiple of {MAPPED_RAM_FILE_OFFSET_ALIGNMENT:#x}",
            )


@over_image(
    "L15",
    Severity.ERROR,
    "FORMAT 7 and 5; migration/ram.c ram_save_setup()",
    effect=page_unread,
    phase=Phase.BITMAP,
)
def ignored_without_capability(survey: Survey) -> Iterator[Observation]:
    """A block has no offsets, and x-ignore-shared is not on.

    With x-ignore-shared zero offsets mean that the block's memory is shared and not in the image;
    without, QEMU takes them for offsets.

    Fix: name x-ignore-shared in the capabilities, or save the guest again.
    """
    if X_IGNORE_SHARED in survey.capabilities:
        return
    for block in survey.image.blocks:
        if block.ignored:
            yield at_header(
                survey,
                block,
                "bitmap_offset",
                "zero offsets without x-ignore-shared",
                "0",
                "offsets of the file",
            )


def _address_read_as_header(case: Case) -> Effect:
    """What 10 finds in a header that begins 8 bytes too early, with the region's address.

    Its version is the address's upper half, its pages_offset what is the bitmap's offset.
    """
    listed = case.survey.listed_by_path if case.survey else {}
    block = listed.get(case.finding.path)
    version = (block.region_address or 0) >> 32 if block else 0
    if version > MAPPED_RAM_HDR_VERSION:
        return refuses("header-version", version=version)
    misaligned = block is not None and block.bitmap_offset % MAPPED_RAM_FILE_OFFSET_ALIGNMENT
    return refuses("alignment" if misaligned else "outside-block")


@over_image(
    "L16",
    Severity.NOTE,
    "FORMAT 8; migration/ram.c parse_ramblock()",
    effect=_address_read_as_header,
    since={11: None},
    phase=Phase.BLOCK_ENTRY,
)
def ignore_shared(survey: Survey) -> Iterator[Observation]:
    """The image was saved with x-ignore-shared.

    Only QEMU 11 and later load such an image; 10 and before read the address of the block's region
    as its header.

    Fix: save without x-ignore-shared, or load it with QEMU 11.
    """
    if X_IGNORE_SHARED in survey.capabilities and survey.mapped and survey.image.blocks:
        block = survey.image.blocks[0]
        yield Observation(
            "the blocks carry the addresses of their regions",
            block.entry_offset,
            block.path,
            "x-ignore-shared",
            "",
        )


def _wrapped(case: Case) -> Effect:
    """Without a present page the stream is read on where the offset has wrapped to."""
    if case.finding.holes.get("field") == "bitmap_offset":
        return refuses("bitmap-unread")
    unread = unread_page(case)
    return unread if unread.holes else after_pages(case)


@over_image("L18", Severity.ERROR, _PARSE, effect=_wrapped, phase=Phase.OFFSET_RANGE)
def offset_wraps(survey: Survey) -> Iterator[Observation]:
    """An offset is larger than a file can be.

    As a signed number it is negative; adding a length to it can wrap around.

    Fix: save the guest again; the header is damaged.
    """
    for block in survey.blocks:
        for field, value in (
            ("bitmap_offset", block.bitmap_offset),
            ("pages_offset", block.pages_offset),
        ):
            if value + block.used_length >= OFFSET_CEILING:
                yield at_header(
                    survey,
                    block,
                    field,
                    f"{field} is out of range",
                    f"{value:#x}",
                    f"less than {OFFSET_CEILING:#x}",
                )
