"""Which bitmaps are kept and which are made again, and what nobody can know about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.lost import is_read_only, losses, stood_still
from fixedram_fmt.presence.scan import non_zero_runs
from fixedram_fmt.recovery.rebuilding import RebuiltBitmap
from fixedram_fmt.recovery.rescued import BitmapState, MapRun, PageState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.recovery.places import Places
    from fixedram_fmt.recovery.streamend import Ending

__all__ = ["Decision", "decide", "map_runs"]

#: Why a page with data may not be the one that the guest had.
STALE = "the guest may have run: a page that it changed or zeroed later has old bytes here"


@dataclass(slots=True)
class Decision:
    """What becomes of a block's bitmap: new is the one to be written, None where it stays.

    before counts the bits it had (None: it could not be read).  stale: pages that are present by
    their data alone may be old.  left_out: pages with data have no bit, and get none.  replaceable
    is False where there is no place for a new one; gone counts pages with a bit whose data the file
    ends before, which get none; place is that of the bitmap where the header
    names a wrong one.
    """

    block: RamBlock
    state: BitmapState
    before: int | None
    new: RebuiltBitmap | None = None
    stale: bool = False
    left_out: bool = False
    replaceable: bool = True
    gone: int = 0
    why: str = ""
    old: PageBitmap | None = None
    place: int | None = None

    @property
    def bitmap_offset(self) -> int:
        """Where the bitmap lies in the new image."""
        return self.block.bitmap_offset if self.place is None else self.place

    @property
    def present(self) -> int:
        """Pages present in the new image; of a new bitmap once it was written or counted."""
        return self.new.present if self.new is not None else self.before or 0

    @property
    def kept(self) -> int:
        """Pages present before and after."""
        return min(self.present, self.before or 0)


def map_runs(decisions: Iterable[Decision]) -> Iterator[MapRun]:
    """The pages that become present, as runs of one state; reads the data of rebuilt blocks."""
    for one in decisions:
        rebuilt = PageState.DOUBTFUL if one.stale else PageState.REBUILT
        for start, stop in _present_runs(one):
            old = one.old.runs(start, stop) if one.old is not None else [(start, stop, False)]
            for low, high, was in old:
                offset = one.block.pages_offset + low * one.block.page_size
                state = PageState.KEPT if was else rebuilt
                yield MapRun(one.block.name, low, high - low, offset, state)


def _present_runs(one: Decision) -> Iterator[tuple[int, int]]:
    if one.new is not None:
        yield from one.new.runs()
    elif one.old is not None:
        yield from (run[:2] for run in one.old.runs() if run.present)


def decide(
    image: ImageFacts, ending: Ending, places: Places, *, all_pages: bool = False
) -> list[Decision]:
    """A decision for each block that is kept; all_pages: every page with data becomes present."""
    blocks = [block for block in image.blocks[: ending.blocks] if not block.ignored]
    decisions = [_as_it_is(block, places) for block in blocks]
    usable = [one for one in decisions if one.block.has_pages and one.replaceable]
    if all_pages:
        for one in usable:
            one.why = "asked for: every page with data"
            _rebuild(image, one, unite=True)
    else:
        _decide_unreadable(image, usable)
        if not ending.memory_sent:
            _decide_unwritten(image, usable)
        _decide_lost(image, usable)
    for one in usable:
        _decide_cut_off(image, one)
    still = ending.snapshot or (stood_still(image) if ending.whole else ending.paused_by_libvirt)
    for one in usable:
        one.stale = one.new is not None and not still and not is_read_only(one.block.name)
    return decisions


def _as_it_is(block: RamBlock, places: Places) -> Decision:
    image = places.image
    bitmap = image.readable_bitmap(block)
    if not block.mapped:
        before = None if bitmap is None else bitmap.count()
        return Decision(block, BitmapState.NONE, before, old=bitmap)
    if places.pages_alone(block) and places.bitmap_alone(block):
        state = BitmapState.MISSING if bitmap is None else BitmapState.WHOLE
        return Decision(block, state, None if bitmap is None else bitmap.count(), old=bitmap)
    usual = places.usual_bitmap(block) if places.pages_alone(block) else None
    if usual is None:
        why = "its header is damaged: bitmap or pages lie over something else, or outside the file"
        return Decision(block, BitmapState.UNREADABLE, None, replaceable=False, why=why)
    why = "its header is damaged; the bitmap is where QEMU puts it, right after the header"
    moved = Decision(block, BitmapState.UNREADABLE, None, why=why, place=usual.offset)
    if usual.count():
        moved.old, moved.before = usual, usual.count()
    return moved


def _rebuild(image: ImageFacts, one: Decision, *, split: int = 0, unite: bool = False) -> None:
    old = one.old if split or unite else None
    host_long = image.host_long.value
    one.new = RebuiltBitmap(image.source, one.block, host_long, old, split, unite)


def _decide_unreadable(image: ImageFacts, usable: list[Decision]) -> None:
    for one in usable:
        if one.old is None:
            one.why = one.why or "the file ends before the bitmap"
            _rebuild(image, one)


def _decide_unwritten(image: ImageFacts, usable: list[Decision]) -> None:
    """Bitmaps of a save that was cut while RAM was sent: they are written last, block by block."""
    written = [number for number, one in enumerate(usable) if one.before]
    last = written[-1] if written else -1
    for number, one in enumerate(usable[max(0, last) :], max(0, last)):
        if one.new is not None or one.old is None:
            continue
        if number == last:
            _decide_cut(image, one, one.old)
        else:
            one.state = BitmapState.EMPTY
            one.why = "the save ended before this bitmap was written"
            _rebuild(image, one)


def _decide_cut(image: ImageFacts, one: Decision, old: PageBitmap) -> None:
    """The last bitmap with a bit: it may have been written in part."""
    split = max(run.stop for run in old.runs() if run.present)
    block = one.block
    after = non_zero_runs(
        image.source, block.pages_offset, block.page_size, split, block.pages_total
    )
    if next(after, None) is not None:
        one.state = BitmapState.CUT
        one.why = f"the save ended while this bitmap was written, after page {split - 1}"
        _rebuild(image, one, split=split)


def _decide_cut_off(image: ImageFacts, one: Decision) -> None:
    """Bits of pages that the file ends before, or ends in: what they held is not there."""
    block, old = one.block, one.old
    limit = max(0, image.source.size - block.pages_offset) // block.page_size
    if old is None or limit >= block.pages_total:
        return
    kept = block.pages_total
    if one.new is not None:
        kept = 0 if one.new.old is None else kept if one.new.unite else one.new.split
    if limit < kept:
        one.gone = old.count(limit, kept)
    if not one.gone:
        return
    if one.new is None:
        one.why = f"the file ends at page {limit}, and its bits go on"
        _rebuild(image, one, split=block.pages_total)
    assert one.new is not None
    one.new.limit = limit


def _decide_lost(image: ImageFacts, usable: list[Decision]) -> None:
    """Bitmaps that contradict the data, as rules B03 and B07 have it."""
    open_ = {one.block.index: one for one in usable if one.new is None and one.old is not None}
    if not open_:
        return
    # Those that have bits tell whether bitmaps were written at all.
    telling = {one.block.index: one.old for one in usable if one.old is not None and one.before}
    bitmaps = telling | {index: one.old for index, one in open_.items() if one.old is not None}
    for loss in losses(image, bitmaps, limited=False):
        one = open_.get(loss.block.index)
        if one is None or not loss.found.pages:
            continue
        if loss.whole:
            one.state = BitmapState.EMPTY
        if loss.certain:
            one.state = one.state if loss.whole else BitmapState.CONTRADICTED
            one.why = loss.reason
            _rebuild(image, one, unite=not loss.whole)
        else:
            one.left_out = True
            one.why = "pages without a bit hold data: stale ones, or their bits are lost"
