"""Blocks of firmware and PCI devices in an x86 address space.

Upstream: QEMU hw/i386/x86-common.c x86_bios_rom_init(), x86_isa_bios_init();
hw/i386/pc_sysfw.c pc_system_flash_map(), pc_isa_bios_init(); hw/i386/pc.c pc_memory_init().
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.memory.ranges import GIB, KIB

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.memory.blockroles import Roles
    from fixedram_fmt.memory.devicefacts import Machine, PciDevice
    from fixedram_fmt.memory.ranges import Canvas

__all__ = ["Firmware", "paint_bars"]

_ONE_MIB, _FOUR_GIB = 1024 * KIB, 4 * GIB
_PC_ROM = 0xC0000
_ISA_BIOS = 128 * KIB
_FLASHES = ("system.flash0", "system.flash1")


class Firmware:
    """pc.bios or the flash chips at the top of 4 GiB, their tail and pc.rom below 1 MiB.

    kind is what the guest sees them as: `rom`, or `ram` on machines without PCI.
    """

    def __init__(self, roles: Roles, kind: str) -> None:
        chips = [roles.devices[name] for name in _FLASHES if name in roles.devices]
        if not chips and "pc.bios" in roles.devices:
            chips = [roles.devices["pc.bios"]]
        self._chips = chips
        self._kind = kind
        self._low: list[tuple[int, RamBlock, int, str]] = []
        if "pc.rom" in roles.devices:
            self._low.append((_PC_ROM, roles.devices["pc.rom"], 0, "option ROMs at 0xc0000"))
        if "isa-bios" in roles.devices:
            # Before 9.1 a copy of the flash chip's end; since then an alias.
            block = roles.devices["isa-bios"]
            start = _ONE_MIB - min(block.used_length, _ISA_BIOS)
            self._low.append((start, block, 0, f"{block.name} ends at 1 MiB"))
        elif chips:
            shown = min(chips[0].used_length, _ISA_BIOS)
            source = f"the end of {chips[0].name} is seen below 1 MiB"
            self._low.append((_ONE_MIB - shown, chips[0], chips[0].used_length - shown, source))

    def paint_high(self, canvas: Canvas) -> None:
        """The chips, one below the other, the first ending at 4 GiB."""
        stop = _FOUR_GIB
        for chip in self._chips:
            start = stop - chip.used_length
            if start < 0:
                break
            canvas.paint(start, chip, f"{chip.name} ends at {stop:#x}", kind=self._kind)
            stop = start

    def paint_low(self, canvas: Canvas, window: tuple[int, int]) -> None:
        """What window (start, stop) below 1 MiB shows where it is not switched to RAM."""
        for start, block, offset, source in self._low:
            first, stop = max(start, window[0]), min(start + block.used_length, window[1])
            stop = min(stop, start + block.used_length - offset)
            if first < stop:
                canvas.paint(
                    first,
                    block,
                    source,
                    offset=offset + first - start,
                    length=stop - first,
                    kind=self._kind,
                )


#: Blocks that a device registers as a BAR of its own: by the end of their names.
_BAR_OF = {
    "cirrus_vga/vga.vram": 0,
    "vmware_vga/vga.vram": 1,
    "vga.vram": 0,
    "bochs-display-vram": 0,
    "qxl.vgavram": 0,
    "qxl.vram": 1,
}

_BAR_CEILING = 256
_VMSVGA_FIFO = "vmsvga.fifo"

_PREFIX = re.compile(r"(?P<address>[0-9a-f]{4}:[0-9a-f:./]*)/(?P<name>[^/]*)", re.DOTALL)


def paint_bars(canvas: Canvas, machine: Machine, roles: Roles) -> None:
    """Video memory and expansion ROMs where the devices' BARs put them, if they are on."""
    for name, block in list(roles.devices.items())[:_BAR_CEILING]:
        match = _PREFIX.fullmatch(name)
        if match is None:
            continue
        device = machine.pci.get(match["address"])
        if device is None:
            continue
        if match["name"].endswith(".rom"):
            if (address := device.rom_bar) is not None:
                source = f"expansion ROM BAR of {device.address} (PCI config)"
                canvas.paint(address, block, source, kind="rom")
            continue
        number = _bar_number(device, match["name"])
        address = device.bar(number) if number is not None else None
        if address is not None:
            canvas.paint(address, block, f"BAR {number} of {device.address} (PCI config)")
    _paint_vmsvga_fifo(canvas, machine, roles)


def _paint_vmsvga_fifo(canvas: Canvas, machine: Machine, roles: Roles) -> None:
    """vmware_vga's second block, whose name does not say whose it is: there can be only one."""
    block = roles.devices.get(_VMSVGA_FIFO)
    device = next((d for d in machine.pci.values() if d.name == "vmware_vga"), None)
    address = device.bar(2) if device else None
    if block and device and address is not None:
        canvas.paint(address, block, f"BAR 2 of {device.address} (PCI config)")


def _bar_number(device: PciDevice, name: str) -> int | None:
    number = _BAR_OF.get(f"{device.name}/{name}", _BAR_OF.get(name))
    if number is None and device.name == "ivshmem":
        return 2
    return number
