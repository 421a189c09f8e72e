"""The header libvirt puts before the stream when it saves a domain to a file.

Upstream: libvirt src/qemu/qemu_saveimage.h (struct _virQEMUSaveHeader, QEMU_SAVE_MAGIC,
QEMU_SAVE_PARTIAL, virQEMUSaveFormat).  Native byte order of the host that saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = [
    "LIBVIRT_HEADER",
    "QEMU_SAVE_MAGIC",
    "QEMU_SAVE_PARTIAL",
    "QEMU_SAVE_VERSION",
    "LibvirtHeader",
    "SaveFormat",
]

QEMU_SAVE_MAGIC = b"LibvirtQemudSave"
#: The magic while a save is under way; it stays when the save never finishes.
QEMU_SAVE_PARTIAL = b"LibvirtQemudPart"
QEMU_SAVE_VERSION = 2


class SaveFormat(IntEnum):
    """virQEMUSaveFormat: what was done to the stream after the header."""

    RAW = 0
    GZIP = 1
    BZIP2 = 2
    XZ = 3
    LZOP = 4
    ZSTD = 5
    SPARSE = 6


@dataclass(frozen=True, slots=True)
class LibvirtHeader:
    """data_len bytes of domain XML follow; the cookie's XML lies at cookie_offset inside them."""

    magic: bytes
    version: int
    data_len: int
    was_running: int
    format: int
    cookie_offset: int
    unused: bytes


def _layout(word: Any) -> cs.Struct:
    return cs.Struct(
        "magic" / cs.Bytes(16),
        "version" / word,
        "data_len" / word,
        "was_running" / word,
        "format" / word,
        "cookie_offset" / word,
        "unused" / cs.Bytes(14 * 4),
    )


_UPSTREAM = "libvirt src/qemu/qemu_saveimage.h struct _virQEMUSaveHeader"

#: By byte order of the host that saved.
LIBVIRT_HEADER = {
    "little": Schema(_layout(cs.Int32ul), LibvirtHeader, _UPSTREAM),
    "big": Schema(_layout(cs.Int32ub), LibvirtHeader, _UPSTREAM),
}
