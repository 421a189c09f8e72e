"""Bytes that a two-level table of clusters maps into a file, as one Source: a qcow2 image's.

Tables are read when a byte that they map is asked for, and a bounded number of pieces of them is
kept, so that opening costs nothing whatever the size.  Upstream: QEMU block/qcow2-threads.c
qcow2_decompress().
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from fixedram_fmt.container.qcow2tables import PACKED, ZEROS, Geometry, Piece, piece_of
from fixedram_fmt.errors import FormatError, SourceError, UnsupportedError
from fixedram_fmt.io.source import Extent, Source, joined
from fixedram_fmt.io.spool import zstd_module
from fixedram_fmt.schema.qcow2 import COMPRESSED, L1_OFFSET, CompressionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["ClusterSource", "L1Table"]

T = TypeVar("T")

#: What is kept of L2 tables, and of clusters that were unpacked: bytes of memory for each.
_KEPT = 8 << 20
#: Empty L2 tables after the last that maps something, which a shorter state leaves; no more of
#: them are looked at.
_EMPTY_TABLES = 1 << 14
#: To ask where the holes of a file are costs as much as to read so many bytes.
_LOOK = 1 << 14
#: zlib's window: 4 KiB, and no header (qcow2_zlib_decompress()).
_WINDOW = -12
_SECTOR = 512


class L1Table:
    """Where the L2 tables lie that entries of an L1 table name; 0 where there is none."""

    def __init__(self, data: bytes, geometry: Geometry) -> None:
        """Raises FormatError where one is named twice, which would make a small file endless."""
        self.offsets: NDArray[np.int64] = np.frombuffer(data, ">i8").astype(np.int64)
        del data
        self.offsets &= L1_OFFSET
        #: Indexes of those there are.
        self.named = np.flatnonzero(self.offsets)
        named = self.offsets[self.named]
        if int(np.bitwise_or.reduce(named, initial=0)) & (geometry.cluster_size - 1):
            raise FormatError(
                "an L2 table does not begin at a cluster", code="qcow2-l1", path="qcow2/l1",
                expected=f"multiples of {geometry.cluster_size:#x}",
            )  # fmt: skip
        named.sort()
        if np.any(named[1:] == named[:-1]):
            raise FormatError(
                "two entries of an L1 table name the same L2 table", code="qcow2-l1",
                path="qcow2/l1", expected="each L2 table once",
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.offsets)

    def following(self, index: int) -> int:
        """The first from index on that there is; len() of the table where there is none."""
        place = int(np.searchsorted(self.named, index))
        return int(self.named[place]) if place < len(self.named) else len(self)


class _Kept(Generic[T]):
    """What was read last, by number; unlike lru_cache it makes no cycle with who reads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[int, T] = OrderedDict()

    def get(self, number: int, read: Callable[[int], T]) -> T:
        """What read(number) gives, or gave."""
        if number in self._found:
            self._found.move_to_end(number)
            return self._found[number]
        found = self._found[number] = read(number)
        if len(self._found) > self._most:
            self._found.popitem(last=False)
        return found


class _Run(NamedTuple):
    """Bytes [start, stop): at host in the file, zeros (ZEROS), or in a packed cluster (PACKED).

    skip is where start lies in the packed cluster, entry its L2 entry.
    """

    start: int
    stop: int
    host: int
    entry: int = 0
    skip: int = 0


