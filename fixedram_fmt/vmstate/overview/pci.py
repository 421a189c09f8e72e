"""The PCI devices of a machine by address, from the configuration space in their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fixedram_fmt.errors import FormatError
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema import pci

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["PciDevice", "pci_devices"]

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


class PciDevice(Result, frozen=True):
    """A PCI device and its kind; path is that of its configuration space in the state."""

    address: str
    name: str
    vendor_id: Unsigned
    device_id: Unsigned
    class_code: Unsigned
    class_name: str = msgspec.field(name="class")
    bars: tuple[pci.Bar, ...]
    path: str


def pci_devices(state: MachineState) -> list[PciDevice]:
    """All PCI devices whose state has a configuration space, by address."""
    found = [one for device in state.devices if (one := _device(device)) is not None]
    return sorted(found, key=lambda one: one.address)


def _device(device: DeviceState) -> PciDevice | None:
    match = pci.ADDRESS.fullmatch(device.name)
    space = _configuration_space(device) if match else None
    if match is None or space is None:
        return None
    value, raw = space
    try:
        header, _ = pci.CONFIG_HEADER.parse(raw, offset=value.offset, path=value.path)
    except FormatError:
        return None
    code = header.class_code
    return PciDevice(
        address=match[1],
        name=match[2] or device.name,
        vendor_id=header.vendor_id,
        device_id=header.device_id,
        class_code=code,
        class_name=_CLASSES.get(code, f"class {code:04x}"),
        bars=tuple(pci.bars(header)),
        path=value.path,
    )


def _configuration_space(device: DeviceState) -> tuple[Value, bytes] | None:
    """The value that holds the space, and its bytes: a field of its own, or inside virtio's."""
    from fixedram_fmt.vmstate.overview.virtio import blob_of
    from fixedram_fmt.vmstate.paths import Pattern

    for value in device.find(Pattern("**/config[?]")):
        if value.type == pci.CONFIG_TYPE:
            return value, value.raw
    blob = blob_of(device)
    if blob is None or blob.config is None:
        return None
    return blob.value, blob.config
