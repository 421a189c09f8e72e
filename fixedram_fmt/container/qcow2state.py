"""A VM's state in a qcow2 image, as a container of the stream: `disk.qcow2#NAME`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fixedram_fmt.container.bare import stream_at
from fixedram_fmt.container.described import QcowSummary
from fixedram_fmt.container.qcow2 import QcowDisk, named_briefly
from fixedram_fmt.container.wrapper import Place, Recognized
from fixedram_fmt.errors import FixedRamError, SourceError, UnsupportedError
from fixedram_fmt.schema.qcow2 import MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from fixedram_fmt.container.qcow2snapshots import VmSnapshot
    from fixedram_fmt.container.wrapper import Part
    from fixedram_fmt.io.unpacking import UnpackBudget

__all__ = ["QcowState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QcowState(Recognized):
    """The state that a snapshot has; None: the disk's own content is the stream.

    Volumes that Proxmox writes a state into are of the second kind.
    """

    disk: QcowDisk
    snapshot: VmSnapshot | None

    kind: ClassVar[str] = "qcow2"
    holds_stream: ClassVar[bool] = True
    holds_more: ClassVar[bool] = True
    has_names: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """By its magic."""
        return head.startswith(MAGIC)

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Self:
        """The state of the snapshot that place names."""
        del budget
        disk = QcowDisk.at(place)
        name = place.name
        if name is None:
            return cls(outer=place, inner=_content(disk), disk=disk, snapshot=None)
        snapshot = disk.snapshot(name)
        if not snapshot.vm_state_size:
            raise SourceError(
                f"snapshot {name!r} is of the disk alone: it has no state of a VM",
                offset=snapshot.offset, path=f"qcow2/snapshots[{snapshot.id}]",
                hint="savevm puts the state into one of the VM's disks: look in the others",
            )  # fmt: skip
        return cls(outer=place, inner=Place(disk.state(snapshot), 0), disk=disk, snapshot=snapshot)

    @classmethod
    def tiles(cls, place: Place) -> Iterator[Part]:
        """Header, tables, snapshots and clusters."""
        from fixedram_fmt.container.qcow2tiles import qcow2_tiles

        return qcow2_tiles(place)

    def describe(self) -> dict[str, Any]:
        """Version, cluster size and the snapshot."""
        one = self.snapshot
        summary = QcowSummary(
            version=self.disk.head.header.version,
            cluster_size=1 << self.disk.head.header.cluster_bits,
            snapshot_id=one.id if one else None,
            snapshot_name=one.name if one else None,
            vm_state_size=one.vm_state_size if one else None,
        )
        return {"qcow2": summary}


def _content(disk: QcowDisk) -> Place:
    """The disk's content where that is a stream; UnsupportedError where it is a disk's."""
    try:
        inner = Place(disk.content(), 0)
        found = stream_at(inner)
    except FixedRamError:
        # A disk whose own tables are damaged may have snapshots that are not.
        if disk.with_state:
            raise _no_name(disk) from None
        raise
    if not found:
        raise _no_name(disk)
    if disk.head.header.backing_file_offset:
        raise UnsupportedError(
            "a stream in a qcow2 image that has a backing file", offset=disk.place.offset + 8,
            path="qcow2/header/backing_file_offset",
            hint="what is not in this file would be missing; qemu-img convert makes it one file",
        )  # fmt: skip
    return inner


def _no_name(disk: QcowDisk) -> UnsupportedError:
    states = disk.with_state
    if not states:
        return UnsupportedError(
            "this is a qcow2 disk image, and no snapshot in it has the state of a VM",
            offset=disk.place.offset, path="qcow2/snapshots",
            found=f"{len(disk.snapshots)} snapshots",
        )  # fmt: skip
    names = named_briefly(states)
    path = disk.place.source.name
    path = path if os.path.lexists(path) else "PATH"
    count = "a state of a VM" if len(states) == 1 else f"{len(states)} states of VMs"
    return UnsupportedError(
        f"this is a qcow2 disk image with {count} in it: {names}",
        offset=disk.place.offset, path="qcow2/snapshots",
        hint=f"name one, as in {path}#{disk.handle(states[0])}; fixedram snapshots lists them",
    )  # fmt: skip