class ClusterSource(Source):
    """size bytes from where the first entry of l1 begins; owns nothing.

    What is mapped nowhere is a hole.  Raises FormatError where more clusters are mapped than the
    file has: QEMU maps none twice, and a small file would be endless.
    """

    def __init__(
        self, source: Source, geometry: Geometry, l1: L1Table, *, name: str, size: int
    ) -> None:
        super().__init__(name=name, size=min(size, len(l1) * geometry.table_span))
        self.file_mode = source.file_mode
        self.geometry = geometry
        #: What reading has cost: bytes that were filled in, bytes of tables, questions for holes.
        self.bytes_read = 8 * len(l1)
        self._source = source
        self._l1 = l1
        self._pieces: _Kept[Piece] = _Kept(max(4, _KEPT // geometry.piece_cost))
        self._clusters: _Kept[bytes] = _Kept(max(2, _KEPT // geometry.cluster_size))
        self._claimed = 0
        #: A bit for each piece whose claim was counted; no memory is used for what is not touched.
        self._counted = np.zeros(-(-len(l1) * geometry.pieces // 8), np.uint8)

    @property
    def mapped_end(self) -> int:
        """Where the last cluster ends that is mapped, in bytes; 0 where none is near the end."""
        geometry = self.geometry
        for index in self._l1.named[: -_EMPTY_TABLES - 1 : -1].tolist():
            if self._is_hole(index):
                continue
            for part in reversed(range(geometry.pieces)):
                number = index * geometry.pieces + part
                piece = self._pieces.get(number, self._read_piece)
                mapped = np.flatnonzero(piece.hosts != ZEROS)
                if len(mapped):
                    following = int(mapped[-1]) + 1
                    units = geometry.piece_span // geometry.unit
                    stop = int(piece.firsts[following]) if following < len(piece.firsts) else units
                    return int(number * geometry.piece_span + stop * geometry.unit)
        return 0

    def resized(self, size: int) -> ClusterSource:
        """The same bytes, more or fewer of them."""
        made = ClusterSource(self._source, self.geometry, self._l1, name=self.name, size=size)
        made.bytes_read = self.bytes_read
        return made

    # -- reading

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Run by run."""
        self.bytes_read += target.nbytes
        for run in self._runs(offset, offset + target.nbytes):
            view = target[run.start - offset : run.stop - offset]
            if run.host == ZEROS:
                view[:] = bytes(view.nbytes)
            elif run.host == PACKED:
                view[:] = self._clusters.get(run.entry, self._unpack)[
                    run.skip : run.skip + view.nbytes
                ]
            else:
                self._source.read_into(self._inside(run), view, path)

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """Clusters that are mapped; holes of the file inside them are holes here."""
        return joined(chain.from_iterable(map(self._extents, self._runs(start, stop))))

    def _extents(self, run: _Run) -> Iterator[Extent]:
        if run.host < 0:
            yield Extent(run.start, run.stop, run.host == PACKED)
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

    @property
    def tables(self) -> int:
        """L2 tables that there are."""
        return len(self._l1.named)

    def piece_numbers(self, tables: int) -> Iterator[int]:
        """Pieces of so many L2 tables, for placed(); not those in holes of the file."""
        for index in self._l1.named[:tables].tolist():
            if not self._is_hole(index):
                yield from range(index * self.geometry.pieces, (index + 1) * self.geometry.pieces)

    def placed(self, number: int) -> NDArray[np.int64]:
        """What a piece maps, a row a run: where it begins here, where in the file, its length.

        Of a compressed cluster the length is that of the sectors which it lies in.
        """
        geometry, piece = self.geometry, self._pieces.get(number, self._read_piece)
        units = geometry.piece_span // geometry.unit
        lengths = np.diff(piece.firsts, append=units) * geometry.unit
        hosts = piece.hosts.copy()
        packed = hosts == PACKED
        offsets, sizes = _packed_places(piece.entries[packed], geometry)
        hosts[packed], lengths[packed] = offsets, sizes
        starts = piece.firsts * geometry.unit + number * geometry.piece_span
        mapped = hosts >= 0
        return np.stack((starts, hosts + geometry.base, lengths), axis=1)[mapped]

    def _runs(self, start: int, stop: int) -> Iterator[_Run]:
        """What tiles [start, stop)."""
        span = self.geometry.table_span
        while start < stop:
            index = start // span
            end = min(stop, (index + 1) * span)
            if not self._l1.offsets[index]:
                end = min(stop, self._l1.following(index) * span)
                yield _Run(start, end, ZEROS)
            elif end - start > self.geometry.piece_span and self._is_hole(index):
                yield _Run(start, end, ZEROS)
            else:
                end = min(end, (start // self.geometry.piece_span + 1) * self.geometry.piece_span)
                yield from self._runs_of_piece(start, end)
            start = end

    def _runs_of_piece(self, start: int, stop: int) -> Iterator[_Run]:
        """What tiles [start, stop), which one piece maps."""
        unit = self.geometry.unit
        number = start // self.geometry.piece_span
        piece, begin = self._pieces.get(number, self._read_piece), number * self.geometry.piece_span
        index = int(np.searchsorted(piece.firsts, (start - begin) // unit, "right")) - 1
        while start < stop:
            first = begin + int(piece.firsts[index]) * unit
            host, entry = int(piece.hosts[index]), int(piece.entries[index])
            index += 1
            end = stop
            if index < len(piece.firsts):
                end = min(stop, begin + int(piece.firsts[index]) * unit)
            if host >= 0:
                yield _Run(start, end, host + start - first)
            else:
                yield _Run(start, end, host, entry, start - first)
            start = end

    def _is_hole(self, index: int) -> bool:
        """Whether an L2 table lies in a hole of the file, and so maps nothing."""
        offset = int(self._l1.offsets[index]) + self.geometry.base
        stop = offset + self.geometry.cluster_size
        if stop > self._source.size:
            return False
        self.bytes_read += _LOOK
        return not any(extent.data for extent in self._source.extents(offset, stop))

    def _read_piece(self, number: int) -> Piece:
        index, part = divmod(number, self.geometry.pieces)
        size, path = self.geometry.piece_size, f"qcow2/l1[{index}]"
        offset = int(self._l1.offsets[index]) + self.geometry.base + part * size
        if offset + size > self._source.size:
            raise SourceError(
                "an L2 table lies outside the file", offset=offset, path=path,
                expected=f"{size} bytes below {self._source.size:#x}",
            )  # fmt: skip
        self.bytes_read += size
        piece = piece_of(self._source.read_exact(offset, size, path), self.geometry)
        byte, bit = number >> 3, 1 << (number & 7)
        if piece.claimed and not self._counted[byte] & bit:
            self._counted[byte] |= bit
            self._claim(piece.claimed, offset, path)
        return piece

    def _claim(self, claimed: int, offset: int, path: str) -> None:
        """Count what a piece maps."""
        self._claimed += claimed
        room = self._source.size - self.geometry.base + self.geometry.cluster_size
        if self._claimed > room:
            raise FormatError(
                "more clusters are mapped than the file has", code="qcow2-l1", offset=offset,
                path=path, expected=f"at most {room} bytes", found=f"{self._claimed} so far",
            )  # fmt: skip

    # -- packed clusters

    def _unpack(self, entry: int) -> bytes:
        """The cluster of an L2 entry that says it is compressed."""
        offsets, lengths = _packed_places(np.array([entry], np.uint64), self.geometry)
        offset, length = int(offsets[0]), int(lengths[0])
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


def _packed_places(
    entries: NDArray[np.uint64], geometry: Geometry
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the compressed clusters of L2 entries begin in the image, and how long they may be."""
    shift = 62 - (geometry.cluster_bits - 8)
    offsets = (entries & np.uint64((1 << shift) - 1)).astype(np.int64)
    sectors = ((entries & np.uint64(COMPRESSED - 1)) >> np.uint64(shift)).astype(np.int64)
    return offsets, (sectors + 1) * _SECTOR - offsets % _SECTOR


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
