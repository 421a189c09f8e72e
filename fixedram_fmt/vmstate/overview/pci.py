"""The PCI devices of a machine by address, from the configuration space in their state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import pci

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.vmstate.state import DeviceState, MachineState
    from fixedram_fmt.vmstate.values import Value

__all__ = ["ADDRESS", "Bar", "PciDevice", "bars", "pci_devices"]

#: How qdev names the way to a device: domain, bus of the root, then slot.function of each bridge.
ADDRESS = re.compile(r"([0-9a-f]{4}:[0-9a-f]{2}(?::[0-9a-f]{2}\.[0-7])+)(?:/(.*))?")

#: Base class and subclass, as the PCI Code and ID Assignment Specification names them.
_CLASSES = {
    0x0100: "SCSI controller",
    0x0101: "IDE controller",
    0x0106: "SATA controller",
    0x0108: "NVM controller",
    0x0180: "mass storage controller",
    0x0200: "Ethernet controller",
    0x0280: "network controller",
    0x0300: "VGA controller",
    0x0380: "display controller",
    0x0403: "audio device",
    0x0500: "RAM controller",
    0x0600: "host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "bridge",
    0x0700: "serial controller",
    0x0780: "communication controller",
    0x0880: "system peripheral",
    0x0900: "keyboard controller",
    0x0C03: "USB controller",
    0x0C05: "SMBus controller",
    0x00FF: "unclassified device",
}


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


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI device; path is that of its configuration space in the state."""

    address: str
    name: str
    vendor_id: int
    device_id: int
    class_code: int
    bars: tuple[Bar, ...]
    path: str

    @property
    def class_name(self) -> str:
        """What kind of device it is."""
        return _CLASSES.get(self.class_code, f"class {self.class_code:04x}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "address": self.address,
            "name": self.name,
            "vendor_id": self.vendor_id,
            "device_id": self.device_id,
            "class_code": self.class_code,
            "class": self.class_name,
            "bars": [
                {"number": bar.number, "address": bar.address, "kind": bar.kind}
                for bar in self.bars
            ],
            "path": self.path,
        }


def pci_devices(state: MachineState) -> list[PciDevice]:
    """All PCI devices whose state has a configuration space, by address."""
    found = [one for device in state.devices if (one := _device(device)) is not None]
    return sorted(found, key=lambda one: one.address)


def _device(device: DeviceState) -> PciDevice | None:
    match = ADDRESS.fullmatch(device.name)
    space = _configuration_space(device) if match else None
    if match is None or space is None:
        return None
    value, raw = space
    try:
        header, _ = pci.CONFIG_HEADER.parse(raw, offset=value.offset, path=value.path)
    except FormatError:
        return None
    return PciDevice(
        address=match[1],
        name=match[2] or device.name,
        vendor_id=header.vendor_id,
        device_id=header.device_id,
        class_code=header.class_code,
        bars=tuple(bars(header)),
        path=value.path,
    )


def _configuration_space(device: DeviceState) -> tuple[Value, bytes] | None:
    """The value that holds the space, and its bytes: a field of its own, or inside virtio's."""
    from fixedram_fmt.vmstate.overview.virtio import blob_of
    from fixedram_fmt.vmstate.paths import Pattern

    for value in device.find(Pattern("**/config[?]")):
        if value.type == "pci config":
            return value, value.raw
    blob = blob_of(device)
    if blob is None or blob.config is None:
        return None
    return blob.value, blob.config


def bars(header: pci.ConfigHeader) -> Iterator[Bar]:
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
