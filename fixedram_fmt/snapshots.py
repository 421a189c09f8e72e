"""The snapshots of a qcow2 image, and what the states of VMs in them are."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fixedram_fmt.container.compressed import Compressed
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.container.opening import name_of, open_source
from fixedram_fmt.container.qcow2 import QcowDisk
from fixedram_fmt.container.qcow2state import QcowState
from fixedram_fmt.container.registry import HEAD, wrapper_of
from fixedram_fmt.container.wrapper import Place
from fixedram_fmt.dialect import ORDINARY
from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.facts import ImageFacts
from fixedram_fmt.io.source import Source
from fixedram_fmt.io.unpacking import UnpackBudget
from fixedram_fmt.results import Result, Unsigned

if TYPE_CHECKING:
    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.container.qcow2snapshots import VmSnapshot

__all__ = ["SnapshotInfo", "SnapshotList", "list_snapshots"]

#: Of more snapshots the states are not looked at, and none once so many bytes were read: those, and
#: so many times the file, of whose clusters states of different snapshots share none.
_LOOKED_AT = 1000
_READ, _READ_RATIO = 64 << 20, 2
_NANOSECONDS = 1_000_000_000


class SnapshotInfo(Result, frozen=True):
    """A snapshot: date in UTC (ISO 8601), vm_clock in seconds of the guest, vm_state_size in bytes.

    kind is `stream` (an ordinary one), `mapped-ram` (or another fixed layout), `disk` where there
    is no state of a VM, `unreadable` where problem says why, `unread` where it was not looked at
    because there are too many; complete: the state reaches its end, None where that is not known.
    """

    id: str
    name: str
    date: str
    vm_clock: float
    vm_state_size: Unsigned
    kind: str
    machine: str | None = None
    complete: bool | None = None
    problem: str | None = None


class SnapshotList(Result, frozen=True):
    """What `fixedram snapshots` tells of the file at path."""

    path: str
    snapshots: tuple[SnapshotInfo, ...]


def list_snapshots(location: Location) -> SnapshotList:
    """The snapshots of a qcow2 image, in the order of its table; of `PATH#NAME` that one.

    Raises UnsupportedError for what is no qcow2 image, FormatError where its tables cannot be,
    SourceError where there is none of that name.
    """
    file, name = location, None
    if isinstance(location, str):
        file, _, name = split_location(location)
    with ExitStack() as opened:
        source = file if isinstance(file, Source) else open_source(file)
        if source is not file:
            opened.enter_context(source)
        disk = _disk(Place(source, 0), opened)
        left = _READ + _READ_RATIO * min(source.size, source.disk_size or source.size)
        found = []
        wanted = disk.snapshots if name is None else [disk.snapshot(name)]
        for number, one in enumerate(wanted):
            told, spent = _described(disk, one, looked_at=number < _LOOKED_AT and left > 0)
            found.append(told)
            left -= spent
    return SnapshotList(name_of(location), tuple(found))


def _disk(place: Place, opened: ExitStack) -> QcowDisk:
    wrapper = wrapper_of(place.source.read_upto(0, HEAD))
    if wrapper is Compressed:
        unpacked = Compressed.open(place, UnpackBudget.of(place.source.size))
        place = Place(opened.enter_context(unpacked.inner.source), 0)
        wrapper = wrapper_of(place.source.read_upto(0, HEAD))
    if wrapper is not QcowState:
        raise UnsupportedError(
            "this is no qcow2 image, which alone has snapshots", offset=0,
            hint="`fixedram info` says what it is",
        )  # fmt: skip
    return QcowDisk.at(place)


def _described(disk: QcowDisk, one: VmSnapshot, *, looked_at: bool) -> tuple[SnapshotInfo, int]:
    """What a snapshot is, and the bytes that were read for that."""
    spent = 0
    kind, machine, complete, problem = "disk", None, None, None
    if one.vm_state_size and not looked_at:
        kind = "unread"
    elif one.vm_state_size:
        try:
            state = disk.state(one)
            try:
                with ImageFacts.open(state) as image:
                    kind = "stream" if image.dialect == ORDINARY else image.dialect
                    machine, complete = image.machine, image.complete
            finally:
                spent = state.bytes_read
        except FixedRamError as error:
            kind, problem = "unreadable", str(error)
    info = SnapshotInfo(
        id=one.id,
        name=one.name,
        date=_date(one),
        vm_clock=one.vm_clock / _NANOSECONDS,
        vm_state_size=one.vm_state_size,
        kind=kind,
        machine=machine,
        complete=complete,
        problem=problem,
    )
    return info, spent


def _date(one: VmSnapshot) -> str:
    """date_sec has 32 bits without a sign: up to 2106."""
    return datetime.fromtimestamp(one.date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
