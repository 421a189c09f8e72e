"""A rescue in words and numbers: what it is for, what is lost, what nobody can know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.recovery.deciding import STALE, Decision
from fixedram_fmt.recovery.rescued import Doubt, Purpose, Rescued, RescuedBlock, Would

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.recovery.streamend import Ending

__all__ = ["Saved", "purpose_of", "tell"]

_NAMES = 8
_FORENSICS_ONLY = (
    "for forensics, not for a restore: QEMU and its -incoming take an image without device state"
    " without a word, and run it on CPUs and devices as they are after a reset"
)


@dataclass(frozen=True, slots=True)
class Saved:
    """What is saved of image: how its stream ends, and what becomes of its blocks' bitmaps.

    was_partial: libvirt's magic says that the save never finished; None without that header.
    """

    image: ImageFacts
    ending: Ending
    decisions: list[Decision]
    was_partial: bool | None


def purpose_of(saved: Saved) -> Purpose:
    """Restore where nothing is missing and nothing is in doubt; known once bitmaps are made."""
    ending = saved.ending
    # Without EOF a device that was plugged in later may be missing; a description is for readers.
    ended = ending.devices and not ending.closing
    whole = ended and not ending.lost_bytes and not saved.image.offset_bias
    doubt = any(
        not one.replaceable or (one.stale and one.present > one.kept) for one in saved.decisions
    )
    partial = any(one.new is not None and one.new.partial for one in saved.decisions)
    return Purpose.RESTORE if whole and not doubt and not partial else Purpose.FORENSICS


def tell(
    saved: Saved, path: str, out: str | None, purpose: Purpose, would: Would | None
) -> Rescued:
    """The result of a rescue whose bitmaps were written or counted."""
    image, ending = saved.image, saved.ending
    devices = sum(not section.is_ram for section in image.sections)
    return Rescued(
        path=path,
        out=out,
        purpose=purpose,
        complete=ending.whole,
        memory_complete=ending.memory_sent and not ending.lost_bytes,
        ends_at=None if ending.whole else ending.offset,
        appended=tuple(record.kind.value for record in ending.closing),
        blocks=tuple(map(_block, saved.decisions)),
        pages_rebuilt=sum(one.present - one.kept for one in saved.decisions),
        pages_kept=sum(one.kept for one in saved.decisions),
        devices_kept=devices if ending.devices else 0,
        devices_left_out=ending.left_out,
        changed=tuple(_changed(saved, purpose)),
        lost=tuple(_lost(saved)),
        unknown=tuple(_unknown(saved)),
        warnings=tuple(_warnings(saved, purpose, would)),
        would=would,
    )


def _block(one: Decision) -> RescuedBlock:
    doubts = list(_doubts(one))
    return RescuedBlock(
        name=one.block.name,
        pages_total=one.block.pages_total,
        pages_in_bitmap=one.before,
        pages_rebuilt=one.present - one.kept,
        pages_kept=one.kept,
        bitmap=one.state,
        bitmap_offset=one.bitmap_offset if one.block.mapped else None,
        pages_offset=one.block.pages_offset if one.block.mapped else None,
        doubtful_pages=_doubtful(one),
        doubtful=tuple(doubts),
        why=one.why,
    )


def _doubtful(one: Decision) -> int:
    if one.new is None:
        return 0
    return one.present - one.kept if one.stale else len(one.new.partial)


def _doubts(one: Decision) -> Iterator[Doubt]:
    if one.new is None:
        return
    if one.stale and one.present > one.kept:
        first, stop = one.new.first, one.new.stop
        offset = one.block.pages_offset + first * one.block.page_size
        yield Doubt(first, stop - first, offset, STALE)
    yield from one.new.partial


def _changed(saved: Saved, purpose: Purpose) -> Iterator[str]:
    """What differs from the image, in words."""
    made: dict[tuple[str, str], list[str]] = {}
    for one in saved.decisions:
        if one.new is not None:
            made.setdefault((one.state.value, one.why), []).append(one.block.name)
    for (state, why), names in made.items():
        yield f"bitmaps made again, {state} before ({why}): {_some(names)}"
    moved = [one.block.name for one in saved.decisions if one.place is not None]
    if moved:
        yield f"bitmap_offset in the headers, to right after them: {_some(moved)}"
    if saved.ending.mem_size is not None:
        yield "the sum of the blocks' lengths (MEM_SIZE), for the blocks that are there"
    if saved.ending.closing:
        after = "its devices" if saved.ending.devices else "its memory"
        yield f"the stream ends at {saved.ending.offset:#x}, after {after}"
    if saved.was_partial is True and purpose is Purpose.RESTORE:
        yield "libvirt's magic: LibvirtQemudSave, which virsh restore takes"
    if saved.was_partial is False and purpose is Purpose.FORENSICS:
        yield "libvirt's magic: LibvirtQemudPart, which virsh restore refuses"


def _some(names: list[str]) -> str:
    """The first of names, and how many more there are."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _lost(saved: Saved) -> Iterator[str]:
    ending, image = saved.ending, saved.image
    if ending.lost_bytes:
        names = _some([block.name for block in image.blocks[ending.blocks :]])
        yield (
            f"{ending.lost_bytes:,} bytes of memory in blocks whose headers were never written"
            + (f" ({names})" if names else "")
        )
    if not ending.described and ending.devices:
        yield "the description of the devices (VMDESCRIPTION), which only readers need"
    elif not ending.devices:
        yield "the state of all devices and CPUs" + (
            f"; {len(ending.left_out)} that are in the file are left out" if ending.left_out else ""
        )
    for one in saved.decisions:
        if one.gone:
            yield (
                f"{one.gone:,} pages of {one.block.name} that its bitmap has and the file ends"
                " before: they are absent in the new image"
            )
    damaged = [one.block.name for one in saved.decisions if not one.replaceable]
    if damaged:
        yield f"bitmaps that lie over something else, by damaged headers: {_some(damaged)}"


def _unknown(saved: Saved) -> Iterator[str]:
    ending = saved.ending
    if not ending.whole and not ending.memory_sent:
        yield (
            "whether a page without data was zero, or was not written when the save ended:"
            " it is zero in the new image"
        )
    if any(one.stale and one.present > one.kept for one in saved.decisions):
        yield (
            "whether pages that are present by their data alone are current: where the guest ran,"
            " some may be old"
        )
    left = [one.block.name for one in saved.decisions if one.left_out]
    if left:
        yield (
            f"whether pages with data and without a bit are stale or have lost their bits, of"
            f" {_some(left)}: they are absent in the new image (--all-pages takes them)"
        )
    if saved.image.source.is_device:
        yield "on a block device: which pages are left of an older save"


def _warnings(saved: Saved, purpose: Purpose, would: Would | None) -> Iterator[str]:
    if not saved.ending.devices:
        yield _FORENSICS_ONLY
    elif saved.ending.closing:
        yield (
            "for forensics, unless no device was plugged into the guest after it was started:"
            " nothing tells whether the state of such a one is missing"
        )
    elif purpose is Purpose.FORENSICS:
        yield "not fit for a restore: the guest may crash or damage its disks with such memory"
    if saved.image.offset_bias:
        yield (
            f"all offsets in the headers are wrong by {saved.image.offset_bias:+,}:"
            " fixedram copy --rebase auto sets them right"
        )
    if would is not None and saved.ending.devices and would.message:
        taken = would.outcome is Outcome.LOADS
        yield f"not every loader takes it: {would.message}" if taken else would.message
