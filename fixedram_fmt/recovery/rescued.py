"""What a rescue answers: what is in the new image, what is lost, and what nobody can know."""

from __future__ import annotations

from enum import StrEnum

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.summary import ImageSummary

__all__ = [
    "BitmapState", "Doubt", "MapRun", "PageState", "Purpose", "RescueReport", "Rescued",
    "RescuedBlock", "Would",
]  # fmt: skip


class Purpose(StrEnum):
    """What the new image is good for."""

    #: Everything is there, and the loader takes it.
    RESTORE = "restore"
    #: Memory to look into; a guest must not go on from it.
    FORENSICS = "forensics"


class BitmapState(StrEnum):
    """What became of a block's bitmap before the rescue."""

    #: As it was written; also one without a bit of a block without data.
    WHOLE = "whole"
    #: No bit is set, and pages hold data.
    EMPTY = "empty"
    #: Some bits are set, and pages that must have been current have none.
    CONTRADICTED = "contradicted"
    #: Its first part was written, and nothing after it.
    CUT = "cut"
    #: The file ends before it.
    MISSING = "missing"
    #: Its header is damaged: it lies outside the file, or over something else.
    UNREADABLE = "unreadable"
    #: An ordinary stream has none: its records say which pages there are.
    NONE = "none"


class Doubt(Result, frozen=True):
    """A range of pages whose content may be wrong; offset is where the first lies in the file."""

    first_page: Unsigned
    pages: Unsigned
    offset: Unsigned
    why: str


class RescuedBlock(Result, frozen=True):
    """A block in the new image; counts are pages, offsets are bytes in the file.

    pages_in_bitmap is what its bitmap said before (None: unreadable); pages_kept are those of them
    that stay, pages_rebuilt those that are present by their data alone.  doubtful_pages counts the
    pages that doubtful is about.  why says what decided.
    """

    name: str
    pages_total: Unsigned
    pages_in_bitmap: Unsigned | None
    pages_rebuilt: Unsigned
    pages_kept: Unsigned
    bitmap: BitmapState
    bitmap_offset: int | None
    pages_offset: int | None
    doubtful_pages: Unsigned = 0
    doubtful: tuple[Doubt, ...] = ()
    why: str = ""


class PageState(StrEnum):
    """Why a page is present in the new image."""

    #: Its bit was set before.
    KEPT = "kept"
    #: By its data alone.
    REBUILT = "rebuilt"
    #: By its data alone, and it may be an old one.
    DOUBTFUL = "doubtful"


class MapRun(Result, frozen=True):
    """Present pages of a block in the new image, all in one state; offset is in the file."""

    block: str
    first_page: Unsigned
    pages: Unsigned
    offset: Unsigned
    state: PageState


class Would(Result, frozen=True):
    """What a loader does with the new image, as `validate` has it; message is a loader's own.

    Where the newest loader refuses it and an older one takes it, loader is that one.
    """

    loader: str
    outcome: Outcome | None
    message: str


class Rescued(Result, frozen=True):
    """The rescue of the image at path, written to out (None: only planned).

    complete: its stream reaches its end; memory_complete: its memory was sent to the end.  Of a
    stream that stops early ends_at is the offset up to which it is kept; appended are the records
    that end it there.  devices_kept counts device sections in the new image, devices_left_out names
    those that are not.  lost is what is not in the image, unknown what nothing in the image tells,
    warnings what its owner must know.
    """

    path: str
    out: str | None
    purpose: Purpose
    complete: bool
    memory_complete: bool
    ends_at: Unsigned | None
    appended: tuple[str, ...]
    blocks: tuple[RescuedBlock, ...]
    pages_rebuilt: Unsigned
    pages_kept: Unsigned
    devices_kept: Unsigned
    devices_left_out: tuple[str, ...]
    changed: tuple[str, ...]
    lost: tuple[str, ...]
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]
    would: Would | None


class RescueReport(Result, frozen=True):
    """What `fixedram rescue` prints: info of the new image (null: only planned), and the rescue."""

    info: ImageSummary | None
    rescued: Rescued
