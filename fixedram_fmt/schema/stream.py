"""The migration stream around the RAM: file header, configuration, sections, commands, vmdesc.

Upstream: QEMU migration/savevm.c (qemu_savevm_state_header, save_section_header,
save_section_footer, qemu_savevm_command_send) and migration/savevm.h.  Big-endian throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import construct as cs

from fixedram_fmt.schema.base import Schema, counted_string

__all__ = [
    "CAPABILITIES",
    "CAPABILITY",
    "COMMAND",
    "CONFIGURATION",
    "EOF",
    "FILE_HEADER",
    "PACKAGED_LENGTH",
    "QEMU_VM_FILE_MAGIC",
    "QEMU_VM_FILE_VERSION",
    "SECTION",
    "SECTIONS_CEILING",
    "SECTION_FOOTER",
    "SECTION_PART",
    "SUBSECTION",
    "TARGET_PAGE_BITS",
    "UUID",
    "VMDESCRIPTION",
    "Capabilities",
    "Capability",
    "Command",
    "Configuration",
    "Eof",
    "FileHeader",
    "MigCmd",
    "PackagedLength",
    "SectionFooter",
    "SectionHeader",
    "SectionPart",
    "SectionType",
    "Subsection",
    "TargetPageBits",
    "Uuid",
    "Vmdescription",
]

#: migration/qemu-file-types.h: QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION
QEMU_VM_FILE_MAGIC = b"QEVM"
QEMU_VM_FILE_VERSION = 3
#: Most STARTs and FULLs, and descriptions of devices, that are read: eight for each of the 4,096
#: CPUs that the largest machine takes (pc-q35: MachineClass.max_cpus).
SECTIONS_CEILING = 1 << 15


class SectionType(IntEnum):
    """First byte of everything in the stream; migration/savevm.h QEMU_VM_*."""

    EOF = 0x00
    SECTION_START = 0x01
    SECTION_PART = 0x02
    SECTION_END = 0x03
    SECTION_FULL = 0x04
    SUBSECTION = 0x05
    VMDESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    SECTION_FOOTER = 0x7E


class MigCmd(IntEnum):
    """migration/savevm.c enum qemu_vm_cmd, without its MIG_CMD_ prefix."""

    INVALID = 0
    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The eight bytes a stream starts with."""

    magic: bytes
    version: int


FILE_HEADER = Schema(
    cs.Struct("magic" / cs.Bytes(4), "version" / cs.Int32ub),
    FileHeader,
    "migration/savevm.c qemu_savevm_state_header()",
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The machine type's name; subsections may follow (vmstate_configuration)."""

    section_type: int
    name: bytes


CONFIGURATION = Schema(
    cs.Struct("section_type" / cs.Int8ub, *counted_string("len", "name", cs.Int32ub)),
    Configuration,
    "migration/savevm.c vmstate_configuration",
)


@dataclass(frozen=True, slots=True)
class Subsection:
    """Header of an optional part of a vmstate; its body follows."""

    section_type: int
    idstr: bytes
    version_id: int


SUBSECTION = Schema(
    cs.Struct(
        "section_type" / cs.Int8ub, *counted_string("len", "idstr"), "version_id" / cs.Int32ub
    ),
    Subsection,
    "migration/vmstate.c vmstate_subsection_save()",
)


@dataclass(frozen=True, slots=True)
class TargetPageBits:
    """configuration/target-page-bits: log2 of the target's page size, where it is not the least."""

    target_page_bits: int


TARGET_PAGE_BITS = Schema(
    cs.Struct("target_page_bits" / cs.Int32ub),
    TargetPageBits,
    "migration/savevm.c vmstate_target_page_bits",
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """configuration/capabilities: how many names follow."""

    caps_count: int


CAPABILITIES = Schema(
    cs.Struct("caps_count" / cs.Int32ub), Capabilities, "migration/savevm.c vmstate_capabilites"
)


@dataclass(frozen=True, slots=True)
class Capability:
    """One name of configuration/capabilities."""

    capability: bytes


CAPABILITY = Schema(
    cs.Struct(*counted_string("len", "capability")),
    Capability,
    "migration/savevm.c put_capability()",
)


@dataclass(frozen=True, slots=True)
class Uuid:
    """configuration/uuid: the guest's, sent with validate-uuid."""

    uuid: bytes


UUID = Schema(cs.Struct("uuid" / cs.Bytes(16)), Uuid, "migration/savevm.c vmstate_uuid")


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """SECTION_START (of something sent in parts) or SECTION_FULL (a device)."""

    section_type: int
    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int


SECTION = Schema(
    cs.Struct(
        "section_type" / cs.Int8ub,
        "section_id" / cs.Int32ub,
        *counted_string("len", "idstr"),
        "instance_id" / cs.Int32ub,
        "version_id" / cs.Int32ub,
    ),
    SectionHeader,
    "migration/savevm.c save_section_header()",
)


@dataclass(frozen=True, slots=True)
class SectionPart:
    """SECTION_PART or SECTION_END: the section that goes on is named by its id alone."""

    section_type: int
    section_id: int


SECTION_PART = Schema(
    cs.Struct("section_type" / cs.Int8ub, "section_id" / cs.Int32ub),
    SectionPart,
    "migration/savevm.c save_section_header()",
)


@dataclass(frozen=True, slots=True)
class SectionFooter:
    """After every body, unless the machine was told not to (send-section-footer=off)."""

    section_type: int
    section_id: int


SECTION_FOOTER = Schema(
    cs.Struct("section_type" / cs.Int8ub, "section_id" / cs.Int32ub),
    SectionFooter,
    "migration/savevm.c save_section_footer()",
)


@dataclass(frozen=True, slots=True)
class Command:
    """QEMU_VM_COMMAND with its arguments."""

    section_type: int
    command: int
    data: bytes

    @property
    def packaged_length(self) -> int | None:
        """Bytes of the stream that follows a PACKAGED command; None where none does."""
        if self.command != MigCmd.PACKAGED or len(self.data) != PACKAGED_LENGTH.size:
            return None
        return PACKAGED_LENGTH.parse(self.data)[0].length


COMMAND = Schema(
    cs.Struct(
        "section_type" / cs.Int8ub,
        "command" / cs.Int16ub,
        *counted_string("len", "data", cs.Int16ub),
    ),
    Command,
    "migration/savevm.c qemu_savevm_command_send()",
)


@dataclass(frozen=True, slots=True)
class PackagedLength:
    """Data of MIG_CMD_PACKAGED: how many bytes of a wrapped stream follow the command."""

    length: int


PACKAGED_LENGTH = Schema(
    cs.Struct("length" / cs.Int32ub),
    PackagedLength,
    "migration/savevm.c qemu_savevm_send_packaged()",
)


@dataclass(frozen=True, slots=True)
class Eof:
    """The byte that ends the stream; the description may follow."""

    section_type: int


EOF = Schema(
    cs.Struct("section_type" / cs.Int8ub),
    Eof,
    "migration/savevm.c qemu_savevm_state_complete_precopy_non_iterable()",
)


@dataclass(frozen=True, slots=True)
class Vmdescription:
    """Header of the JSON description of the device sections, length bytes that follow."""

    section_type: int
    length: int


VMDESCRIPTION = Schema(
    cs.Struct("section_type" / cs.Int8ub, "length" / cs.Int32ub),
    Vmdescription,
    "migration/savevm.c should_send_vmdesc()",
)
