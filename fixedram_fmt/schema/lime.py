"""The LiME memory image: a header before each range of physical memory.

Upstream: LiME (Linux Memory Extractor) doc/README.md, "lime" format version 1; little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = ["LIME_HEADER", "LIME_MAGIC", "LimeHeader"]

LIME_MAGIC = 0x4C694D45


@dataclass(frozen=True, slots=True)
class LimeHeader:
    """One range: the addresses of its first and of its last byte."""

    magic: int
    version: int
    s_addr: int
    e_addr: int
    reserved: bytes


LIME_HEADER = Schema(
    cs.Struct(
        "magic" / cs.Int32ul,
        "version" / cs.Int32ul,
        "s_addr" / cs.Int64ul,
        "e_addr" / cs.Int64ul,
        "reserved" / cs.Bytes(8),
    ),
    LimeHeader,
    "LiME src/lime.h lime_mem_range_header",
)
