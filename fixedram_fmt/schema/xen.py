"""The layout of what Xen saves of a domain, as far as QEMU's part in it is to be found.

Upstream: Xen docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc;
tools/xl/xl.h (struct save_file_header); libvirt src/libxl/libxl_conf.h (libxlSavefileHeader).
The headers of xl and libvirt are in the byte order of the host that saved, those of the streams are
big-endian, and a bit of the latter says which order the records have.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = [
    "BYTE_ORDER_MARK",
    "DEVICE_MODEL_RECORD",
    "DOMAIN_HEADER",
    "EMULATOR_HEADER",
    "LIBVIRT_HEADER",
    "LIBVIRT_MAGIC",
    "LIBXC_HEADER",
    "LIBXC_MAGIC",
    "LIBXC_MARKER",
    "LIBXL_HEADER",
    "LIBXL_MAGIC",
    "QEMU_RECORDS",
    "RECORD_ALIGNMENT",
    "RECORD_HEADER",
    "XL_HEADER",
    "XL_MAGIC",
    "DomainHeader",
    "DomainType",
    "Emulator",
    "EmulatorHeader",
    "LibvirtXenHeader",
    "LibxcHeader",
    "LibxcRecord",
    "LibxlHeader",
    "LibxlRecord",
    "MandatoryFlag",
    "RecordHeader",
    "StreamOption",
    "XlHeader",
]  # fmt: skip

XL_MAGIC = b"Xen saved domain, xl format\n \0 \r"
LIBVIRT_MAGIC = b"libvirt-xml\n \0 \r"
LIBXL_MAGIC = b"LibxlFmt"
LIBXC_MARKER, LIBXC_MAGIC = b"\xff" * 8, b"XENF"
#: SAVEFILE_BYTEORDER_VALUE
BYTE_ORDER_MARK = 0x01020304
#: What may precede QEMU's stream: with 32 bits of length after it, or up to the end.
DEVICE_MODEL_RECORD = b"DeviceModelRecord0002"
QEMU_RECORDS = (DEVICE_MODEL_RECORD, b"RemusDeviceModelState", b"QemuDeviceModelRecord")
#: Bodies of records are padded to so many bytes (REC_ALIGN_ORDER).
RECORD_ALIGNMENT = 8


class MandatoryFlag(IntFlag):
    """XL_MANDATORY_FLAG_*: the configuration is JSON; the stream is one of libxl."""

    JSON = 1
    STREAM_V2 = 2


class StreamOption(IntFlag):
    """RESTORE_OPT_*; libxc has the first of them alone."""

    BIG_ENDIAN = 1
    LEGACY = 2


class LibxlRecord(IntEnum):
    """REC_TYPE_* of libxl."""

    END = 0
    LIBXC_CONTEXT = 1
    EMULATOR_XENSTORE_DATA = 2
    EMULATOR_CONTEXT = 3
    CHECKPOINT_END = 4
    CHECKPOINT_STATE = 5


class LibxcRecord(IntEnum):
    """REC_TYPE_* of libxc."""

    END = 0
    PAGE_DATA = 1
    X86_PV_INFO = 2
    X86_PV_P2M_FRAMES = 3
    X86_PV_VCPU_BASIC = 4
    X86_PV_VCPU_EXTENDED = 5
    X86_PV_VCPU_XSAVE = 6
    SHARED_INFO = 7
    TSC_INFO = 8
    HVM_CONTEXT = 9
    HVM_PARAMS = 10
    TOOLSTACK = 11
    X86_PV_VCPU_MSRS = 12
    VERIFY = 13
    CHECKPOINT = 14
    CHECKPOINT_DIRTY_PFN_LIST = 15
    STATIC_DATA_END = 16
    X86_CPUID_POLICY = 17
    X86_MSR_POLICY = 18


class Emulator(IntEnum):
    """EMULATOR_*: who wrote an emulator's context."""

    UNKNOWN = 0
    QEMU_TRADITIONAL = 1
    QEMU_UPSTREAM = 2


