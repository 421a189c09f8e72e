"""The snapshot table of a qcow2 image.

Upstream: QEMU block/qcow2-snapshot.c qcow2_do_read_snapshots().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import qcow2
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.container.wrapper import Place

__all__ = ["VmSnapshot", "snapshots_of"]

#: QEMU's own limits: QCOW_MAX_SNAPSHOTS, QCOW_MAX_SNAPSHOTS_SIZE, QCOW_MAX_SNAPSHOT_EXTRA_DATA.
_SNAPSHOTS_CEILING = 65536
_TABLE_CEILING = 1024 * _SNAPSHOTS_CEILING
_EXTRA_CEILING = 1024
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class VmSnapshot:
    """A snapshot as its entry has it; offset is that of the entry in the file.

    id and name are as the file has them.  date is in seconds since 1970 with date_nsec, vm_clock in
    nanoseconds.  disk_size (bytes) decides where the state lies; None: that of the header does.
    """

    id: str
    name: str
    date: int
    date_nsec: int
    vm_clock: int
    vm_state_size: int
    disk_size: int | None
    l1_table_offset: int
    l1_size: int
    offset: int
    length: int


def snapshots_of(place: Place, header: qcow2.Header) -> Iterator[VmSnapshot]:
    """The snapshots of the image at place, in the order of its table."""
    if header.nb_snapshots > _SNAPSHOTS_CEILING:
        raise FormatError(
            "the header names too many snapshots", code="qcow2-snapshots",
            offset=place.offset + 60, path="qcow2/header/nb_snapshots",
            expected=f"at most {_SNAPSHOTS_CEILING}", found=str(header.nb_snapshots),
        )  # fmt: skip
    start = position = place.offset + header.snapshots_offset
    for number in range(header.nb_snapshots):
        snapshot = _snapshot_at(place, position, f"qcow2/snapshots[{number}]")
        yield snapshot
        position += -(-snapshot.length // _ALIGNMENT) * _ALIGNMENT
        if position - start > _TABLE_CEILING:
            raise FormatError(
                "the snapshot table is too long", code="qcow2-snapshots", offset=start,
                path="qcow2/snapshots", expected=f"at most {_TABLE_CEILING} bytes",
            )  # fmt: skip


def _snapshot_at(place: Place, position: int, path: str) -> VmSnapshot:
    source = place.source
    head, length = qcow2.SNAPSHOT.parse(
        source.read_upto(position, qcow2.SNAPSHOT.size), offset=position, path=path
    )
    if head.extra_data_size > _EXTRA_CEILING:
        raise FormatError(
            "a snapshot has too much extra data", code="qcow2-snapshots", offset=position + 36,
            path=f"{path}/extra_data_size", expected=f"at most {_EXTRA_CEILING} bytes",
            found=str(head.extra_data_size),
        )  # fmt: skip
    more = head.extra_data_size + head.id_str_size + head.name_size
    data = source.read_upto(position + length, more)
    if len(data) < more:
        raise FormatError(
            "the snapshot table ends early", code="qcow2-snapshots", offset=position, path=path,
            expected=f"{length + more} bytes", found=str(length + len(data)),
        )  # fmt: skip
    size, disk_size = _extra(head, data[: head.extra_data_size])
    names = data[head.extra_data_size :]
    return VmSnapshot(
        id=text(names[: head.id_str_size]),
        name=text(names[head.id_str_size :]),
        date=head.date_sec,
        date_nsec=head.date_nsec,
        vm_clock=head.vm_clock_nsec,
        vm_state_size=size,
        disk_size=disk_size,
        l1_table_offset=head.l1_table_offset,
        l1_size=head.l1_size,
        offset=position,
        length=length + more,
    )


def _extra(head: qcow2.Snapshot, data: bytes) -> tuple[int, int | None]:
    """vm_state_size and disk_size; the extra data may have the first of them alone, or none."""
    whole = data.ljust(qcow2.SNAPSHOT_EXTRA.size, b"\0")
    extra, _ = qcow2.SNAPSHOT_EXTRA.parse(whole)
    size = extra.vm_state_size_large if len(data) >= 8 else head.vm_state_size
    return size, extra.disk_size if len(data) >= 16 else None
