"""What the map needs of the devices' state, read from the bodies of their sections.

Only things that begin a body are taken, whose place is the same in every version: neither the
description nor the decoder is needed, so that an image without one has a map too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema.pci import ADDRESS, CONFIG_HEADER, bars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.facts import ImageFacts

__all__ = ["Machine", "PciDevice"]

CMOS_BYTES = 128

#: PCIDevice.config of a conventional device, after the int32 version_id of vmstate_pci_device.
_PCI_VERSION = b"\0\0\0\2"
_CONFIG_BYTES = 256
#: More functions than a PCI segment's first bus has are not looked at.
_PCI_CEILING = 1024

_COMMAND_MEMORY = 2
CLASS_VGA = 0x0300


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One function: its bus address (`0000:00:02.0`), its section's name, its config space."""

    address: str
    name: str
    config: bytes

    def word(self, offset: int, size: int = 2) -> int:
        """A little-endian number of the config space."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    @property
    def is_vga(self) -> bool:
        """Whether it is a VGA adapter, which answers at 0xa0000."""
        return self.word(0x0A) == CLASS_VGA

    def bar(self, number: int) -> int | None:
        """Address of memory BAR number, None while it is switched off or not programmed.

        Upstream: QEMU hw/pci/pci.c pci_bar_address().
        """
        header, _ = CONFIG_HEADER.parse(self.config)
        if not header.command & _COMMAND_MEMORY:
            return None
        memory = {bar.number: bar.address for bar in bars(header) if not bar.is_io}
        return memory.get(number)

    @property
    def rom_bar(self) -> int | None:
        """Address of the expansion ROM, None while it is switched off."""
        header, _ = CONFIG_HEADER.parse(self.config)
        value = header.rom_address
        on = value & 1 and header.command & _COMMAND_MEMORY
        return (value & ~0x7FF or None) if on else None


class Machine:
    """The sections of an image by name, and the bodies that say where memory lies."""

    def __init__(self, image: ImageFacts) -> None:
        self.image = image
        self.name = image.machine or ""
        self.sections: Sequence[Section] = image.sections
        self.names = {section.name for section in self.sections}
        self._pci: dict[str, PciDevice] | None = None

    def body(self, name: str, length: int) -> bytes | None:
        """The first length bytes of the body of the device called name."""
        for section in self.sections:
            if section.name == name:
                return self._start_of(section, length)
        return None

    def _start_of(self, section: Section, length: int) -> bytes | None:
        if (section.body_length or 0) < length:
            return None
        try:
            return self.image.source.read_exact(section.body_offset, length)
        except FixedRamError:
            return None

    @property
    def cmos(self) -> bytes | None:
        """The 128 bytes of CMOS: what vmstate_rtc begins with (QEMU hw/rtc/mc146818rtc.c)."""
        return self.body("mc146818rtc", CMOS_BYTES)

    @property
    def pci(self) -> dict[str, PciDevice]:
        """PCI devices by address, those whose body begins with their config space."""
        if self._pci is None:
            self._pci = {device.address: device for device in self._pci_devices()}
        return self._pci

    def _pci_devices(self) -> Iterator[PciDevice]:
        left = _PCI_CEILING
        for section in self.sections:
            match = ADDRESS.fullmatch(section.name)
            if match is None:
                continue
            left -= 1
            if left < 0:
                return
            body = self._start_of(section, 4 + _CONFIG_BYTES)
            if body is None or not body.startswith(_PCI_VERSION):
                continue
            config = body[4:]
            # Bridges (header type 1) have no blocks, and other things where the BARs are.
            if config[:2] in (b"\0\0", b"\xff\xff") or config[0x0E] & 0x7F:
                continue
            yield PciDevice(match[1], match[2] or "", config)

    def host_bridge(self, name: str) -> PciDevice | None:
        """The host bridge that QEMU calls name (`I440FX`, `mch`)."""
        return next((device for device in self.pci.values() if device.name == name), None)

    @property
    def has_vga(self) -> bool:
        """Whether some adapter answers at 0xa0000."""
        known = any(device.is_vga for device in self.pci.values())
        return known or bool(self.names & {"vga", "cirrus_vga"})
