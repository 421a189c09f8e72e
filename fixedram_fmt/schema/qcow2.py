"""The layout of qcow2 disk images, as far as the states of VMs in them are concerned.

Upstream: QEMU docs/interop/qcow2.rst; block/qcow2.h (QCowHeader, QCowSnapshotHeader,
QCowSnapshotExtraData).  All numbers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = [
    "COMPRESSED", "COMPRESSION_TYPE", "EXTENSION_HEADER", "HEADER", "HEADER_EXTENSION",
    "L1_OFFSET", "L2_OFFSET", "MAGIC", "SNAPSHOT", "SNAPSHOT_EXTRA", "SUBCLUSTERS", "ZERO",
    "CompressionType", "CompressionTypeField", "ExtensionHeader", "ExtensionType", "Header",
    "HeaderExtension", "IncompatibleFeature", "Snapshot", "SnapshotExtra",
]  # fmt: skip

MAGIC = b"QFI\xfb"

#: Host offset in an entry of an L1 table, and of a standard cluster in one of an L2 table.
L1_OFFSET = L2_OFFSET = 0x00FF_FFFF_FFFF_FE00
#: Bits of an L2 entry: the cluster is compressed; it reads as zeros (version 3, not extended).
COMPRESSED, ZERO = 1 << 62, 1
#: Parts of a cluster that extended L2 entries tell apart.
SUBCLUSTERS = 32


class IncompatibleFeature(IntFlag):
    """Bits of incompatible_features (QCOW2_INCOMPAT_*)."""

    DIRTY = 1
    CORRUPT = 2
    DATA_FILE = 4
    COMPRESSION = 8
    EXTL2 = 16


class ExtensionType(IntEnum):
    """QCOW2_EXT_MAGIC_*: what a header extension is."""

    END = 0
    BACKING_FORMAT = 0xE2792ACA
    FEATURE_TABLE = 0x6803F857
    CRYPTO_HEADER = 0x0537BE77
    BITMAPS = 0x23852875
    DATA_FILE = 0x44415441


class CompressionType(IntEnum):
    """Qcow2CompressionType: what compressed clusters are packed with."""

    ZLIB = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Header:
    """The header of version 2, with which that of version 3 begins too; offsets in the file."""

    magic: bytes
    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int


@dataclass(frozen=True, slots=True)
class HeaderExtension:
    """What version 3 adds."""

    incompatible_features: int
    compatible_features: int
    autoclear_features: int
    refcount_order: int
    header_length: int


@dataclass(frozen=True, slots=True)
class CompressionTypeField:
    """There if header_length is more than 104."""

    compression_type: int


@dataclass(frozen=True, slots=True)
class ExtensionHeader:
    """A header extension: length bytes follow, then padding to 8 bytes; type 0 is the end."""

    type: int
    length: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An entry of the snapshot table; extra data, id and name follow, then padding to 8 bytes."""

    l1_table_offset: int
    l1_size: int
    id_str_size: int
    name_size: int
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int
    vm_state_size: int
    extra_data_size: int


@dataclass(frozen=True, slots=True)
class SnapshotExtra:
    """The extra data that versions from 2012 on write: 16 bytes of it, later 24."""

    vm_state_size_large: int
    disk_size: int


HEADER = Schema(
    cs.Struct(
        "magic" / cs.Bytes(4),
        "version" / cs.Int32ub,
        "backing_file_offset" / cs.Int64ub,
        "backing_file_size" / cs.Int32ub,
        "cluster_bits" / cs.Int32ub,
        "size" / cs.Int64ub,
        "crypt_method" / cs.Int32ub,
        "l1_size" / cs.Int32ub,
        "l1_table_offset" / cs.Int64ub,
        "refcount_table_offset" / cs.Int64ub,
        "refcount_table_clusters" / cs.Int32ub,
        "nb_snapshots" / cs.Int32ub,
        "snapshots_offset" / cs.Int64ub,
    ),
    Header,
    "QEMU block/qcow2.h QCowHeader",
)

HEADER_EXTENSION = Schema(
    cs.Struct(
        "incompatible_features" / cs.Int64ub,
        "compatible_features" / cs.Int64ub,
        "autoclear_features" / cs.Int64ub,
        "refcount_order" / cs.Int32ub,
        "header_length" / cs.Int32ub,
    ),
    HeaderExtension,
    "QEMU block/qcow2.h QCowHeader, from version 3 on",
)

COMPRESSION_TYPE = Schema(
    cs.Struct("compression_type" / cs.Int8ub),
    CompressionTypeField,
    "QEMU block/qcow2.h QCowHeader.compression_type",
)

EXTENSION_HEADER = Schema(
    cs.Struct("type" / cs.Int32ub, "length" / cs.Int32ub),
    ExtensionHeader,
    "QEMU block/qcow2.c QCowExtension",
)

SNAPSHOT = Schema(
    cs.Struct(
        "l1_table_offset" / cs.Int64ub,
        "l1_size" / cs.Int32ub,
        "id_str_size" / cs.Int16ub,
        "name_size" / cs.Int16ub,
        "date_sec" / cs.Int32ub,
        "date_nsec" / cs.Int32ub,
        "vm_clock_nsec" / cs.Int64ub,
        "vm_state_size" / cs.Int32ub,
        "extra_data_size" / cs.Int32ub,
    ),
    Snapshot,
    "QEMU block/qcow2.h QCowSnapshotHeader",
)

SNAPSHOT_EXTRA = Schema(
    cs.Struct("vm_state_size_large" / cs.Int64ub, "disk_size" / cs.Int64ub),
    SnapshotExtra,
    "QEMU block/qcow2.h QCowSnapshotExtraData",
)
