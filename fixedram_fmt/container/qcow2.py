"""A qcow2 disk image: the states of VMs that its snapshots keep, each read in place.

`savevm` and `virsh snapshot-create` put a VM's state after the disk's last byte and map it by the
snapshot's own L1 table.  Upstream: QEMU block/qcow2-snapshot.c, qcow2_vm_state_offset() of
block/qcow2.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.container.qcow2snapshots import VmSnapshot, snapshots_of
from fixedram_fmt.errors import FormatError, SourceError, UnsupportedError
from fixedram_fmt.schema import qcow2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.container.qcow2clusters import ClusterSource
    from fixedram_fmt.container.qcow2tables import Geometry
    from fixedram_fmt.container.wrapper import Place

__all__ = ["QcowDisk", "named_briefly"]

#: QEMU's own limits: MIN_CLUSTER_BITS, MAX_CLUSTER_BITS, QCOW_MAX_L1_SIZE, and the versions it has.
_CLUSTER_BITS = range(9, 22)
_L1_CEILING = 32 << 20
_VERSIONS = (2, 3)
_CRYPT_METHODS = {1: "AES", 2: "LUKS"}
#: Of the snapshots that a message names: how many, and characters of a name.
_NAMED, _NAME = 8, 60


class _Head(NamedTuple):
    header: qcow2.Header
    features: qcow2.IncompatibleFeature
    compression: qcow2.CompressionType
    extension: qcow2.HeaderExtension | None

    @property
    def length(self) -> int:
        """Bytes of the header, which has a cluster at most."""
        told = self.extension.header_length if self.extension else qcow2.HEADER.size
        return min(told, 1 << self.header.cluster_bits)


@dataclass(frozen=True)
class QcowDisk:
    """The image that begins at place: its header, and the snapshots in it."""

    place: Place
    head: _Head

    @classmethod
    def at(cls, place: Place) -> QcowDisk:
        """Read the header.

        Raises FormatError where QEMU would not open it, UnsupportedError for LUKS and for data in
        another file.
        """
        head = _head_of(place)
        _check(place, head)
        return cls(place, head)

    @cached_property
    def snapshots(self) -> list[VmSnapshot]:
        """All snapshots, those without a VM's state too."""
        return list(snapshots_of(self.place, self.head.header))

    @property
    def with_state(self) -> list[VmSnapshot]:
        """Those that have the state of a VM."""
        return [one for one in self.snapshots if one.vm_state_size]

    def snapshot(self, name: str) -> VmSnapshot:
        """The snapshot of that name, or else of that id; FormatError where that is not one."""
        named = [one for one in self.snapshots if one.name == name]
        found = named or [one for one in self.snapshots if one.id == name]
        if len(found) == 1:
            return found[0]
        shown = repr(name[:_NAME])
        if found:
            raise SourceError(
                f"{shown} is several snapshots", path="qcow2/snapshots",
                expected="the id of one: " + ", ".join(one.id[:_NAME] for one in found[:_NAMED]),
                found=shown,
            )  # fmt: skip
        raise SourceError(
            f"there is no snapshot {shown}", path="qcow2/snapshots",
            expected=named_briefly(self.snapshots) or "no snapshot at all", found=shown,
            hint="fixedram snapshots FILE lists them",
        )  # fmt: skip

    def taken_by_loadvm(self, name: str) -> VmSnapshot:
        """The snapshot that QEMU goes to where one has that name: an id is looked for first.

        Upstream: block/qcow2-snapshot.c find_snapshot_by_id_or_name().
        """
        by_id = (one for one in self.snapshots if one.id == name)
        return next(by_id, None) or next(one for one in self.snapshots if one.name == name)

    def handle(self, snapshot: VmSnapshot) -> str:
        """What names it in `PATH#NAME`: its name, or its id where that is too long or shared."""
        name = snapshot.name
        alone = sum(one.name == name for one in self.snapshots) == 1
        return name if alone and 0 < len(name) <= _NAME else snapshot.id

    def state(self, snapshot: VmSnapshot) -> ClusterSource:
        """The bytes of a snapshot's VM state.

        vm_state_size may be too small (QEMU 11 counts what it wrote in a row, and mapped-ram does
        not write so): what is mapped after it is there too.
        """
        geometry = self._geometry()
        disk_size = self.head.header.size if snapshot.disk_size is None else snapshot.disk_size
        first = -(-disk_size // geometry.table_span)
        where = f"qcow2/snapshots[{snapshot.id}]"
        source = self._mapped(snapshot.l1_table_offset, first, snapshot.l1_size, where)
        source.name += f"#{self.handle(snapshot)}"
        cluster = geometry.cluster_size
        size = -(-snapshot.vm_state_size // cluster) * cluster
        end = source.mapped_end
        return source.resized(end if end > size else snapshot.vm_state_size)

    def content(self) -> ClusterSource:
        """The bytes of the disk itself."""
        header = self.head.header
        whole = self._mapped(header.l1_table_offset, 0, header.l1_size, "qcow2/l1")
        return whole.resized(header.size)

    def _geometry(self) -> Geometry:
        from fixedram_fmt.container.qcow2tables import Geometry

        extended = bool(self.head.features & qcow2.IncompatibleFeature.EXTL2)
        header = self.head.header
        return Geometry(
            header.version, header.cluster_bits, extended, self.head.compression, self.place.offset
        )

    def _mapped(self, offset: int, first: int, size: int, path: str) -> ClusterSource:
        """What entries [first, size) of the L1 table at offset map."""
        from fixedram_fmt.container.qcow2clusters import ClusterSource, L1Table

        if 8 * size > _L1_CEILING:
            raise FormatError(
                "an L1 table is too long", code="qcow2-l1", offset=offset, path=path,
                expected=f"at most {_L1_CEILING // 8} entries", found=str(size),
            )  # fmt: skip
        source, geometry = self.place.source, self._geometry()
        count = max(0, size - first)
        start = self.place.offset + offset + 8 * first
        if start + 8 * count > source.size:
            raise FormatError(
                "an L1 table reaches past the end of the file", code="qcow2-l1", offset=start,
                path=path, expected=f"{8 * count} bytes below {source.size:#x}",
            )  # fmt: skip
        l1 = L1Table(source.read_exact(start, 8 * count, path), geometry)
        return ClusterSource(
            source, geometry, l1, name=source.name, size=count * geometry.table_span
        )


def named_briefly(snapshots: Sequence[VmSnapshot]) -> str:
    """The first of them by name, for a message; a name may have 64 KiB."""
    names = [repr(one.name[:_NAME]) for one in snapshots[:_NAMED]]
    return ", ".join([*names, "..."] if len(snapshots) > _NAMED else names)


def _head_of(place: Place) -> _Head:
    source, offset = place.source, place.offset
    header, length = qcow2.HEADER.parse(
        source.read_upto(offset, qcow2.HEADER.size), offset=offset, path="qcow2/header"
    )
    features, compression, more = qcow2.IncompatibleFeature(0), 0, None
    if header.version > 2:
        more, read = qcow2.HEADER_EXTENSION.parse(
            source.read_upto(offset + length, qcow2.HEADER_EXTENSION.size),
            offset=offset + length, path="qcow2/header",
        )  # fmt: skip
        length += read
        features = qcow2.IncompatibleFeature(more.incompatible_features)
        if more.header_length > length:
            kind, read = qcow2.COMPRESSION_TYPE.parse(
                source.read_upto(offset + length, 1), offset=offset + length, path="qcow2/header"
            )
            length, compression = length + read, kind.compression_type
    try:
        return _Head(header, features, qcow2.CompressionType(compression), more)
    except ValueError as error:
        raise UnsupportedError(
            "compressed clusters of an unknown type", offset=offset + length - 1,
            path="qcow2/header/compression_type", found=str(compression),
        ) from error  # fmt: skip


def _check(place: Place, head: _Head) -> None:
    header, features, offset = head.header, head.features, place.offset
    if header.version not in _VERSIONS:
        raise UnsupportedError(
            "a version of qcow2 that is not known", offset=offset + 4, path="qcow2/header/version",
            expected="2 or 3", found=str(header.version),
        )  # fmt: skip
    if header.cluster_bits not in _CLUSTER_BITS:
        raise FormatError(
            "clusters of a size that QEMU refuses", code="qcow2-header", offset=offset + 20,
            path="qcow2/header/cluster_bits",
            expected=f"{_CLUSTER_BITS.start} to {_CLUSTER_BITS.stop - 1}",
            found=str(header.cluster_bits),
        )  # fmt: skip
    if header.crypt_method:
        name = _CRYPT_METHODS.get(header.crypt_method, f"method {header.crypt_method}")
        raise UnsupportedError(
            f"the image is encrypted ({name})", offset=offset + 32,
            path="qcow2/header/crypt_method",
            hint="`qemu-img convert --image-opts` with its secret makes one that is not; snapshots"
            " do not come with it, QEMU itself loads them",
        )  # fmt: skip
    unknown = int(features) & ~sum(qcow2.IncompatibleFeature)
    if features & qcow2.IncompatibleFeature.DATA_FILE or unknown:
        what = f"unknown features {unknown:#x}" if unknown else "its data in another file"
        raise UnsupportedError(
            f"the image has {what}", offset=offset + 72,
            path="qcow2/header/incompatible_features", found=f"{int(features):#x}",
        )  # fmt: skip
