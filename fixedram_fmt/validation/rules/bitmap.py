"""Area B: which pages the bitmaps call present."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.presence.unclaimed import ENOUGH
from fixedram_fmt.validation.causes import page_unread
from fixedram_fmt.validation.effects import Phase, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.names import shown
from fixedram_fmt.validation.rules.sections import is_background_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.memory.lost import Loss
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_BITMAP = "FORMAT 7; migration/ram.c read_ramblock_mapped_ram()"
#: Extents of a file looked at for holes, in each block and in all of them.
_EXTENTS_LOOKED_AT = 65536
_EXTENTS_IN_ALL = 1 << 20


@over_image("B01", Severity.WARNING, _BITMAP)
def tail_bits(survey: Survey) -> Iterator[Observation]:
    """Bits are set past a block's last page.

    They mean nothing, and QEMU does not write them: the bitmap is damaged, of another page size,
    or of a host with another byte order.

    Fix: see whether --byte-order makes it go away; otherwise save the guest again.
    """
    for block in survey.blocks:
        bitmap = survey.bitmaps[block.index]
        tail = bitmap.tail_bits() if bitmap else 0
        if bitmap and tail:
            yield Observation(
                "bits past the last page",
                bitmap.offset + block.pages_total // 8,
                f"{block.path}/bitmap",
                f"{tail} bits",
                "none",
            )


@over_image(
    "B02",
    Severity.WARNING,
    "FORMAT 7; include/qemu/bitmap.h",
    effect=wrong("pages are loaded to the places of others"),
    phase=Phase.MEMORY,
)
def byte_order(survey: Survey) -> Iterator[Observation]:
    """The bitmaps are in the byte order of another host than most.

    They are arrays of the saving host's longs, and nothing in the file says which. A
    little-endian 64-bit host loads pages to wrong places, without a word.

    Fix: fixedram copy --byte-order little IMAGE -o CONVERTED.
    """
    guess = survey.image.host_long
    if guess.value not in (HostLong.LITTLE_64, HostLong.LITTLE_32) and survey.blocks:
        block = survey.blocks[0]
        yield Observation(
            f"bitmaps of a {guess.value.label}-endian host ({guess.reason})",
            block.bitmap_offset,
            f"{block.path}/bitmap",
            guess.value.label,
            "little",
        )


#: Bytes of vmstate_vapic, all of version 1.
_VAPIC_BODY = 144


def _no_memory(case: Case) -> Effect:
    if case.survey is not None and _vapic_is_active(case.survey):
        return refuses("vapic", name="kvm-tpr-opt", instance=0)
    return wrong("all memory is taken for zero")


def _vapic_is_active(survey: Survey) -> bool:
    """Whether hw/i386/kvmvapic.c vapic_post_load() looks for its ROM in the guest's memory."""
    for section in survey.image.sections:
        if section.idstr == b"kvm-tpr-opt":
            body = survey.image.source.read_upto(section.body_offset, _VAPIC_BODY)
            # state, and rom_state_paddr at the body's end.
            return len(body) == _VAPIC_BODY and any((*body[124:128], *body[140:]))
    return False


@over_image(
    "B03",
    Severity.ERROR,
    "FORMAT 7; migration/ram.c ram_save_file_bmap()",
    effect=_no_memory,
    phase=Phase.MEMORY,
)
def bitmaps_never_written(survey: Survey) -> Iterator[Observation]:
    """No page is called present, but there is data: the bitmaps were never written.

    QEMU writes the bitmaps last. Headers look sound then, and a loader takes every page for zero.
    The save never finished, or it is a background snapshot with mapped-ram: QEMU says `completed`
    of that and never writes its bitmaps.

    Fix: save the guest again, or fixedram rescue IMAGE -o RESCUED makes the bitmaps again from the
    pages; where the guest ran, which of them are current is lost.
    """
    if any(survey.present.values()):
        return
    for loss in survey.losses:
        if loss.found.pages:
            snapshot = survey.whole and is_background_snapshot(survey)
            yield Observation(
                "all bitmaps are empty, but pages hold data"
                + (": a background snapshot with mapped-ram" if snapshot else ""),
                loss.offset,
                f"{loss.block.path}/bitmap",
                "no page present",
                "bitmaps, written at the end of the save",
                fix=_SNAPSHOT_FIX if snapshot else "",
            )
            return


_SNAPSHOT_FIX = (
    "fixedram rescue IMAGE -o RESCUED makes the bitmaps again: the pages in this file are those of"
    " the moment when the snapshot began; save without background-snapshot, or with it and without"
    " mapped-ram"
)


