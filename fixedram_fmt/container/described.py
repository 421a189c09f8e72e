"""What `info` says of a container."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER

__all__ = ["ContainerSummary", "LibvirtSummary", "QcowSummary", "XenSummary"]

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


class XenSummary(Result, frozen=True):
    """A save of a Xen domain: what is read is the state of its emulator, which has no memory.

    writer is `xl`, `libvirt` or `libxl`; memory_bytes of the file are the domain's memory and state
    in Xen's own format, which is not read; emulator is who wrote what is read.
    """

    writer: str
    byte_order: str
    name: str | None
    domain_type: str | None
    xen_version: str | None
    emulator: str
    memory_bytes: Unsigned


class ContainerSummary(Result, frozen=True, omit_defaults=True):
    """How the stream is packed; stream_offset is where it starts in the bytes that are read.

    kind is `bare`, `offset`, `libvirt`, `qcow2` or `xen`; with compression they are the unpacked
    bytes.
    """

    kind: str
    stream_offset: Unsigned
    compression: str | None = None
    libvirt: LibvirtSummary | None = None
    qcow2: QcowSummary | None = None
    xen: XenSummary | None = None
