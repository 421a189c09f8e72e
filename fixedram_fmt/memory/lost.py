"""Memory that is in a file while its bits are not: told from the stale pages of a live save.

In a live save a page that was written and later became zero has its bit cleared and its bytes left
(QEMU migration/ram.c save_zero_page(), ramblock_set_file_bmap_atomic()).  That cannot be

- in the machine's RAM as a whole: a guest that runs has pages there;
- in a block that the guest cannot write: a ROM;
- in a guest that stood still while it was saved: each page is written once then.

Elsewhere (video memory, a DIMM of a guest that ran) both are possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.blockroles import roles_of
from fixedram_fmt.presence.unclaimed import ENOUGH, Unclaimed, unclaimed_pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.presence.bitmap import PageBitmap

__all__ = ["Loss", "image_losses", "losses", "stood_still"]

#: Bytes read of one block, and of all, before what is left is not judged.
_BLOCK_BUDGET = 1 << 26
_BUDGET = 1 << 30
#: migration/global_state.c: what a guest is in that no CPU has run since the save began.
_STILL = (b"paused", b"prelaunch", b"postmigrate")
_RUNSTATE = slice(4, 104)


@dataclass(frozen=True, slots=True)
class Loss:
    """A block with data in absent pages, or (pages 0) one that was not looked through.

    whole: no page of the block is present.  certain: the pages cannot be stale ones; reason says
    why.
    """

    block: RamBlock
    found: Unclaimed
    whole: bool
    certain: bool
    reason: str

    @property
    def offset(self) -> int:
        """Where the first page with data lies in the file."""
        return self.block.pages_offset + max(0, self.found.first) * self.block.page_size


def stood_still(image: ImageFacts) -> bool:
    """Whether the guest's CPUs stood still during the save, by the run state that it holds.

    False on a block device, which may hold an older save.
    """
    if image.source.is_device:
        return False
    for section in image.sections:
        if section.idstr == b"globalstate":
            state = image.source.read_upto(section.body_offset, _RUNSTATE.stop)[_RUNSTATE]
            return state.partition(b"\0")[0] in _STILL
    return False


def image_losses(image: ImageFacts) -> Iterator[Loss]:
    """The losses of an image, whose bitmaps are read for it."""
    bitmaps = {
        block.index: image.readable_bitmap(block) for block in image.blocks if block.has_pages
    }
    yield from losses(image, {index: one for index, one in bitmaps.items() if one is not None})


def losses(
    image: ImageFacts, bitmaps: Mapping[int, PageBitmap], *, limited: bool = True
) -> Iterator[Loss]:
    """Blocks with data in absent pages, in the order of the list; bitmaps by the blocks' index.

    Blocks with present pages are looked at only where the guest stood still.  limited: no more is
    read than the budget.
    """
    still, left = stood_still(image), _BUDGET
    main = {block.index for block in roles_of(image.blocks).main}
    present = {index: bitmap.count() for index, bitmap in bitmaps.items()}
    nothing = not any(present.values())
    for block in image.blocks:
        bitmap = bitmaps.get(block.index)
        if bitmap is None or (present[block.index] and not still):
            continue
        whole = not present[block.index]
        budget = min(left, _BLOCK_BUDGET) if limited else None
        found = unclaimed_pages(image.source, block, bitmap, budget)
        left = max(0, left - found.read)
        if found.pages or (whole and not found.whole):
            reason = _reason(block, still=still, main=block.index in main)
            if nothing:
                reason = "no bitmap of the image has a bit"
            # A few pages may be a damaged bit; they are told, and do not decide.
            many = found.pages >= min(ENOUGH, present[block.index])
            certain = bool(reason) and bool(found.pages) and many
            yield Loss(block, found, whole, certain, reason)


def _reason(block: RamBlock, *, still: bool, main: bool) -> str:
    """Why a block's pages cannot be stale; empty where they can."""
    if still:
        return "the guest stood still while it was saved, so no page became stale"
    if main:
        return "it is the machine's RAM, and no guest runs without a page of it"
    if is_read_only(block.name):
        return "it is a ROM, and no guest writes zeros to it"
    return ""


def is_read_only(name: str) -> bool:
    """Whether the block is one that the guest cannot write."""
    return name.startswith("/rom@") or name.endswith((".rom", ".bios", "isa-bios", ".mrom"))
