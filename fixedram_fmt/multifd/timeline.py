"""Who waits for the receive channels, and when: a load on paper, by a loader's rules.

Upstream: migration/ram.c ram_load_precopy(), and the discussion of multifd_recv_sync_main() with
fixed-ram that asked where it should be called and whether it can be called twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.dialect import DIALECTS
from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import Loader, SyncPoint
from fixedram_fmt.multifd.loader import JOB_SIZE
from fixedram_fmt.records import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = ["FATAL", "Call", "Event", "Hazard", "Timeline", "count_jobs", "timeline"]

#: Hazards that spoil a load; the others are worth knowing.
FATAL = frozenset(
    ("cleanup-before-io", "second-sync-hangs", "flush-refused", "capability-refused", "incomplete")
)
_SECTIONS = {
    Kind.SECTION_START: "start",
    Kind.SECTION_FULL: "full",
    Kind.SECTION_PART: "part",
    Kind.SECTION_END: "end",
}
_LIST = frozenset(
    (Kind.BLOCK, Kind.POSTCOPY_PAGE_SIZE, Kind.REGION_ADDRESS, Kind.MAPPED_RAM_HEADER)
)
_RECORDS = frozenset(
    (Kind.MEM_SIZE, Kind.EOS, Kind.MULTIFD_FLUSH, Kind.HOOK, Kind.FULL, Kind.PAGE, Kind.ZERO,
     Kind.XBZRLE, Kind.COMPRESS_PAGE)
)  # fmt: skip
_POINTS = {Kind.EOS: SyncPoint.EOS, Kind.MULTIFD_FLUSH: SyncPoint.FLUSH}


@dataclass(slots=True)
class Event:
    """A RAM record as main meets it.

    jobs is how many it hands out (MEM_SIZE: all of its blocks), pending how many nobody has waited
    for when action begins; action is `sync` where sync_main() is called, else `none`.  reached is
    False behind the place where the loader refuses, or hangs.
    """

    offset: int
    section: str
    flag: str
    action: str = "none"
    jobs: int = 0
    pending: int = 0
    reached: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The event as `sync --json` has it."""
        return {
            "offset": self.offset,
            "section": self.section,
            "flag": self.flag,
            "action": self.action,
            "jobs": self.jobs,
            "pending": self.pending,
            "reached": self.reached,
        }


@dataclass(slots=True)
class Call:
    """One ram_load(): a START, PART or END of ram, with its records."""

    section: str
    offset: int
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hazard:
    """What can go wrong, or does; kind is a stable word, FATAL has those that spoil a load."""

    kind: str
    message: str
    offset: int | None = None


@dataclass(slots=True)
class Timeline:
    """All calls of a load, as far as it goes, and what is wrong with it."""

    loader: Loader
    channels: int
    property_on: bool
    calls: list[Call] = field(default_factory=list)
    hazards: list[Hazard] = field(default_factory=list)

    @property
    def events(self) -> Iterator[Event]:
        """The records of all calls, in order."""
        for call in self.calls:
            yield from call.events

    @property
    def syncs(self) -> int:
        """How often sync_main() is called; the last of them may hang."""
        return sum(event.action == "sync" for event in self.events)

    @property
    def jobs(self) -> int:
        """How many jobs are handed out."""
        return sum(event.jobs for event in self.events)

    @property
    def is_safe(self) -> bool:
        """Whether no hazard spoils the load."""
        return not any(hazard.kind in FATAL for hazard in self.hazards)


