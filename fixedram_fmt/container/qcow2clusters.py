"""Bytes that a two-level table of clusters maps into a file, as one Source: a qcow2 image's.

Tables are read when a byte that they map is asked for, and a bounded number of them is kept, so
that opening costs nothing whatever the size.  Upstream: QEMU block/qcow2-cluster.c
qcow2_get_host_offset(), block/qcow2-threads.c qcow2_decompress().
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fixedram_fmt.errors import FormatError, SourceError, UnsupportedError
from fixedram_fmt.io.source import Extent, Source
from fixedram_fmt.io.spool import zstd_module
from fixedram_fmt.schema.qcow2 import (
    COMPRESSED,
    L1_OFFSET,
    L2_OFFSET,
    SUBCLUSTERS,
    ZERO,
    CompressionType,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]

__all__ = ["ClusterSource", "Geometry"]

#: What is kept of L2 tables, and of clusters that were unpacked: bytes of each.
_KEPT = 8 << 20
#: What is no host offset.
_ZEROS, _PACKED = -1, -2
#: zlib's window: 4 KiB, and no header (qcow2_zlib_decompress()).
_WINDOW = -12
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a qcow2 image cuts its bytes; base is where it begins in the file."""

    version: int
    cluster_bits: int
    extended: bool = False
    compression: CompressionType = CompressionType.ZLIB
    base: int = 0

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster, and of an L2 table."""
        return 1 << self.cluster_bits

    @property
    def entries(self) -> int:
        """Clusters that an L2 table maps."""
        return self.cluster_size // (16 if self.extended else 8)

    @property
    def units(self) -> int:
        """Parts of a cluster that are mapped apart."""
        return SUBCLUSTERS if self.extended else 1

    @property
    def unit(self) -> int:
        """Bytes of such a part."""
        return self.cluster_size // self.units

    @property
    def table_span(self) -> int:
        """Bytes that an L2 table maps."""
        return self.cluster_size * self.entries


class _Run(NamedTuple):
    """Bytes [start, stop): at host in the file, zeros (_ZEROS), or in a packed cluster (_PACKED).

    skip is where start lies in the packed cluster, entry its L2 entry.
    """

    start: int
    stop: int
    host: int
    entry: int = 0
    skip: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    """An L2 table as runs: first unit of each, host offset of that, and its entry if packed."""

    firsts: NDArray[np.int64]
    hosts: NDArray[np.int64]
    entries: Numbers


class ClusterSource(Source):
    """size bytes from where the first of l1 (entries of an L1 table) begins; owns nothing.

    What is mapped nowhere is a hole.  Raises FormatError where a table is named twice, which would
    make a small file endless.
    """

    def __init__(
        self, source: Source, geometry: Geometry, l1: Numbers, *, name: str, size: int
    ) -> None:
        super().__init__(name=name, size=min(size, len(l1) * geometry.table_span))
        self.file_mode = source.file_mode
        self.geometry = geometry
        self._source = source
        self._tables = (l1 & np.uint64(L1_OFFSET)).astype(np.int64)
        self._check_tables()
        self._table = lru_cache(max(2, _KEPT // geometry.cluster_size))(self._read_table)
        self._unpacked = lru_cache(max(2, _KEPT // geometry.cluster_size))(self._unpack)

    def _check_tables(self) -> None:
        named = self._tables[self._tables != 0]
        if len(np.unique(named)) != len(named):
            raise FormatError(
                "two entries of an L1 table name the same L2 table", code="qcow2-l1",
                path="qcow2/l1", expected="each L2 table once",
            )  # fmt: skip
        wrong = named[(named & (self.geometry.cluster_size - 1)) != 0]
        if len(wrong):
            raise FormatError(
                "an L2 table does not begin at a cluster", code="qcow2-l1", path="qcow2/l1",
                expected=f"a multiple of {self.geometry.cluster_size:#x}", found=f"{wrong[0]:#x}",
            )  # fmt: skip

    @property
    def mapped_end(self) -> int:
        """Where the last cluster ends that is mapped, in bytes; 0 where none is."""
        for index in reversed(np.flatnonzero(self._tables).tolist()):
            table = self._table(index)
            mapped = np.flatnonzero(table.hosts != _ZEROS)
            if len(mapped):
                following = int(mapped[-1]) + 1
                units = self.geometry.table_span // self.geometry.unit
                stop = int(table.firsts[following]) if following < len(table.firsts) else units
                return int(index) * self.geometry.table_span + stop * self.geometry.unit
        return 0

    def resized(self, size: int) -> ClusterSource:
        """The same bytes, more or fewer of them."""
        l1 = self._tables.astype(np.uint64)
        return ClusterSource(self._source, self.geometry, l1, name=self.name, size=size)

    # -- reading

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Run by run."""
        for run in self._runs(offset, offset + target.nbytes):
            view = target[run.start - offset : run.stop - offset]
            if run.host == _ZEROS:
                view[:] = bytes(view.nbytes)
            elif run.host == _PACKED:
                view[:] = self._unpacked(run.entry)[run.skip : run.skip + view.nbytes]
            else:
                self._source.read_into(self._inside(run), view, path)

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """Clusters that are mapped; holes of the file inside them are holes here."""
        pending: Extent | None = None
        for run in self._runs(start, stop):
            for extent in self._extents(run):
                if pending is not None and pending.data is extent.data:
                    pending = pending._replace(stop=extent.stop)
                    continue
                if pending is not None:
                    yield pending
                pending = extent
        if pending is not None:
            yield pending

    def _extents(self, run: _Run) -> Iterator[Extent]:
        if run.host < 0:
            yield Extent(run.start, run.stop, run.host == _PACKED)
            return
        host = self._inside(run)
        move = run.start - host
        for first, last, data in self._source.extents(host, host + run.stop - run.start):
            yield Extent(first + move, last + move, data)

    def _inside(self, run: _Run) -> int:
        """Where a run begins in the file; SourceError where it is not in there."""
        host = run.host + self.geometry.base
        if host + run.stop - run.start > self._source.size:
            raise SourceError(
                "a cluster lies outside the file", offset=host, path="qcow2/l2",
                expected=f"clusters below {self._source.size:#x}",
                found=f"{run.stop - run.start} bytes at {host:#x}",
            )  # fmt: skip
        return host

    # -- where bytes lie

    def _runs(self, start: int, stop: int) -> Iterator[_Run]:
        """What tiles [start, stop)."""
        span = self.geometry.table_span
        while start < stop:
            index = start // span
            end = min(stop, (index + 1) * span)
            if self._tables[index]:
                yield from self._runs_of(index, start, end)
            else:
                following = np.flatnonzero(self._tables[index:])
                skipped = int(following[0]) if len(following) else len(self._tables) - index
                end = min(stop, (index + skipped) * span)
                yield _Run(start, end, _ZEROS)
            start = end

    def _runs_of(self, index: int, start: int, stop: int) -> Iterator[_Run]:
        table, unit = self._table(index), self.geometry.unit
        begin = index * self.geometry.table_span
        number = int(np.searchsorted(table.firsts, (start - begin) // unit, "right")) - 1
        while start < stop:
            first = begin + int(table.firsts[number]) * unit
            number += 1
            end = stop
            if number < len(table.firsts):
                end = min(stop, begin + int(table.firsts[number]) * unit)
            host = int(table.hosts[number - 1])
            if host >= 0:
                yield _Run(start, end, host + start - first)
            else:
                yield _Run(start, end, host, int(table.entries[number - 1]), start - first)
            start = end

    def _read_table(self, index: int) -> _Table:
        offset = int(self._tables[index]) + self.geometry.base
        size = self.geometry.cluster_size
        if offset + size > self._source.size:
            raise SourceError(
                "an L2 table lies outside the file", offset=offset, path=f"qcow2/l1[{index}]",
                expected=f"{size} bytes below {self._source.size:#x}",
            )  # fmt: skip
        data = self._source.read_exact(offset, size, f"qcow2/l1[{index}]")
        words = np.frombuffer(data, ">u8").astype(np.uint64)
        hosts, entries = _units(words, self.geometry)
        before, after = hosts[:-1], hosts[1:]
        joined = (after == before) & (after == _ZEROS)
        joined |= (before >= 0) & (after == before + self.geometry.unit)
        # A packed cluster is a run of its own.
        joined |= (after == _PACKED) & (np.arange(1, len(hosts)) % self.geometry.units != 0)
        firsts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(~joined) + 1))
        return _Table(firsts, hosts[firsts], entries[firsts])

    # -- packed clusters

    def _unpack(self, entry: int) -> bytes:
        """The cluster of an L2 entry that says it is compressed."""
        shift = 62 - (self.geometry.cluster_bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = (entry & (COMPRESSED - 1)) >> shift
        length = (sectors + 1) * _SECTOR - offset % _SECTOR
        packed = self._source.read_upto(offset + self.geometry.base, length)
        size = self.geometry.cluster_size
        try:
            data = _decompress(packed, size, self.geometry.compression)
        except (UnsupportedError, MemoryError):
            raise
        except Exception as error:  # each decompressor has a class of its own
            raise _damaged(offset, str(error)) from error
        if len(data) != size:
            raise _damaged(offset, f"{len(data)} bytes of {size}")
        return data


def _units(words: Numbers, geometry: Geometry) -> tuple[NDArray[np.int64], Numbers]:
    """Host offset (or what there is instead) of each unit, and the entry of those packed."""
    entries, bitmaps = (words[::2], words[1::2]) if geometry.extended else (words, words[:0])
    packed = (entries & np.uint64(COMPRESSED)) != 0
    hosts = (entries & np.uint64(L2_OFFSET)).astype(np.int64)
    if geometry.extended:
        units = np.arange(SUBCLUSTERS)
        allocated = ((bitmaps[:, None] >> units.astype(np.uint64)) & np.uint64(1)) != 0
        spread = hosts[:, None] + units * geometry.unit
        spread = np.where(allocated & (hosts[:, None] != 0), spread, _ZEROS)
        hosts = np.where(packed[:, None], _PACKED, spread).reshape(-1)
        packed, entries = packed.repeat(SUBCLUSTERS), entries.repeat(SUBCLUSTERS)
    else:
        zero = (entries & np.uint64(ZERO)) != 0 if geometry.version > 2 else hosts == 0
        hosts = np.where(packed, _PACKED, np.where(zero | (hosts == 0), _ZEROS, hosts))
    return hosts, np.where(packed, entries, np.uint64(0))


def _decompress(packed: bytes, size: int, compression: CompressionType) -> bytes:
    if compression is CompressionType.ZLIB:
        return zlib.decompressobj(_WINDOW).decompress(packed, size)
    module: Any = zstd_module()
    if module is None:
        raise UnsupportedError(
            "zstd-compressed clusters cannot be read here", path="qcow2/compression_type",
            hint="pip install 'fixedram[zstd]'",
        )  # fmt: skip
    data: bytes = module.ZstdDecompressor().decompress(packed, size)
    return data


def _damaged(offset: int, why: str) -> SourceError:
    return SourceError(
        "a compressed cluster cannot be unpacked", offset=offset, path="qcow2/l2", found=why
    )
