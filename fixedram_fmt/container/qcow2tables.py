"""L2 tables of a qcow2 image, read piece by piece: which bytes each maps, and where they lie.

Upstream: QEMU block/qcow2-cluster.c qcow2_get_host_offset(), block/qcow2.h
qcow2_get_cluster_type().  A piece is what QEMU calls a slice of a table (l2-cache-entry-size), so
that neither memory nor time depends on how large the clusters are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fixedram_fmt.schema.qcow2 import (
    COMPRESSED,
    L2_OFFSET,
    SUBCLUSTERS,
    ZERO,
    CompressionType,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.uint64]

__all__ = ["PACKED", "ZEROS", "Geometry", "Piece", "piece_of"]

#: What is no host offset.
ZEROS, PACKED = -1, -2
_PIECE = 1 << 15
#: What a compressor may make of a cluster at best: DEFLATE's limit, and blocks of one byte each.
_BEST_RATIO = {CompressionType.ZLIB: 1032, CompressionType.ZSTD: 1 << 15}
_RUN = 3 * 8


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
    def entry_size(self) -> int:
        """Bytes of an entry of an L2 table."""
        return 16 if self.extended else 8

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
        return self.cluster_size * (self.cluster_size // self.entry_size)

    @property
    def piece_size(self) -> int:
        """Bytes of a piece of an L2 table."""
        return min(self.cluster_size, _PIECE)

    @property
    def pieces(self) -> int:
        """Pieces of an L2 table."""
        return self.cluster_size // self.piece_size

    @property
    def piece_span(self) -> int:
        """Bytes that a piece maps."""
        return self.cluster_size * (self.piece_size // self.entry_size)

    @property
    def piece_cost(self) -> int:
        """Bytes of memory that a piece takes at most as runs."""
        return _RUN * (self.piece_span // self.unit)

    @property
    def least_packed(self) -> int:
        """Bytes of the file that a compressed cluster takes at least."""
        return 8 + self.cluster_size // _BEST_RATIO[self.compression]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece as runs of units: first unit of each, host offset of that, and its entry if packed.

    claimed is how many bytes of the file its clusters take, at least.
    """

    firsts: NDArray[np.int64]
    hosts: NDArray[np.int64]
    entries: Numbers
    claimed: int


def piece_of(data: bytes, geometry: Geometry) -> Piece:
    """The runs of a piece; neighbours that lie in a row in the file, or are zeros, are one run."""
    words = np.frombuffer(data, ">u8").astype(np.uint64)
    hosts, entries = _units(words, geometry)
    before, after = hosts[:-1], hosts[1:]
    joined = (after == before) & (after == ZEROS)
    joined |= (before >= 0) & (after == before + geometry.unit)
    if geometry.units > 1:
        # The parts of a packed cluster are one run, two packed clusters are never.
        joined |= (after == PACKED) & (np.arange(1, len(hosts)) % geometry.units != 0)
    firsts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(~joined) + 1))
    plain = int(np.count_nonzero(hosts >= 0)) * geometry.unit
    packed = int(np.count_nonzero(hosts == PACKED)) // geometry.units
    return Piece(firsts, hosts[firsts], entries[firsts], plain + packed * geometry.least_packed)


def _units(words: Numbers, geometry: Geometry) -> tuple[NDArray[np.int64], Numbers]:
    """Host offset (or what there is instead) of each unit, and the entry of those packed."""
    entries, bitmaps = (words[::2], words[1::2]) if geometry.extended else (words, words[:0])
    packed = (entries & np.uint64(COMPRESSED)) != 0
    hosts = (entries & np.uint64(L2_OFFSET)).astype(np.int64)
    if geometry.extended:
        units = np.arange(SUBCLUSTERS)
        allocated = ((bitmaps[:, None] >> units.astype(np.uint64)) & np.uint64(1)) != 0
        spread = hosts[:, None] + units * geometry.unit
        spread = np.where(allocated & (hosts[:, None] != 0), spread, ZEROS)
        hosts = np.where(packed[:, None], PACKED, spread).reshape(-1)
        packed, entries = packed.repeat(SUBCLUSTERS), entries.repeat(SUBCLUSTERS)
    else:
        zero = (entries & np.uint64(ZERO)) != 0 if geometry.version > 2 else hosts == 0
        hosts = np.where(packed, PACKED, np.where(zero | (hosts == 0), ZEROS, hosts))
    return hosts, np.where(packed, entries, np.uint64(0))