def count_jobs(image: Image, block: RamBlock) -> int:
    """How many jobs a block is: its runs of present pages, JOB_SIZE bytes at a time."""
    bitmap = image.bitmap(block) if block.has_pages else None
    if bitmap is None:
        return 0
    step = max(1, JOB_SIZE // block.page_size)
    return sum(-(-(run.stop - run.start) // step) for run in bitmap.runs() if run.present)


def timeline(
    image: Image, loader: Loader, *, channels: int = 2, property_on: bool = False
) -> Timeline:
    """How loader would load image; property_on is its multifd_flush_after_each_section.

    Reads the stream and the bitmaps.  What lies behind a refusal or a hang is listed, not reached;
    that an image's capability is refused does not end it, so that designs can be compared.
    """
    line = Timeline(loader, channels, property_on)
    refused = _refused_capability(image, loader)
    if refused:
        line.hazards.append(refused)
    try:
        _Main(image, line).run()
    except FormatError as error:
        message = f"the stream stops early: {error.message}"
        line.hazards.append(Hazard("incomplete", message, error.offset))
    return line


def _refused_capability(image: Image, loader: Loader) -> Hazard | None:
    for dialect in DIALECTS:
        name = dialect.capability
        if name.decode() in image.capabilities and name not in loader.layouts:
            message = f"this loader has no capability {name.decode()!r}: it refuses the image"
            return Hazard("capability-refused", message, image.container.stream_offset)
    return None


class _Main:
    """The main thread on paper."""

    def __init__(self, image: Image, line: Timeline) -> None:
        self._image = image
        self._line = line
        loader = line.loader
        self._syncs_at = loader.syncs_property_on if line.property_on else loader.syncs
        self._mapped = image.dialect != "ordinary"
        self._pending = 0
        self._parts = 0
        self._ram_ids: set[int] = set()
        self._handed_out_in = -1
        self._late: Event | None = None
        self._over = False
        self._syncs = 0

    def run(self) -> None:
        blocks = iter(self._image.blocks)
        block: RamBlock | None = None
        list_event: Event | None = None
        for record in self._image.records():
            if record.kind in _SECTIONS:
                self._section(record)
                continue
            if list_event is not None and record.kind not in _LIST:
                self._list_ends(list_event)
                list_event = None
            if record.kind is Kind.BLOCK:
                block = next(blocks, None)
            elif record.kind is Kind.MAPPED_RAM_HEADER and list_event and block:
                list_event.jobs += count_jobs(self._image, block)
            elif record.kind in _RECORDS:
                event = self._event(record)
                if record.kind is Kind.MEM_SIZE:
                    list_event = event
                else:
                    self._at(event, record.kind)
        self._end()

    def _section(self, record: Record[Any]) -> None:
        section_id = record.value.section_id
        if record.kind in (Kind.SECTION_START, Kind.SECTION_FULL):
            if record.value.idstr == b"ram":
                self._ram_ids.add(section_id)
            else:
                self._ram_ids.discard(section_id)
        if section_id in self._ram_ids:
            name = _SECTIONS[record.kind]
            if name == "part":
                name = f"part[{self._parts}]"
                self._parts += 1
            self._line.calls.append(Call(name, record.offset))

    def _event(self, record: Record[Any]) -> Event:
        call = self._line.calls[-1]
        flag = record.kind.value.upper()
        event = Event(record.offset, call.section, flag, "none", 0, self._pending, not self._over)
        call.events.append(event)
        return event

    def _list_ends(self, event: Event) -> None:
        if self._over:
            return
        self._pending += event.jobs
        event.pending = self._pending
        if event.jobs:
            self._handed_out_in = len(self._line.calls) - 1
        if SyncPoint.MEM_SIZE in self._syncs_at and self._mapped:
            self._sync(event)

    def _at(self, event: Event, kind: Kind) -> None:
        point = _POINTS.get(kind)
        if self._over:
            return
        if point is SyncPoint.FLUSH and self._mapped and not self._line.loader.takes_flush:
            message = "MULTIFD_FLUSH is an invalid flag with mapped-ram: the load is refused"
            self._stop("flush-refused", message, event)
        elif point in self._syncs_at:
            self._sync(event)

    def _sync(self, event: Event) -> None:
        event.action = "sync"
        self._syncs += 1
        if self._syncs > 1 and not self._line.loader.syncs_again:
            message = (
                "the channels quit at the first sync and never post sem_sync again:"
                " main waits for ever"
            )
            self._stop("second-sync-hangs", message, event)
            return
        if self._pending and len(self._line.calls) - 1 > self._handed_out_in:
            self._late = event
        self._pending = 0

    def _stop(self, kind: str, message: str, event: Event) -> None:
        self._line.hazards.append(Hazard(kind, message, event.offset))
        self._over = True

    def _end(self) -> None:
        if self._over:
            return
        if self._pending:
            message = (
                f"nobody waits for {self._pending} jobs: cleanup can run before the channels have"
                " finished their I/O, and the guest start on memory that is not there yet"
            )
            self._line.hazards.append(Hazard("cleanup-before-io", message))
        elif self._late is not None:
            where = self._late.section.upper()
            message = (
                f"the jobs of START are only waited for in {where}: sections that carry nothing"
                " decide whether memory is complete"
            )
            hazard = Hazard("sync-depends-on-later-section", message, self._late.offset)
            self._line.hazards.append(hazard)
