"""A naive writer of qcow2 images, field by field: the oracle for what reads them.

Written from docs/interop/qcow2.rst, with no layout of the package's.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass, field

from support.containers import zstd

__all__ = ["DiskBuilder", "State"]

_COPIED, _COMPRESSED = 1 << 63, 1 << 62


@dataclass(frozen=True)
class State:
    """A snapshot with the state of a VM; said is the vm_state_size that its entry has."""

    data: bytes
    name: str = "saved"
    id: str = "1"
    said: int | None = None
    disk_size: int | None = None
    extra: int = 24


@dataclass
class DiskBuilder:
    """The parts of an image; clusters are placed in an order that seed decides."""

    cluster_bits: int = 12
    version: int = 3
    extended: bool = False
    compressed: str = ""
    size: int = 3 << 20
    content: bytes = b""
    states: list[State] = field(default_factory=list)
    seed: int = 1

    def __post_init__(self) -> None:
        self.cluster = 1 << self.cluster_bits
        self._random = random.Random(self.seed)
        self._file = bytearray(self.cluster)

    def build(self) -> bytes:
        """The file."""
        l1, l1_size = self._map(self.content, 0)
        tables = [(*self._map(one.data, self._first(one)), one) for one in self.states]
        table = self._aligned(b"".join(self._entry(*one) for one in tables))
        head = struct.pack(
            ">4sIQIIQIIQQIIQ", b"QFI\xfb", self.version, 0, 0, self.cluster_bits, self.size, 0,
            l1_size, l1, 0, 0, len(self.states), table if self.states else 0,
        )  # fmt: skip
        if self.version > 2:
            features = 16 * self.extended | 8 * (self.compressed == "zstd")
            head += struct.pack(">QQQIIB7x", features, 0, 0, 4, 112, self.compressed == "zstd")
        self._file[: len(head)] = head
        return bytes(self._file)

    def _first(self, state: State) -> int:
        """The first entry of the L1 table that maps the state of a VM, not the disk."""
        size = self.size if state.disk_size is None else state.disk_size
        span = self.cluster * (self.cluster // (16 if self.extended else 8))
        return -(-size // span)

    def _entry(self, l1: int, l1_size: int, state: State) -> bytes:
        said = len(state.data) if state.said is None else state.said
        size = self.size if state.disk_size is None else state.disk_size
        extra = struct.pack(">QQQ", said, size, 0)[: state.extra]
        name, number = state.name.encode(), state.id.encode()
        head = struct.pack(
            ">QIHHIIQII", l1, l1_size, len(number), len(name), 1_700_000_000, 5, 61_500_000_000,
            said & 0xFFFFFFFF, len(extra),
        )  # fmt: skip
        entry = head + extra + number + name
        return entry + bytes(-len(entry) % 8)

    def _map(self, data: bytes, first: int) -> tuple[int, int]:
        """Put data into clusters, and tables before them: offset and entries of the L1 table."""
        clusters = [data[i : i + self.cluster] for i in range(0, len(data), self.cluster)]
        clusters = [one.ljust(self.cluster, b"\0") for one in clusters]
        places = [0] * len(clusters)
        order = list(range(len(clusters)))
        self._random.shuffle(order)
        for number in order:
            if clusters[number].strip(b"\0"):
                places[number] = self._place(clusters[number])
        per_table = self.cluster // (16 if self.extended else 8)
        entries = [0] * first
        for start in range(0, len(places), per_table):
            words = [self._words(clusters[i], places[i]) for i in
                     range(start, min(start + per_table, len(places)))]  # fmt: skip
            raw = b"".join(words)
            entries.append(self._aligned(raw.ljust(self.cluster, b"\0")) | _COPIED
                           if raw.strip(b"\0") else 0)  # fmt: skip
        return self._aligned(b"".join(struct.pack(">Q", one) for one in entries)), len(entries)

    def _words(self, cluster: bytes, entry: int) -> bytes:
        if not self.extended:
            return struct.pack(">Q", entry)
        if entry & _COMPRESSED:
            return struct.pack(">QQ", entry, 0)
        part = self.cluster // 32
        parts = [cluster[i * part : (i + 1) * part] for i in range(32)]
        used = sum(1 << i for i, one in enumerate(parts) if one.strip(b"\0"))
        return struct.pack(">QQ", entry, used if entry else 0)

    def _place(self, cluster: bytes) -> int:
        """The L2 entry of a cluster that was put into the file."""
        if not self.compressed or self._random.random() < 0.3:
            return self._aligned(cluster) | _COPIED
        if self.compressed == "zstd":
            packed = zstd(cluster)
        else:
            packer = zlib.compressobj(wbits=-12)
            packed = packer.compress(cluster) + packer.flush()
        if len(packed) >= self.cluster:
            return self._aligned(cluster) | _COPIED
        offset = len(self._file) + 3
        self._file += bytes(3) + packed
        sectors = (offset % 512 + len(packed) - 1) // 512
        self._file += bytes(-len(self._file) % 512)
        return _COMPRESSED | sectors << (62 - (self.cluster_bits - 8)) | offset

    def _aligned(self, data: bytes) -> int:
        """Where data was put, at the start of a cluster."""
        self._file += bytes(-len(self._file) % self.cluster)
        offset = len(self._file)
        self._file += data + bytes(-len(data) % self.cluster)
        return offset
