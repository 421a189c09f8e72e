"""What `info` says of a container."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER

__all__ = ["ContainerSummary", "LibvirtSummary", "QcowSummary"]

LibvirtByteOrder = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LIBVIRT_HEADER)})]


class LibvirtSummary(Result, frozen=True):
    """libvirt's header: data_len and cookie_offset in bytes, domain the name in the XML.

    byte_order is that of the host that saved, format that of the stream; partial: the save never
    finished.
    """

    version: int
    byte_order: LibvirtByteOrder
    format: str
    was_running: bool
    partial: bool
    data_len: Unsigned
    cookie_offset: Unsigned
    domain: str | None


class QcowSummary(Result, frozen=True):
    """A qcow2 image: cluster_size and vm_state_size in bytes; no snapshot: the disk's content."""

    version: int
    cluster_size: Unsigned
    snapshot_id: str | None
    snapshot_name: str | None
    vm_state_size: Unsigned | None


class ContainerSummary(Result, frozen=True, omit_defaults=True):
    """How the stream is packed; stream_offset is where it starts in the bytes that are read.

    kind is `bare`, `offset`, `libvirt` or `qcow2`; with compression they are the unpacked bytes.
    """

    kind: str
    stream_offset: Unsigned
    compression: str | None = None
    libvirt: LibvirtSummary | None = None
    qcow2: QcowSummary | None = None
