"""The start of a PCI device's configuration space, which is little-endian as on the bus.

Upstream: QEMU include/hw/pci/pci_regs.h (from Linux); PCI Local Bus Specification 3.0, 6.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import construct as cs

from fixedram_fmt.schema.base import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ADDRESS", "CAP_ID_MSIX", "CONFIG_HEADER", "CONFIG_TYPE", "IRQ_STATE_TYPE", "PLACE", "Bar",
    "ConfigHeader", "bars",
]  # fmt: skip

#: How qdev names the way to a device: domain, bus of the root, then slot.function of each bridge.
ADDRESS = re.compile(r"([0-9a-f]{4}:[0-9a-f]{2}(?::[0-9a-f]{2}\.[0-7])+)(?:/(.*))?")

#: The same where a host bridge has a name of its own for its root: that of the bus, or of the unit
#: (hw/pci/pci.c pci_root_bus_path(), hw/ppc/spapr_pci.c spapr_phb_root_bus_path()).
PLACE = re.compile(
    r"((?:[0-9a-f]{4}:[0-9a-f]{2}|pci\.[0-9]|pci@[0-9a-f]{1,16})(?::[0-9a-f]{2}\.[0-7])+)(?:/(.*))?"
)

#: What descriptions call a configuration space and the levels of the pins: vmstate_info_pci_config
#: and vmstate_info_pci_irq_state.
CONFIG_TYPE, IRQ_STATE_TYPE = "pci config", "pci irq state"

#: PCI_CAP_ID_MSIX
CAP_ID_MSIX = 0x11


@dataclass(frozen=True, slots=True)
class ConfigHeader:
    """Offsets 0 to 0x34, type 0; a bridge (type 1) has other things where bar2 and on are."""

    vendor_id: int
    device_id: int
    command: int
    status: int
    revision_id: int
    prog_if: int
    class_code: int
    cache_line_size: int
    latency_timer: int
    header_type: int
    bist: int
    bar0: int
    bar1: int
    bar2: int
    bar3: int
    bar4: int
    bar5: int
    cardbus_cis: int
    subsystem_vendor_id: int
    subsystem_id: int
    rom_address: int
    capability_list: int


CONFIG_HEADER = Schema(
    cs.Struct(
        "vendor_id" / cs.Int16ul,
        "device_id" / cs.Int16ul,
        "command" / cs.Int16ul,
        "status" / cs.Int16ul,
        "revision_id" / cs.Int8ul,
        "prog_if" / cs.Int8ul,
        "class_code" / cs.Int16ul,
        "cache_line_size" / cs.Int8ul,
        "latency_timer" / cs.Int8ul,
        "header_type" / cs.Int8ul,
        "bist" / cs.Int8ul,
        *(f"bar{number}" / cs.Int32ul for number in range(6)),
        "cardbus_cis" / cs.Int32ul,
        "subsystem_vendor_id" / cs.Int16ul,
        "subsystem_id" / cs.Int16ul,
        "rom_address" / cs.Int32ul,
        "capability_list" / cs.Int8ul,
    ),
    ConfigHeader,
    "include/standard-headers/linux/pci_regs.h PCI_VENDOR_ID to PCI_CAPABILITY_LIST",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register that is set: where the device's region begins."""

    number: int
    address: int
    kind: str

    @property
    def is_io(self) -> bool:
        """Whether it is an address of ports, not of memory."""
        return self.kind == "I/O"


def bars(header: ConfigHeader) -> Iterator[Bar]:
    """The base addresses that are set, by the kind of header."""
    words = [header.bar0, header.bar1, header.bar2, header.bar3, header.bar4, header.bar5]
    number = 0
    count = 2 if header.header_type & 0x7F == 1 else 6
    while number < count:
        word = words[number]
        if word & 1:
            address, kind, step = word & ~3, "I/O", 1
        elif word >> 1 & 3 == 2 and number + 1 < count:
            address, kind, step = word & ~15 | words[number + 1] << 32, "64-bit memory", 2
        else:
            address, kind, step = word & ~15, "memory", 1
        if address:
            yield Bar(number, address, kind)
        number += step
