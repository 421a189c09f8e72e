"""libvirt's header and what packs a stream: the containers that one can be in."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from typing import TYPE_CHECKING

from conftest import zstd_module
from support.builders import tiny_image

if TYPE_CHECKING:
    from collections.abc import Callable


STREAM = tiny_image().file()
XML = b"<domain type='kvm'>\n  <name>a &amp; b</name>\n</domain>"


def libvirt(
    order: str = "<",
    *,
    magic: bytes = b"LibvirtQemudSave",
    version: int = 2,
    xml: bytes = XML,
    data_len: int | None = None,
    running: int = 1,
    kind: int = 0,
    cookie: int = 0,
) -> bytes:
    """libvirt's header and XML, each field as it is given."""
    words = struct.pack(
        f"{order}5I", version, len(xml) if data_len is None else data_len, running, kind, cookie
    )
    return magic + words + bytes(56) + xml


def zstd(data: bytes) -> bytes:
    """Packed, as the standard library or its backport does."""
    packed: bytes = zstd_module().compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
