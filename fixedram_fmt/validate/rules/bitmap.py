"""Area B: which pages the bitmaps call present."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.validate.rule import Found, Severity, over_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validate.survey import Survey

_BITMAP = "FORMAT 4; migration/ram.c read_ramblock_mapped_ram()"
#: Extents of a file looked at for holes, in each block and in all of them.
_EXTENTS_LOOKED_AT = 65536
_EXTENTS_IN_ALL = 1 << 20
#: Bytes of data looked at before a block with an empty bitmap passes for empty, and all of them do.
_DATA_LOOKED_AT = 1 << 26
_DATA_IN_ALL = 1 << 30


@over_image("B01", Severity.WARNING, _BITMAP)
def tail_bits(survey: Survey) -> Iterator[Found]:
    """Bits are set past a block's last page.

    They mean nothing, and QEMU does not write them: the bitmap is damaged, of another page size,
    or of a host with another byte order.

    Fix: see whether --byte-order makes it go away; otherwise save the guest again.
    """
    for block in survey.blocks:
        bitmap = survey.bitmaps[block.index]
        tail = bitmap.tail_bits() if bitmap else 0
        if bitmap and tail:
            yield Found(
                "bits past the last page",
                bitmap.offset + block.pages_total // 8,
                f"{block.path}/bitmap",
                f"{tail} bits",
                "none",
                order=survey.order_of(block),
            )


@over_image("B02", Severity.WARNING, "FORMAT 4; include/qemu/bitmap.h")
def byte_order(survey: Survey) -> Iterator[Found]:
    """The bitmaps are in the byte order of another host than most.

    They are arrays of the saving host's longs, and nothing in the file says which. A
    little-endian 64-bit host loads pages to wrong places, without a word.

    Fix: fixedram copy --byte-order little IMAGE -o CONVERTED.
    """
    guess = survey.image.host_long
    if guess.host_long not in (HostLong.LITTLE_64, HostLong.LITTLE_32) and survey.blocks:
        block = survey.blocks[0]
        yield Found(
            f"bitmaps of a {guess.host_long.label}-endian host ({guess.reason})",
            block.bitmap_offset,
            f"{block.path}/bitmap",
            guess.host_long.label,
            "little",
            order=survey.order_of(block),
        )


@over_image("B03", Severity.ERROR, "FORMAT 4; migration/ram.c ram_save_file_bmap()")
def bitmaps_never_written(survey: Survey) -> Iterator[Found]:
    """No page is called present, but there is data: the save never finished.

    QEMU writes the bitmaps last. Headers look sound then, and a loader takes every page for zero.

    Fix: save the guest again; the pages are in the file, which of them are current is lost.
    """
    found = _unclaimed_data(survey)
    if found is not None:
        block, page = found
        yield Found(
            "all bitmaps are empty, but pages hold data",
            block.pages_offset + page * block.page_size,
            f"{block.path}/bitmap",
            "no page present",
            "bitmaps, written at the end of the save",
            order=survey.order_of(block),
        )


def _unclaimed_data(survey: Survey) -> tuple[RamBlock, int] | None:
    """Where no page of any block is present: the first one that holds data all the same."""
    if any(survey.present.values()):
        return None
    left = _DATA_IN_ALL
    for block in survey.blocks:
        if survey.bitmaps[block.index] is not None:
            pages = min(block.pages_total, min(left, _DATA_LOOKED_AT) // block.page_size)
            left -= pages * block.page_size
            runs = non_zero_runs(survey.image.source, block.pages_offset, block.page_size, 0, pages)
            for first, _ in runs:
                return block, first
    return None


@over_image("B04", Severity.ERROR, _BITMAP)
def present_past_end(survey: Survey) -> Iterator[Found]:
    """Pages that are called present lie past the end of the file.

    The plain loader refuses. With multifd QEMU dies or hangs on its way to the message.

    Fix: get the file again; it was cut off.
    """
    for block in survey.blocks:
        count = survey.unreadable(block)
        if count:
            yield Found(
                "present pages lie past the end of the file",
                min(survey.image.source.size, block.pages_offset),
                f"{block.path}/pages",
                f"{count} pages",
                "pages inside the file",
                order=survey.order_of(block),
            )


@over_image("B05", Severity.WARNING, "FORMAT 4")
def present_in_hole(survey: Survey) -> Iterator[Found]:
    """Pages that are called present lie in holes of the file.

    They load as zero. QEMU stores no zero pages unless zero-page-detection is off, so either a
    copy made holes of zeros, or data was lost.

    Fix: compare with the original, if there is one.
    """
    left = _EXTENTS_IN_ALL
    for block in survey.blocks:
        bitmap = survey.bitmaps[block.index]
        if bitmap is None or not survey.present[block.index]:
            continue
        count, where = 0, None
        stop = min(block.pages_stop, survey.image.source.size)
        extents = survey.image.source.extents(max(0, block.pages_offset), stop)
        for extent in islice(extents, min(_EXTENTS_LOOKED_AT, left)):
            left -= 1
            if extent.data:
                continue
            first = -(-(extent.start - block.pages_offset) // block.page_size)
            last = (extent.stop - block.pages_offset) // block.page_size
            inside = bitmap.count(first, last)
            where = extent.start if inside and where is None else where
            count += inside
        if count:
            yield Found(
                "present pages lie in holes",
                where,
                f"{block.path}/pages",
                f"{count} pages",
                "data for each present page",
                order=survey.order_of(block),
            )


@over_image("B06", Severity.WARNING, "FORMAT 4")
def nothing_present(survey: Survey) -> Iterator[Found]:
    """No page of any block is present.

    A guest that has run has memory. This one has none, or the save never finished and the file
    system has lost the pages too.

    Fix: save the guest again, unless it is meant to be empty.
    """
    known = [block for block in survey.blocks if survey.bitmaps[block.index] is not None]
    if known and not any(survey.present.values()) and _unclaimed_data(survey) is None:
        yield Found(
            "no page is present",
            known[0].bitmap_offset,
            f"{known[0].path}/bitmap",
            "0 pages",
            "some memory",
            order=survey.order_of(known[0]),
        )
