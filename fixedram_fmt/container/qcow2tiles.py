"""Every byte of a qcow2 image and its owner: header, tables, snapshots, and clusters as runs.

Tables of a disk are not walked beyond a limit; what lies in clusters whose tables were not walked
has no owner then, and says so.  Upstream: QEMU docs/interop/qcow2.rst.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fixedram_fmt.container.qcow2 import QcowDisk
from fixedram_fmt.container.wrapper import Part, Place
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema import qcow2
from fixedram_fmt.schema.base import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fixedram_fmt.container.qcow2clusters import ClusterSource
    from fixedram_fmt.container.qcow2snapshots import VmSnapshot

    Rows = NDArray[np.int64]

__all__ = ["Clusters", "Extension", "qcow2_tiles"]

#: Bytes of L2 tables that are walked, those of 128 GiB in clusters of 64 KiB, and runs in them.
_WALKED, _RUNS = 16 << 20, 1 << 20
#: Bytes of tables that name others: the largest L1 table there may be, twice.
_NAMING = 64 << 20
#: Of more snapshots only the table is shown, and of a longer header only so many extensions.
_SNAPSHOTS, _EXTENSIONS = 256, 64
#: QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE, and the mask of the latter's entries.
_L1_CEILING, _REFTABLE_CEILING = 32 << 20, 8 << 20
_REFTABLE_OFFSET = 0xFFFF_FFFF_FFFF_FE00
_NAME_CEILING = 1023
_TOO_MANY = "more tables than are walked here: owners are not known"


@dataclass(frozen=True, slots=True)
class Clusters:
    """A run of clusters: where it begins in what they are of (a state, the disk), in bytes."""

    position: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Extension:
    """A header extension by its name, and the bytes it has."""

    name: str
    data_length: int


class _Claim(NamedTuple):
    """Somebody's bytes in the file; of two that begin together that of the lower rank comes."""

    start: int
    rank: int
    stop: int
    path: str
    value: object = None
    note: str = ""


def qcow2_tiles(place: Place) -> Iterator[Part]:
    """Leaves that tile the image from place on to the end of the file."""
    disk = QcowDisk.at(place)
    walk = _Walk(disk)
    frontier, size = place.offset, place.source.size
    for claim in heapq.merge(*walk.groups(), key=lambda claim: claim[:2]):
        start, stop = max(claim.start, frontier), min(claim.stop, size)
        if stop <= start:
            # A hostile image names the same bytes twice; shared clusters are two disks' as well.
            continue
        yield from _unowned(disk, frontier, start, walk.problem)
        yield Part("container", claim.path, start, stop - start, claim.value, claim.note)
        frontier = stop
    yield from _unowned(disk, frontier, size, walk.problem)


