"""Sections whose bodies QEMU writes by hand, so that no description tells their length.

Upstream: hw/s390x/s390-stattrib.c and s390-skeys.c (u64 words with flags in their low bits),
hw/ppc/spapr.c htab_load(), migration/block-dirty-bitmap.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import construct as cs

from fixedram_fmt.schema.base import Schema, counted_string

__all__ = [
    "BITMAP_ALIAS",
    "BITMAP_BITS",
    "BITMAP_DATA",
    "BITMAP_FLAGS",
    "BITMAP_START",
    "HASH_PTE_SIZE_64",
    "HTAB_CHUNK",
    "HTAB_HEADER",
    "S390_COUNT",
    "S390_PAGE_SIZE",
    "S390_WORD",
    "BitmapAlias",
    "BitmapBits",
    "BitmapData",
    "BitmapFlags",
    "BitmapStart",
    "DirtyBitmapFlag",
    "DirtyBitmapStartFlag",
    "HtabChunk",
    "HtabHeader",
    "S390Count",
    "S390Word",
    "SkeysFlag",
    "StattrFlag",
]


#: target/s390x: guest addresses in these sections carry flags in the bits below this.
S390_PAGE_SIZE = 1 << 12


class StattrFlag(IntEnum):
    """hw/s390x/s390-stattrib.c STATTR_FLAG_*."""

    EOS = 0x01
    MORE = 0x02
    ERROR = 0x04
    DONE = 0x08


class SkeysFlag(IntEnum):
    """hw/s390x/s390-skeys.c S390_SKEYS_SAVE_FLAG_*."""

    EOS = 0x01
    SKEYS = 0x02
    ERROR = 0x04


@dataclass(frozen=True, slots=True)
class S390Word:
    """A guest address with flags in the bits below the page size (4 KiB)."""

    word: int


S390_WORD = Schema(cs.Struct("word" / cs.Int64ub), S390Word, "hw/s390x/s390-stattrib.c cmma_load()")


@dataclass(frozen=True, slots=True)
class S390Count:
    """After MORE or SKEYS: this many bytes follow, one per page."""

    count: int


S390_COUNT = Schema(
    cs.Struct("count" / cs.Int64ub), S390Count, "hw/s390x/s390-skeys.c s390_storage_keys_load()"
)

#: target/ppc/mmu-hash64.h: bytes of one hashed page table entry
HASH_PTE_SIZE_64 = 16


@dataclass(frozen=True, slots=True)
class HtabHeader:
    """0xffffffff: no hash table; otherwise its log2 size (section START) or 0: chunks follow."""

    section_hdr: int


HTAB_HEADER = Schema(
    cs.Struct("section_hdr" / cs.Int32ub), HtabHeader, "hw/ppc/spapr.c htab_load()"
)


@dataclass(frozen=True, slots=True)
class HtabChunk:
    """n_valid entries follow; all three zero end the section."""

    index: int
    n_valid: int
    n_invalid: int


HTAB_CHUNK = Schema(
    cs.Struct("index" / cs.Int32ub, "n_valid" / cs.Int16ub, "n_invalid" / cs.Int16ub),
    HtabChunk,
    "hw/ppc/spapr.c htab_load()",
)


class DirtyBitmapFlag(IntEnum):
    """migration/block-dirty-bitmap.c DIRTY_BITMAP_MIG_FLAG_*; 0x80 says that more bytes follow."""

    EOS = 0x01
    ZEROES = 0x02
    BITMAP_NAME = 0x04
    DEVICE_NAME = 0x08
    START = 0x10
    COMPLETE = 0x20
    BITS = 0x40
    EXTRA_FLAGS = 0x80


class DirtyBitmapStartFlag(IntEnum):
    """migration/block-dirty-bitmap.c DIRTY_BITMAP_MIG_START_FLAG_*."""

    ENABLED = 0x01
    PERSISTENT = 0x02
    AUTOLOAD = 0x04


@dataclass(frozen=True, slots=True)
class BitmapFlags:
    """One byte of flags; EXTRA_FLAGS in the first asks for a second, in that for two more."""

    flags: int


BITMAP_FLAGS = Schema(
    cs.Struct("flags" / cs.Int8ub),
    BitmapFlags,
    "migration/block-dirty-bitmap.c qemu_get_bitmap_flags()",
)


@dataclass(frozen=True, slots=True)
class BitmapAlias:
    """Name of a node (DEVICE_NAME) or of a bitmap (BITMAP_NAME)."""

    alias: bytes


BITMAP_ALIAS = Schema(
    cs.Struct(*counted_string("len", "alias")),
    BitmapAlias,
    "migration/block-dirty-bitmap.c send_bitmap_header()",
)


@dataclass(frozen=True, slots=True)
class BitmapStart:
    """Chunk with START.  The comment upstream says be64; the code sends be32."""

    granularity: int
    flags: int


BITMAP_START = Schema(
    cs.Struct("granularity" / cs.Int32ub, "flags" / cs.Int8ub),
    BitmapStart,
    "migration/block-dirty-bitmap.c send_bitmap_start()",
)


@dataclass(frozen=True, slots=True)
class BitmapBits:
    """Chunk with BITS: sectors of 512 bytes it speaks of."""

    start_sector: int
    nr_sectors: int


BITMAP_BITS = Schema(
    cs.Struct("start_sector" / cs.Int64ub, "nr_sectors" / cs.Int32ub),
    BitmapBits,
    "migration/block-dirty-bitmap.c send_bitmap_bits()",
)


@dataclass(frozen=True, slots=True)
class BitmapData:
    """After BITS without ZEROES: this many bytes of bitmap follow."""

    buf_size: int


BITMAP_DATA = Schema(
    cs.Struct("buf_size" / cs.Int64ub),
    BitmapData,
    "migration/block-dirty-bitmap.c send_bitmap_bits()",
)
