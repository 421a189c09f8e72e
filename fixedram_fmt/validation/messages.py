"""What QEMU writes when it refuses an image, to the letter: one table, by key.

Texts were read from the migration/ sources of QEMU 10.0 and 11.1 and from the strings of a real
10.0; the interop tests hold them against what it prints.  Verdicts fill the holes of a template,
a log is searched with the same template as a pattern.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.validation.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LAST_LINE", "MESSAGES", "Said", "said_in"]

EINVAL, EIO, EPERM = "Invalid argument", "Input/output error", "Operation not permitted"
ENOENT, ENOTSUP = "No such file or directory", "Operation not supported"
ERANGE = "Numerical result out of range"

#: migration/migration.c process_incoming_migration_co(): what QEMU writes last.
LAST_LINE = "load of migration failed: {reason}"


class Said(NamedTuple):
    """A message that was found in a line of a log, and what stood in its holes."""

    key: str
    message: Message
    holes: dict[str, str]


def said_in(line: str) -> Iterator[Said]:
    """The messages of the table that a line of a log holds."""
    for key, message in MESSAGES.items():
        for pattern in message.patterns:
            found = pattern.search(line)
            if found:
                yield Said(key, message, found.groupdict())
                break


_SAVEVM, _RAM, _VMSTATE = "migration/savevm.c ", "migration/ram.c ", "migration/vmstate.c "
_MAKE_SURE = (
    "Make sure that your current VM setup matches your saved VM setup, including any hotplugged"
    " devices"
)
_FOOTER_ERROR = "Section footer error, section_id: {section_id:d}"
#: No other text in any version.
_EVER: Mapping[int, str] = {}


def _savevm(
    template: str, function: str, since: Mapping[int, str] = _EVER, reason: str = EINVAL
) -> Message:
    """A line of migration/savevm.c: 11 puts it into the last line."""
    return Message(template, f"{_SAVEVM}{function}()", since, reason, joined=True)


def _ram(
    template: str, function: str, since: Mapping[int, str] = _EVER, reason: str = EINVAL
) -> Message:
    """A line of migration/ram.c, written while the state of `ram` is loaded."""
    return Message(template, f"{_RAM}{function}()", since, reason, in_state=True)


MESSAGES: dict[str, Message] = {
    # -- the stream's header
    "magic": _savevm(
        "Not a migration stream", "qemu_loadvm_state_header",
        since={11: "Not a migration stream, magic: {magic:x} != 5145564d"},
    ),
    "stream-version": _savevm(
        "Unsupported migration stream version", "qemu_loadvm_state_header",
        reason=ENOTSUP, since={11: "Unsupported migration stream version, file version"
        " {version:x} != 3"},
    ),
    "stream-version-2": _savevm(
        "SaveVM v2 format is obsolete and don't work anymore", "qemu_loadvm_state_header",
        reason=ENOTSUP, since={11: "SaveVM v2 format is obsolete and no longer supported"},
    ),
    # -- the configuration
    "no-configuration": _savevm(
        "Configuration section missing", "qemu_loadvm_state_header",
        since={11: "Configuration section missing, {type:x} != 7"},
    ),
    "machine": _savevm(
        "Machine type received is '{name}' and local is '{local}'", "configuration_post_load",
    ),
    "no-machine": Message(
        'unsupported machine type: "{machine}"', "system/vl.c select_machine()",
    ),
    "page-bits": _savevm(
        "Received TARGET_PAGE_BITS is {bits:d} but local is {local_bits:d}",
        "configuration_post_load",
    ),
    "capability": _savevm(
        "Capability {capability} is {local_state}, but received capability is {state}",
        "configuration_validate_capabilities",
    ),
    "unknown-capability": _savevm(
        "Received unknown capability {capability}", "get_capability",
    ),
    "uuid": _savevm(
        "UUID received is {uuid} and local is {local_uuid}", "vmstate_uuid_post_load",
    ),
    # -- sections
    "section-type": _savevm(
        "Unknown savevm section type {type:d}", "qemu_loadvm_state_main",
        since={11: "Unknown section type {type:d}"},
    ),
    "idstr": _savevm(
        "Unable to read ID string for section {section_id:d}", "qemu_loadvm_section_start_full",
    ),
    "instance-and-version": _savevm(
        "qemu_loadvm_section_start_full: Failed to read instance/version ID: -5",
        "qemu_loadvm_section_start_full", reason=EIO,
        since={11: "Failed to read instance/version ID: -5"},
    ),
    "section-id": _savevm(
        "qemu_loadvm_section_part_end: Failed to read section ID: -5",
        "qemu_loadvm_section_part_end", reason=EIO,
        since={11: "Failed to read section ID: -5"},
    ),
    "unknown-section": _savevm(
        f"Unknown savevm section or instance '{{name}}' {{instance:d}}. {_MAKE_SURE}",
        "qemu_loadvm_section_start_full",
        since={11: f"Unknown section or instance '{{name}}' {{instance:d}}. {_MAKE_SURE}"},
    ),
    "section-version": _savevm(
        "savevm: unsupported version {version:d} for '{name}' v{local_version:d}",
        "qemu_loadvm_section_start_full",
        since={11: "unsupported version {version:d} for '{name}' v{local_version:d}"},
    ),
    "unknown-section-id": _savevm(
        "Unknown savevm section {section_id:d}", "qemu_loadvm_section_part_end",
        since={11: "Unknown section {section_id:d}"},
    ),
    "footer": Message(
        "Missing section footer for {name}", _SAVEVM + "check_section_footer()",
        closing=_FOOTER_ERROR,
    ),
    "footer-id": Message(
        "Mismatched section id in footer for {name} - read 0x{footer_id:x} expected"
        " 0x{expected_id:x}", _SAVEVM + "check_section_footer()",
        closing=_FOOTER_ERROR,
    ),
    "footer-unread": Message(
        "check_section_footer: Read section footer failed: -5",
        _SAVEVM + "check_section_footer()",
        since={11: "Read section footer failed: -5"}, closing=_FOOTER_ERROR,
    ),
    "state-of-device": _savevm(
        "error while loading state for instance 0x{instance:x} of device '{name}'",
        "qemu_loadvm_section_start_full",
        since={11: "error while loading state for instance 0x{instance:x} of device '{name}': "},
    ),
    "state-of-section": _savevm(
        "error while loading state section id {section_id:d}({name})",
        "qemu_loadvm_section_part_end",
    ),
    "end-of-file": Message(
        "", _SAVEVM + "qemu_loadvm_state_main()", reason=EIO
    ),
    # -- commands
    "unknown-command": _savevm(
        "MIG_CMD 0x{command:x} unknown (len 0x{length:x})", "loadvm_process_command",
    ),
    "command-length": _savevm(
        "{command} received with bad length - expecting {expected:d}, got {length:d}",
        "loadvm_process_command", reason=ERANGE,
    ),
    "ping": _savevm(
        "CMD_PING (0x{value:x}) received with no return path", "loadvm_process_command",
        reason=EPERM,
    ),
    "advise-length": _savevm(
        "CMD_POSTCOPY_ADVISE invalid length ({length:d})", "loadvm_postcopy_handle_advise",
    ),
    "advise": _savevm(
        "RAM postcopy is disabled but have 16 byte advise", "loadvm_postcopy_handle_advise",
    ),
    "advise-state": _savevm(
        "CMD_POSTCOPY_ADVISE in wrong postcopy state ({state:d})",
        "loadvm_postcopy_handle_advise", reason=EPERM,
    ),
    "listen-state": _savevm(
        "CMD_POSTCOPY_LISTEN in wrong postcopy state ({state:d})",
        "loadvm_postcopy_handle_listen", reason=EPERM,
    ),
    "run-state": _savevm(
        "CMD_POSTCOPY_RUN in wrong postcopy state ({state:d})", "loadvm_postcopy_handle_run",
        reason=EPERM,
    ),
    "discard-state": _savevm(
        "CMD_POSTCOPY_RAM_DISCARD in wrong postcopy state ({state:d})",
        "loadvm_postcopy_ram_handle_discard", reason=EPERM,
    ),
    "colo": _savevm(
        "ENABLE_COLO command come in migration stream, but x-colo capability is not set",
        "loadvm_process_enable_colo",
    ),
    "recv-bitmap-length": _savevm(
        "loadvm_handle_recv_bitmap: invalid payload length ({length:d})",
        "loadvm_handle_recv_bitmap", since={11: "invalid payload length ({length:d})"},
    ),
    "recv-bitmap-name": _savevm(
        "loadvm_handle_recv_bitmap: failed to read block name", "loadvm_handle_recv_bitmap",
        since={11: "failed to read block name"},
    ),
    "recv-bitmap-block": _savevm(
        "loadvm_handle_recv_bitmap: block '{block}' not found", "loadvm_handle_recv_bitmap",
        since={11: "block '{block}' not found"},
    ),
    # -- memory
    "unknown-block": _ram(
        'Unknown ramblock "{block}", cannot accept migration', "parse_ramblocks",
    ),
    "size-mismatch": _ram(
        "Size mismatch: {block}: 0x{length:x} != 0x{local_length:x}: Invalid argument",
        "qemu_ram_resize",
    ),
    "size-too-large": _ram(
        "Size too large: {block}: 0x{length:x} > 0x{local_length:x}: Invalid argument",
        "qemu_ram_resize",
    ),
    "header-cut": _ram(
        "Could not read whole mapped-ram migration header (expected 28, got {length:d} bytes)",
        "mapped_ram_read_header",
    ),
    "header-version": _ram(
        "Migration mapped-ram capability version not supported (expected <= 1, got {version:d})",
        "mapped_ram_read_header",
    ),
    "header-page-size": _ram(
        "", "mapped_ram_read_header",
        since={11: "Migration mapped-ram header has invalid page_size {page_size:d}"
        " (expected {local_page_size:d})"},
    ),
    "alignment": _ram(
        "Error reading ramblock {block} pages, region has bad alignment",
        "parse_ramblock_mapped_ram",
    ),
    "bitmap-unread": _ram(
        "Error reading dirty bitmap", "parse_ramblock_mapped_ram",
    ),
    "outside-block": _ram(
        "page outside of ramblock {block} range", "read_ramblock_mapped_ram",
    ),
    "page-unread": _ram(
        "({block}) failed to read page {page:x}from file offset {offset:x}: {why}",
        "read_ramblock_mapped_ram",
    ),
    "ram-flags": _ram(
        "Unexpected RAM flags: {flags:d}", "ram_load_precopy",
    ),
    "ram-combination": _ram(
        "Unknown combination of migration flags: 0x{flags:x}", "ram_load_precopy",
    ),
    "ram-address": _ram(
        "Getting RAM address failed", "ram_load_precopy", reason=EIO,
    ),
    "ram-offset": _ram("Illegal RAM offset {address:x}", "ram_load_precopy"),
    "ram-zero": _ram("Found a zero page with value {fill:d}", "ram_load_precopy"),
    "ram-block": _ram("Can't find block {block}", "ram_block_from_stream"),
    "ram-continue": _ram("Ack, bad migration stream!", "ram_block_from_stream"),
    "xbzrle-compression": _ram(
        "Failed to load XBZRLE page - wrong compression!", "load_xbzrle",
    ),
    "xbzrle-length": _ram("Failed to load XBZRLE page - len overflow!", "load_xbzrle"),
    "xbzrle-decode": _ram("Failed to load XBZRLE page - decode error!", "load_xbzrle"),
    "xbzrle-page": _ram(
        "Failed to decompress XBZRLE page at {address:x}", "ram_load_precopy",
    ),
    "ram-state": Message("", _RAM + "ram_load()", in_state=True),
    "ram-cut": Message("", _RAM + "ram_load_precopy()", reason=EIO, in_state=True),
    # -- the state of devices
    "version-new": Message(
        "{vmsd}: incoming version_id {version:d} is too new for local version_id"
        " {local_version:d}", _VMSTATE + "vmstate_load_state()", joined=True,
    ),
    "version-old": Message(
        "{vmsd}: incoming version_id {version:d} is too old for local minimum version_id "
        " {local_version:d}", _VMSTATE + "vmstate_load_state()",
        since={11: "{vmsd}: incoming version_id {version:d} is too old for local minimum version_id"
        " {local_version:d}"}, in_state=True, joined=True,
    ),
    "subsection": Message(
        "", _VMSTATE + "vmstate_subsection_load()", reason=ENOENT,
    ),
    "field": Message(
        "Failed to load {vmsd}:{field}", _VMSTATE + "vmstate_load_state()",
        since={11: "Failed to load {vmsd} state: stream error: -5"}, reason=EIO, joined=True,
    ),
    "element": Message(
        "", _VMSTATE + "vmstate_load_field()",
        since={11: "Failed to load element of type {type} for {field}"}, in_state=True, joined=True,
    ),
    "must-exist": Message(
        "Input validation failed: {vmsd}/{field}", _VMSTATE + "vmstate_load_state()",
        since={11: "Input validation failed: {vmsd}/{field} version_id: {version:d}"},
        in_state=True, joined=True,
    ),
    "post-load": Message(
        "", _VMSTATE + "vmstate_post_load()",
        since={11: "post load hook failed for: {vmsd}, version_id: {version:d}, minimum_version:"
        " {local_version:d}, ret: {ret:d}"}, in_state=True, joined=True,
    ),
    "vapic": Message(
        "", "hw/i386/kvmvapic.c vapic_post_load()",
        since={11: "post load hook failed for: kvm-tpr-opt, version_id: 1, minimum_version: 1,"
        " ret: -1"},
        reason=EPERM, in_state=True, joined=True,
    ),
    "pci-config": Message(
        "get_pci_config_device: Bad config data: i=0x{offset:x} read: {read:x} device:"
        " {own:x} cmask: {cmask:x} wmask: {wmask:x} w1cmask:{w1cmask:x}",
        "hw/pci/pci.c get_pci_config_device()", in_state=True,
    ),
    "pci-irq-state": Message(
        "irq state {level:d}: must be 0 or 1.", "hw/pci/pci.c get_pci_irq_state()", in_state=True,
    ),
    "not-equal": Message(
        "{local:x} != {value:x}", "migration/vmstate-types.c get_int32_equal()", in_state=True,
        joined=True,
    ),
    "not-below": Message(
        "Invalid value {value:d} expecting positive value <= {local:d}",
        "migration/vmstate-types.c get_int32_le()", in_state=True, joined=True,
    ),
    "cpreg": Message(
        "", "target/arm/machine.c cpu_post_load()",
        since={11: "system register 0x{index:x} in the incoming stream but unknown"}, in_state=True,
    ),
    # What 11 writes of a register that keeps another value is not known.
    "cpreg-value": Message("", "target/arm/helper.c write_list_to_cpustate()", in_state=True),
    "spapr-cap": Message(
        "{capability} higher level ({value:d}) in incoming stream than on destination ({local:d})",
        "hw/ppc/spapr_caps.c spapr_caps_post_migration()", in_state=True,
    ),
    "property-changed": Message(
        "Property '{property}' changed from 0x{value:x} to 0x{local:x}",
        "hw/virtio/virtio-mem.c virtio_mem_post_load()", in_state=True,
    ),
    "e1000e-subsys": Message(
        "ERROR: Cannot migrate while device properties (subsys/subsys_ven) differ",
        "hw/net/e1000e.c e1000e_post_load()", in_state=True,
    ),
    "virtio-features": Message(
        "Features 0x{features:x} unsupported. Allowed features: 0x{allowed:x}",
        "hw/virtio/virtio.c virtio_load()", in_state=True,
    ),
    # -- how the file is opened, and what is no message of a loader
    "multi-channel": Message(
        "Migration requires multi-channel URIs (e.g. tcp)",
        "migration/migration.c migration_channels_and_transport_compatible()",
    ),
    "fd-file": Message(
        "fd: migration to a file is deprecated. Use file: instead.",
        "migration/fd.c fd_start_incoming_migration()",
        since={11: "fd: migration to a file is not supported. Use file: instead."},
    ),
    "allocation": Message(
        "failed to allocate {bytes:d} bytes", "glib/gmem.c g_malloc()",
    ),
}  # fmt: skip