class DomainType(IntEnum):
    """DHDR_TYPE_*."""

    X86_PV = 1
    X86_HVM = 2
    X86_PVH = 3
    ARM = 4


@dataclass(frozen=True, slots=True)
class XlHeader:
    """optional_data_len bytes follow: the length of the domain's configuration, and that."""

    magic: bytes
    byteorder: int
    mandatory_flags: int
    optional_flags: int
    optional_data_len: int


@dataclass(frozen=True, slots=True)
class LibvirtXenHeader:
    """xml_len bytes of domain XML follow."""

    magic: bytes
    version: int
    xml_len: int
    unused: bytes


@dataclass(frozen=True, slots=True)
class LibxlHeader:
    """Records follow."""

    ident: bytes
    version: int
    options: int


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """body_length bytes follow, and padding."""

    type: int
    body_length: int


@dataclass(frozen=True, slots=True)
class EmulatorHeader:
    """What the body of an emulator's record begins with."""

    emulator_id: int
    index: int


@dataclass(frozen=True, slots=True)
class LibxcHeader:
    """The domain's header follows, then records."""

    marker: bytes
    id: bytes
    version: int
    options: int
    unused: bytes


@dataclass(frozen=True, slots=True)
class DomainHeader:
    """Whose memory the records hold; pages have 2**page_shift bytes."""

    type: int
    page_shift: int
    reserved: int
    xen_major: int
    xen_minor: int


def _by_order(layout: Any, record: Any, upstream: str) -> dict[str, Schema[Any]]:
    return {
        "little": Schema(layout(cs.Int32ul, cs.Int16ul), record, upstream),
        "big": Schema(layout(cs.Int32ub, cs.Int16ub), record, upstream),
    }


_LIBXL = "Xen docs/specs/libxl-migration-stream.pandoc "
_LIBXC = "Xen docs/specs/libxc-migration-stream.pandoc "

XL_HEADER: dict[str, Schema[XlHeader]] = _by_order(
    lambda word, _half: cs.Struct(
        "magic" / cs.Bytes(32),
        "byteorder" / word,
        "mandatory_flags" / word,
        "optional_flags" / word,
        "optional_data_len" / word,
    ),
    XlHeader,
    "Xen tools/xl/xl.h struct save_file_header",
)

LIBVIRT_HEADER: dict[str, Schema[LibvirtXenHeader]] = _by_order(
    lambda word, _half: cs.Struct(
        "magic" / cs.Bytes(16), "version" / word, "xml_len" / word, "unused" / cs.Bytes(40)
    ),
    LibvirtXenHeader,
    "libvirt src/libxl/libxl_conf.h libxlSavefileHeader",
)

RECORD_HEADER: dict[str, Schema[RecordHeader]] = _by_order(
    lambda word, _half: cs.Struct("type" / word, "body_length" / word),
    RecordHeader,
    _LIBXL + "Record Overview",
)

EMULATOR_HEADER: dict[str, Schema[EmulatorHeader]] = _by_order(
    lambda word, _half: cs.Struct("emulator_id" / word, "index" / word),
    EmulatorHeader,
    _LIBXL + "Emulator Records",
)

DOMAIN_HEADER: dict[str, Schema[DomainHeader]] = _by_order(
    lambda word, half: cs.Struct(
        "type" / word,
        "page_shift" / half,
        "reserved" / half,
        "xen_major" / word,
        "xen_minor" / word,
    ),
    DomainHeader,
    _LIBXC + "Domain Header",
)

LIBXL_HEADER = Schema(
    cs.Struct("ident" / cs.Bytes(8), "version" / cs.Int32ub, "options" / cs.Int32ub),
    LibxlHeader,
    _LIBXL + "Header",
)

LIBXC_HEADER = Schema(
    cs.Struct(
        "marker" / cs.Bytes(8),
        "id" / cs.Bytes(4),
        "version" / cs.Int32ub,
        "options" / cs.Int16ub,
        "unused" / cs.Bytes(6),
    ),
    LibxcHeader,
    _LIBXC + "Image Header",
)