def _unowned(disk: QcowDisk, start: int, stop: int, problem: str) -> Iterator[Part]:
    """The bytes [start, stop): the rest of a cluster whose beginning is somebody's, and others."""
    base, cluster = disk.place.offset, 1 << disk.head.header.cluster_bits
    rest = min(stop, base - (base - start) // cluster * cluster)
    if start < rest:
        path, note = f"qcow2/rest[{start:#x}]", "the rest of a cluster"
        yield Part("container", path, start, rest - start, note=note)
    if rest < stop:
        note = problem or "no table that is known here refers to it"
        yield Part("gap", f"qcow2/unowned[{rest:#x}]", rest, stop - rest, note=note)


class _Walk:
    """Collects the claims on an image; problem says why some may be missing."""

    def __init__(self, disk: QcowDisk) -> None:
        self._disk = disk
        self._source, self._base = disk.place.source, disk.place.offset
        self._cluster = 1 << disk.head.header.cluster_bits
        self._left, self._runs, self._entries_left = _WALKED, _RUNS, _NAMING
        self._seen: set[tuple[object, ...]] = set()
        self.problem = ""

    def groups(self) -> Iterator[Iterator[_Claim]]:
        """Claims in the order of the file: metadata, states, the disk."""
        head, snapshots = self._disk.head.header, self._snapshots()
        yield iter(sorted([*self._header(), *self._entries(snapshots)]))
        yield self._refcounts()
        for number, one in enumerate(snapshots[:_SNAPSHOTS]):
            path = f"qcow2/snapshots[{number}]"
            yield self._tables(2, path, one.l1_table_offset, one.l1_size)
            if one.vm_state_size:
                yield self._clusters(
                    3, f"{path}/state", partial(self._disk.state, one), one.l1_size
                )
        yield self._tables(2, "qcow2/disk", head.l1_table_offset, head.l1_size)
        yield self._clusters(4, "qcow2/disk/content", self._disk.content, head.l1_size)
        if len(snapshots) > _SNAPSHOTS:
            self.problem = f"of {len(snapshots)} snapshots {_SNAPSHOTS} were looked into"

    def _entries(self, snapshots: list[VmSnapshot]) -> Iterator[_Claim]:
        for number, one in enumerate(snapshots):
            path = f"qcow2/snapshots[{number}]/entry"
            yield self._claim(1, path, one.offset - self._base, one.length, one)

    def _claim(
        self, rank: int, path: str, offset: int, length: int, value: object = None, note: str = ""
    ) -> _Claim:
        start = self._base + offset
        return _Claim(start, rank, start + length, path, value, note)

    # -- the header

    def _header(self) -> Iterator[_Claim]:
        head = self._disk.head
        yield self._claim(0, "qcow2/header", 0, qcow2.HEADER.size, head.header)
        length = head.length
        if length > qcow2.HEADER.size:
            size, more = length - qcow2.HEADER.size, head.extension
            yield self._claim(0, "qcow2/header_extension", qcow2.HEADER.size, size, more)
        yield from self._extensions(length)
        size = min(head.header.backing_file_size, _NAME_CEILING)
        if head.header.backing_file_offset and size:
            offset = head.header.backing_file_offset
            name = text(self._source.read_upto(self._base + offset, size))
            yield self._claim(0, "qcow2/backing_file", offset, size, note=name)

    def _extensions(self, offset: int) -> Iterator[_Claim]:
        for number in range(_EXTENSIONS):
            data = self._source.read_upto(self._base + offset, qcow2.EXTENSION_HEADER.size)
            if len(data) < qcow2.EXTENSION_HEADER.size:
                return
            header, size = qcow2.EXTENSION_HEADER.parse(data)
            length = size + -(-header.length // 8) * 8
            if offset + length > self._cluster:
                return
            value = Extension(_extension_name(header.type), header.length)
            yield self._claim(0, f"qcow2/extensions[{number}]", offset, length, value)
            if not header.type:
                return
            offset += length

    # -- tables

    def _refcounts(self) -> Iterator[_Claim]:
        header = self._disk.head.header
        offset, size = header.refcount_table_offset, header.refcount_table_clusters * self._cluster
        table = self._claim(1, "qcow2/refcount_table", offset, min(size, _REFTABLE_CEILING))
        blocks = self._named_by(table, _REFTABLE_OFFSET)
        return heapq.merge(
            [table] if size else [], self._in_rows(1, "qcow2/refcount_block", blocks)
        )

    def _tables(self, rank: int, path: str, offset: int, entries: int) -> Iterator[_Claim]:
        """An L1 table and the L2 tables that it names."""
        length = min(8 * entries, _L1_CEILING)
        table = self._claim(rank, f"{path}/l1", offset, length, note=f"{entries} entries")
        tables = self._named_by(table, qcow2.L1_OFFSET)
        return heapq.merge([table] if entries else [], self._in_rows(rank, f"{path}/l2", tables))

    def _named_by(self, table: _Claim, mask: int) -> Rows:
        """Offsets that the entries of a table have, in their order; none of a table seen before."""
        length = table.stop - table.start
        if table[::2] in self._seen or not self._may_read(length):
            return np.zeros(0, np.int64)
        self._seen.add(table[::2])
        data = self._source.read_upto(table.start, length)
        words: Rows = np.frombuffer(data[: len(data) // 8 * 8], ">i8").astype(np.int64)
        del data
        words &= mask - (1 << 64) if mask >> 63 else mask
        words = words[(words > 0) & (words < self._source.size)]
        words.sort()
        return words

    def _may_read(self, length: int) -> bool:
        """Whether a table that names others is read, too: many snapshots may name a long one."""
        self._entries_left -= length
        if self._entries_left < 0:
            self.problem = _TOO_MANY
        return self._entries_left >= 0

    def _in_rows(self, rank: int, path: str, places: Rows) -> Iterator[_Claim]:
        """Clusters at places, which are in order, those in a row as one."""
        begins = np.ones(len(places), bool)
        begins[1:] = places[1:] > places[:-1] + self._cluster
        firsts = np.flatnonzero(begins)
        for number, first in enumerate(firsts.tolist()):
            last = int(firsts[number + 1]) if number + 1 < len(firsts) else len(places)
            length = int(places[last - 1] - places[first]) + self._cluster
            note = f"{length // self._cluster} tables"
            start = int(places[first])
            yield self._claim(rank, f"{path}[{number}]", start, length, note=note)

    def _snapshots(self) -> list[VmSnapshot]:
        try:
            return self._disk.snapshots
        except FixedRamError as error:
            self.problem = error.message
            return []

    # -- clusters

    def _clusters(
        self, rank: int, path: str, opened: Callable[[], ClusterSource], entries: int
    ) -> Iterator[_Claim]:
        """Where the bytes of a source lie, as runs: in a row in the file, and in it."""
        rows = [np.zeros((0, 3), np.int64)]
        try:
            if not self._may_read(8 * entries):
                return
            source = opened()
            tables = self._left // source.geometry.cluster_size
            if source.tables > tables:
                self.problem = _TOO_MANY
            for number in source.piece_numbers(tables):
                if self._runs <= 0:
                    self.problem = _TOO_MANY
                    break
                rows.append(source.placed(number))
                self._runs -= len(rows[-1])
            self._left -= min(tables, source.tables) * source.geometry.cluster_size
        except FixedRamError as error:
            self.problem = error.message
        joined = enumerate(_joined(np.concatenate(rows)))
        rows.clear()
        for number, (position, host, length) in joined:
            value = Clusters(position, length)
            yield _Claim(host, rank, host + length, f"{path}[{number}]", value)


def _joined(rows: Rows) -> Iterator[tuple[int, int, int]]:
    """Rows of ClusterSource.placed() in the order of the file, those that follow on as one."""
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    if not len(rows):
        return
    positions, hosts, lengths = rows.T
    follows = (positions[1:] == positions[:-1] + lengths[:-1]) & (
        hosts[1:] == hosts[:-1] + lengths[:-1]
    )
    firsts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(~follows) + 1))
    totals = np.add.reduceat(lengths, firsts)
    for first, total in zip(firsts.tolist(), totals.tolist(), strict=True):
        yield int(positions[first]), int(hosts[first]), int(total)


def _extension_name(number: int) -> str:
    try:
        return qcow2.ExtensionType(number).name.lower()
    except ValueError:
        return f"{number:#x}"
