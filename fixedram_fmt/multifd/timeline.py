"""Who waits for the receive channels, and when: a load on paper, by a loader's rules.

Upstream: migration/ram.c ram_load_precopy(), and the discussion of multifd_recv_sync_main() with
fixed-ram that asked where it should be called and whether it can be called twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fixedram_fmt.dialect import LAYOUTS, ORDINARY
from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import LOADERS, Loader, SyncPoint
from fixedram_fmt.multifd.loader import JOB_SIZE
from fixedram_fmt.multifd.loadresult import CallSummary, Event, Hazard, TimelineSummary
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.records import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = [
    "FATAL", "Call", "Event", "Hazard", "Sync", "Timeline", "count_jobs", "timeline", "timelines",
]  # fmt: skip

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
_RECORDS = frozenset(
    (Kind.MEM_SIZE, Kind.EOS, Kind.MULTIFD_FLUSH, Kind.HOOK, Kind.FULL, Kind.PAGE, Kind.ZERO,
     Kind.XBZRLE, Kind.COMPRESS_PAGE)
)  # fmt: skip
_POINTS = {
    Kind.MEM_SIZE: SyncPoint.MEM_SIZE,
    Kind.MULTIFD_FLUSH: SyncPoint.FLUSH,
    Kind.EOS: SyncPoint.EOS,
}
#: Channels with packets of their own could always sync again, and still do so at these points:
#: the re-entrant design took them over for the fixed layout.
_WITH_PACKETS = LOADERS["reentrant"]


@dataclass(frozen=True, slots=True)
class Call:
    """One ram_load(): a START, PART, END or FULL of ram, with its records."""

    section: str
    path: str
    offset: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """A call of sync_main(): the record it is called at, and for how many channels it waits."""

    event: Event
    waits: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """All calls of a load, as far as it goes, and what is wrong with it.

    fixed tells whether the image has a fixed layout; without one main hands out nothing.  The last
    of syncs may be the one that hangs.
    """

    loader: Loader
    channels: int
    property_on: bool
    fixed: bool
    calls: tuple[Call, ...]
    syncs: tuple[Sync, ...]
    hazards: tuple[Hazard, ...]

    @property
    def events(self) -> Iterator[Event]:
        """The records of all calls, in order."""
        for call in self.calls:
            yield from call.events

    @property
    def jobs(self) -> int:
        """How many jobs are handed out."""
        return sum(event.jobs for event in self.events)

    @property
    def summary(self) -> TimelineSummary:
        """What JSON has of it."""
        calls = (
            CallSummary(call.section, call.path, call.offset, len(call.events))
            for call in self.calls
        )
        return TimelineSummary(
            loader=self.loader.name,
            channels=self.channels,
            property_on=self.property_on,
            calls=tuple(calls),
            events=tuple(self.events),
            jobs=self.jobs,
            syncs=len(self.syncs),
            hazards=self.hazards,
        )

    @property
    def is_safe(self) -> bool:
        """Whether no hazard spoils the load."""
        return not any(hazard.kind in FATAL for hazard in self.hazards)


def count_jobs(image: Image, block: RamBlock) -> int:
    """How many jobs a block is: its runs of present pages, JOB_SIZE bytes at a time.

    FormatError where the bitmap cannot be read, as in a load.
    """
    if not block.has_pages:
        return 0
    runs, size = image.presence(block).runs(), block.page_size
    return sum(-(-(run.stop - run.start) * size // JOB_SIZE) for run in runs if run.present)


def timeline(
    image: Image, loader: Loader, *, channels: int = 2, property_on: bool = False
) -> Timeline:
    """How loader would load image; property_on is its multifd_flush_after_each_section.

    Reads the stream and the bitmaps.  What lies after a refusal or a hang is listed, not reached;
    that an image's capability is refused does not end it, so that designs can be compared.
    """
    return timelines(image, (loader,), channels=channels, property_on=property_on)[0]


def timelines(
    image: Image, loaders: Sequence[Loader], *, channels: int = 2, property_on: bool = False
) -> list[Timeline]:
    """What timeline() gives for each of loaders, with one reading of the image for them all."""
    stream = _read(image)
    return [_Main(stream, loader, channels, property_on).run() for loader in loaders]


# -- what the stream holds, whoever loads it ------------------------------------------------------


@dataclass(slots=True)
class _Met:
    """A RAM record; whole is False for a list of blocks whose end was not reached."""

    kind: Kind
    offset: int
    path: str
    jobs: int = 0
    whole: bool = True


@dataclass(slots=True)
class _Section:
    name: str
    path: str
    offset: int
    records: list[_Met] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    fixed: bool
    #: The capability that means a fixed layout, and where it stands.
    capability: bytes = b""
    capability_offset: int = 0
    sections: list[_Section] = field(default_factory=list)
    stopped: FormatError | None = None


def _read(image: Image) -> _Stream:
    reader = _Reader(image)
    try:
        reader.run()
    except FormatError as error:
        reader.stopped_by(error)
    return reader.stream


class _Reader:
    """Goes through the records of an image once and keeps those that a RAM loader sees."""

    def __init__(self, image: Image) -> None:
        self.stream = _Stream(fixed=image.dialect != ORDINARY)
        self._image = image
        self._parts = 0
        self._list: _Met | None = None

    def run(self) -> None:
        for record in self._image.records():
            kind = record.kind
            if kind in _SECTIONS:
                self._section(record)
            elif kind in _RECORDS:
                met = _Met(kind, record.offset, record.path)
                self.stream.sections[-1].records.append(met)
                self._list = met if kind is Kind.MEM_SIZE else None
            elif kind is Kind.MAPPED_RAM_HEADER and self._list and record.block is not None:
                self._list.jobs += count_jobs(self._image, self._image.blocks[record.block])
            elif kind is Kind.CAPABILITY:
                self._capability(record)

    def _section(self, record: Record[Any]) -> None:
        if record.section == RAM_IDSTR:
            name = _SECTIONS[record.kind]
            if record.kind is Kind.SECTION_PART:
                name = f"part[{self._parts}]"
                self._parts += 1
            path = record.path.removesuffix("/header")
            self.stream.sections.append(_Section(name, path, record.offset))

    def _capability(self, record: Record[Any]) -> None:
        name = record.value.capability
        if name in LAYOUTS:
            self.stream.capability, self.stream.capability_offset = name, record.offset

    def stopped_by(self, error: FormatError) -> None:
        self.stream.stopped = error
        if self._list:
            blocks = f"{self._list.path.rpartition('/')[0]}/block["
            in_list = error.path == self._list.path or error.path.startswith(blocks)
            self._list.whole = not in_list


# -- what a loader makes of it --------------------------------------------------------------------


class _Main:
    """The main thread on paper."""

    def __init__(self, stream: _Stream, loader: Loader, channels: int, property_on: bool) -> None:
        self._stream = stream
        self._loader = loader
        self._channels = channels
        self._property_on = property_on
        rules = loader if stream.fixed else _WITH_PACKETS
        self._syncs_at = rules.syncs_property_on if property_on else rules.syncs
        self._syncs_again = rules.syncs_again
        self._takes_flush = rules.takes_flush
        self._calls: list[Call] = []
        self._syncs: list[Sync] = []
        self._hazards: list[Hazard] = []
        self._pending = 0
        self._handed_out_in = ""
        self._over = False

    def run(self) -> Timeline:
        self._begin()
        for section in self._stream.sections:
            events = tuple(self._event(section, met) for met in section.records)
            self._calls.append(Call(section.name, section.path, section.offset, events))
        self._end()
        return Timeline(
            self._loader, self._channels, self._property_on, self._stream.fixed,
            tuple(self._calls), tuple(self._syncs), tuple(self._hazards),
        )  # fmt: skip

    def _begin(self) -> None:
        name = self._stream.capability
        if self._stream.fixed and name not in self._loader.layouts:
            message = f"this loader has no capability {name.decode()!r}: it refuses the image"
            self._tell("capability-refused", message, self._stream.capability_offset)

    def _event(self, section: _Section, met: _Met) -> Event:
        flag = met.kind.value.upper()
        if self._over:
            return Event(met.offset, section.name, met.path, flag, reached=False)
        if met.jobs:
            self._pending += met.jobs
            self._handed_out_in = section.name
        refused = met.kind is Kind.MULTIFD_FLUSH and not self._takes_flush
        syncs = not refused and met.whole and _POINTS.get(met.kind) in self._syncs_at
        action: Literal["sync", "none"] = "sync" if syncs else "none"
        event = Event(
            met.offset, section.name, met.path, flag, action, met.jobs, self._pending, refused
        )
        if refused:
            message = "MULTIFD_FLUSH is an invalid flag with mapped-ram: the load is refused"
            self._tell("flush-refused", message, met.offset)
            self._over = True
        elif syncs:
            self._sync(event)
        return event

    def _sync(self, event: Event) -> None:
        self._syncs.append(Sync(event, self._channels))
        if len(self._syncs) > 1 and not self._syncs_again:
            message = (
                "the channels quit at the first sync and never post sem_sync again:"
                " main waits for ever"
            )
            self._tell("second-sync-hangs", message, event.offset)
            self._over = True
            return
        if self._pending and event.section != self._handed_out_in:
            message = (
                f"the jobs of {self._handed_out_in.upper()} are only waited for in"
                f" {event.section.upper()}: sections that carry nothing decide whether memory is"
                " complete"
            )
            self._tell("sync-depends-on-later-section", message, event.offset)
        self._pending = 0

    def _end(self) -> None:
        stopped = self._stream.stopped
        if self._over:
            return
        if stopped is not None:
            message = f"the stream stops early: {stopped.message}"
            self._tell("incomplete", message, stopped.offset)
        elif self._pending:
            jobs = "1 job" if self._pending == 1 else f"{self._pending} jobs"
            message = (
                f"nobody waits for {jobs}: cleanup can run before the channels have finished"
                " their I/O, and the guest start on memory that is not there yet"
            )
            self._tell("cleanup-before-io", message)

    def _tell(self, kind: str, message: str, offset: int | None = None) -> None:
        self._hazards.append(Hazard(kind, message, offset))
