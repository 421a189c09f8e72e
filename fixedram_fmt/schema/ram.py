"""RAM records, the list of RAM blocks and the fixed layout behind it.

Upstream: QEMU migration/ram.c (RAM_SAVE_FLAG_*, ram_save_setup, mapped_ram_setup_ramblock,
parse_ramblock_mapped_ram, struct MappedRamHeader).  Big-endian but for the bitmap, whose byte
order is the host's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import construct as cs

from fixedram_fmt.schema.base import Schema, counted_string

__all__ = [
    "BLOCK_ENTRY",
    "COMPRESS_PAGE",
    "ENCODING_FLAG_XBZRLE",
    "MAPPED_RAM_FILE_OFFSET_ALIGNMENT",
    "MAPPED_RAM_HDR_VERSION",
    "MAPPED_RAM_HEADER",
    "PAGE_IDSTR",
    "POSTCOPY_PAGE_SIZE",
    "RAM_IDSTR",
    "RAM_RECORD",
    "RAM_VERSION",
    "REGION_ADDRESS",
    "TARGET_PAGE_SIZE_MAX",
    "TARGET_PAGE_SIZE_MIN",
    "XBZRLE_PAGE",
    "ZERO_PAGE",
    "BlockEntry",
    "CompressPage",
    "MappedRamHeader",
    "PageIdstr",
    "PostcopyPageSize",
    "RamRecord",
    "RamSaveFlag",
    "RegionAddress",
    "XbzrlePage",
    "ZeroPage",
    "is_page_size",
]

#: migration/ram.c ram_mig_init(): what the section of the guest's memory is called
RAM_IDSTR = b"ram"
RAM_VERSION = 4

#: migration/ram.c: a reader must not rely on it ("this value can be changed in the future")
MAPPED_RAM_FILE_OFFSET_ALIGNMENT = 0x100000
MAPPED_RAM_HDR_VERSION = 1
#: migration/ram.c: the only encoding of XBZRLE there is
ENCODING_FLAG_XBZRLE = 0x1

#: Target page sizes that exist: 256 bytes (avr up to QEMU 10.0) to 64 KiB, the largest possible.
TARGET_PAGE_SIZE_MIN = 1 << 8
TARGET_PAGE_SIZE_MAX = 1 << 16


def is_page_size(value: int) -> bool:
    """Whether value is a page size a target can have."""
    return TARGET_PAGE_SIZE_MIN <= value <= TARGET_PAGE_SIZE_MAX and value & (value - 1) == 0


class RamSaveFlag(IntEnum):
    """Low bits of a RAM record, without their RAM_SAVE_FLAG_ prefix.

    Plain numbers once they are combined: words are met by the million, and an IntFlag is slow.
    """

    FULL = 0x01
    ZERO = 0x02
    MEM_SIZE = 0x04
    PAGE = 0x08
    EOS = 0x10
    CONTINUE = 0x20
    XBZRLE = 0x40
    HOOK = 0x80
    COMPRESS_PAGE = 0x100
    MULTIFD_FLUSH = 0x200


@dataclass(frozen=True, slots=True)
class RamRecord:
    """The u64 each RAM record starts with: an address or size, its low bits RamSaveFlag."""

    word: int


RAM_RECORD = Schema(cs.Struct("word" / cs.Int64ub), RamRecord, "migration/ram.c ram_load_precopy()")


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One RAM block of the list after MEM_SIZE; used_length in bytes."""

    idstr: bytes
    used_length: int


BLOCK_ENTRY = Schema(
    cs.Struct(*counted_string("len", "idstr"), "used_length" / cs.Int64ub),
    BlockEntry,
    "migration/ram.c ram_save_setup(), parse_ramblocks()",
)


@dataclass(frozen=True, slots=True)
class PostcopyPageSize:
    """Page size of a block on huge pages; only there when postcopy-ram was on."""

    page_size: int


POSTCOPY_PAGE_SIZE = Schema(
    cs.Struct("page_size" / cs.Int64ub), PostcopyPageSize, "migration/ram.c parse_ramblock()"
)


@dataclass(frozen=True, slots=True)
class RegionAddress:
    """Guest address of the block's memory region; only there with x-ignore-shared."""

    region_address: int


REGION_ADDRESS = Schema(
    cs.Struct("region_address" / cs.Int64ub), RegionAddress, "migration/ram.c parse_ramblock()"
)


@dataclass(frozen=True, slots=True)
class MappedRamHeader:
    """Where a block's bitmap and pages lie: offsets absolute in the file, sizes in bytes."""

    version: int
    page_size: int
    bitmap_offset: int
    pages_offset: int


MAPPED_RAM_HEADER = Schema(
    cs.Struct(
        "version" / cs.Int32ub,
        "page_size" / cs.Int64ub,
        "bitmap_offset" / cs.Int64ub,
        "pages_offset" / cs.Int64ub,
    ),
    MappedRamHeader,
    "migration/ram.c struct MappedRamHeader (packed)",
)


@dataclass(frozen=True, slots=True)
class PageIdstr:
    """Name of the block a page belongs to; absent when the record has CONTINUE."""

    idstr: bytes


PAGE_IDSTR = Schema(
    cs.Struct(*counted_string("len", "idstr")), PageIdstr, "migration/ram.c save_page_header()"
)


@dataclass(frozen=True, slots=True)
class ZeroPage:
    """Payload of ZERO: the byte that fills the page (0 since 1.x)."""

    fill: int


ZERO_PAGE = Schema(
    cs.Struct("fill" / cs.Int8ub), ZeroPage, "migration/ram.c save_zero_page_to_file()"
)


@dataclass(frozen=True, slots=True)
class XbzrlePage:
    """Payload header of XBZRLE: length bytes of a delta against the page's last content follow."""

    encoding: int
    length: int


XBZRLE_PAGE = Schema(
    cs.Struct("encoding" / cs.Int8ub, "length" / cs.Int16ub),
    XbzrlePage,
    "migration/ram.c save_xbzrle_page()",
)


@dataclass(frozen=True, slots=True)
class CompressPage:
    """Payload header of COMPRESS_PAGE (removed in 9.1): length bytes of a zlib stream follow."""

    length: int


COMPRESS_PAGE = Schema(
    cs.Struct("length" / cs.Int32ub),
    CompressPage,
    "migration/ram-compress.c ram_save_compressed_page() (QEMU 9.0)",
)