@over_image("B04", Severity.ERROR, _BITMAP, effect=page_unread, phase=Phase.PAGE_READ)
def present_past_end(survey: Survey) -> Iterator[Observation]:
    """Pages that are called present lie past the end of the file.

    The plain loader refuses. With multifd QEMU dies or hangs on its way to the message.

    Fix: get the file again; it was cut off.
    """
    for block in survey.blocks:
        count = survey.unreadable(block)
        if count:
            yield Observation(
                "present pages lie past the end of the file",
                min(survey.image.source.size, block.pages_offset),
                f"{block.path}/pages",
                f"{count} pages",
                "pages inside the file",
            )


@over_image("B05", Severity.WARNING, "FORMAT 7")
def present_in_hole(survey: Survey) -> Iterator[Observation]:
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
            yield Observation(
                "present pages lie in holes",
                where,
                f"{block.path}/pages",
                f"{count} pages",
                "data for each present page",
            )


@over_image("B06", Severity.WARNING, "FORMAT 7")
def nothing_present(survey: Survey) -> Iterator[Observation]:
    """No page of any block is present.

    A guest that has run has memory. This one has none, or the save never finished and the file
    system has lost the pages too.

    Fix: save the guest again, unless it is meant to be empty.
    """
    known = [block for block in survey.blocks if survey.bitmaps[block.index] is not None]
    if known and not any(survey.present.values()) and not survey.losses:
        yield Observation(
            "no page is present",
            known[0].bitmap_offset,
            f"{known[0].path}/bitmap",
            "0 pages",
            "some memory",
        )


def _block_lost(case: Case) -> Effect:
    survey, block = case.survey, case.block
    main = survey and block and block.name == "pc.ram" and not survey.present[block.index]
    if survey is not None and main and _vapic_is_active(survey):
        return refuses("vapic", name="kvm-tpr-opt", instance=0)
    return wrong("memory of the block is taken for zero")


@over_image("B07", Severity.ERROR, _BITMAP, effect=_block_lost, phase=Phase.MEMORY)
def bits_lost(survey: Survey) -> Iterator[Observation]:
    """A block's memory is in the file, but its bitmap is not.

    No page of the block is called present (or many are not that must be), and there is data where
    its pages lie. A load leaves that memory out without a word. These are no stale pages: the
    guest cannot have zeroed them after they were written. They are the only copy; copy
    --drop-stale refuses to leave them out.

    Fix: get the file again, save the guest again, or fixedram rescue IMAGE -o RESCUED makes the
    bitmap again from the pages, which are still in the file.
    """
    for loss in _judged_losses(survey):
        if loss.certain:
            yield _lost(survey, loss, f"lost: {loss.reason}")


@over_image("B08", Severity.WARNING, _BITMAP)
def bits_missing(survey: Survey) -> Iterator[Observation]:
    """Absent pages hold data: stale pages, or a bitmap that lost its bits.

    Nothing in the file tells which. Stale pages are what a live save leaves of memory that the
    guest zeroed meanwhile (its whole video memory, say). In a guest that stood still while it was
    saved there are none, but here it is a few pages only.

    Fix: compare with the guest, if it still runs; keep this file until the restored guest is right.
    """
    for loss in _judged_losses(survey):
        if loss.found.pages and not loss.certain:
            yield _lost(survey, loss, "stale, or their bits are lost")


@over_image("B09", Severity.NOTE, "FORMAT 7")
def pages_not_looked_through(survey: Survey) -> Iterator[Observation]:
    """A block without a present page was not looked through: it is too large.

    The file has no holes there, so that only reading tells zeros from memory whose bitmap is lost.
    The first 64 MiB of the block, and some pages of the rest, are zero.

    Fix: validate --deep reads it all.
    """
    for loss in survey.losses:
        if loss.whole and not loss.found.pages:
            yield Observation(
                "not judged: whether pages hold data",
                loss.offset,
                f"{loss.block.path}/pages",
                f"{loss.found.read} bytes of zeros read",
                f"{loss.block.used_length} bytes",
            )


_LOST_FIX = (
    "fixedram rescue IMAGE -o RESCUED makes the bitmap again from the pages; keep this file until a"
    " restored guest is right"
)
_MISSING_FIX = (
    "compare with the guest, if it runs; keep this file until a restored guest is right: the pages"
    " are in it (fixedram extract IMAGE --without-bitmaps -o FOLDER)"
)


def _judged_losses(survey: Survey) -> Iterator[Loss]:
    """The losses; none where nothing is present at all, which is another matter (B03)."""
    return iter(survey.losses if any(survey.present.values()) else ())


def _lost(survey: Survey, loss: Loss, what: str) -> Observation:
    block, found = loss.block, loss.found
    count = f"{ENOUGH} pages or more" if found.pages >= ENOUGH else f"{found.pages} pages"
    return Observation(
        f"absent pages of {shown(block.idstr)} hold data ({what})",
        loss.offset,
        f"{block.path}/bitmap",
        f"{count} with data and without a bit" + (", none present" if loss.whole else ""),
        "a bit for each page with data",
        fix=_LOST_FIX if loss.certain else _MISSING_FIX,
    )
