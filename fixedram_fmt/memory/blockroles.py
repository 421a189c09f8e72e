"""Which block is what: the machine's RAM, DIMMs, and blocks that belong to devices.

QEMU names a device's block after the device (`0000:00:02.0/vga.vram`, `/rom@etc/acpi/tables`) or
by a fixed name; a memory backend's block has the id that the user or libvirt gave it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.blocks import RamBlock

__all__ = ["Roles", "is_device_block", "main_blocks", "roles_of"]

#: Names that QEMU itself gives the RAM of machines without a memory backend (MachineClass
#: default_ram_id).
MAIN_NAMES = (
    "pc.ram", "microvm.ram", "mach-virt.ram", "riscv_virt_board.ram", "s390.ram",
    "ppc_spapr.ram", "m68k_virt.ram", "loongarch.ram", "sbsa-ref.ram", "riscv.spike.ram",
    "riscv.sifive.u.ram",
)  # fmt: skip

#: Blocks of devices and firmware that have no slash in their names.
_DEVICE_NAMES = frozenset({
    "pc.rom", "pc.bios", "isa-bios", "tpm-ppi", "smbase", "vmsvga.fifo", "mach-virt.tag",
    "virt.secure-ram", "virt.secure-ram-tag", "riscv_virt_board.mrom", "vga.vram", "vga.rom",
})  # fmt: skip
_DEVICE_NAME = re.compile(r".*\.(?:rom|flash\d*|vram|tag|bios)", re.DOTALL)

_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\d{1,9})", re.DOTALL)

#: ACPI_MAX_RAM_SLOTS
_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Roles:
    """The blocks by role; main's make up the machine's RAM in this order.

    spare are backends that are no part of it (DIMMs, NVDIMMs); guess tells why main was chosen
    where that is not certain.
    """

    main: tuple[RamBlock, ...] = ()
    spare: tuple[RamBlock, ...] = ()
    devices: dict[str, RamBlock] = field(default_factory=dict)
    guess: str = ""

    @property
    def length(self) -> int:
        """Bytes of the machine's RAM."""
        return sum(block.used_length for block in self.main)


def roles_of(blocks: Sequence[RamBlock], fits: Sequence[int] = ()) -> Roles:
    """Sort blocks into roles; fits tells by length whether a sum is the machine's RAM.

    fits is (length, granularity) as the CMOS has it, or empty where nothing tells.
    """
    devices: dict[str, RamBlock] = {}
    backends: list[RamBlock] = []
    for block in blocks:
        if is_device_block(block.name):
            devices.setdefault(block.name, block)
        elif block.used_length:
            backends.append(block)
    main, guess = main_blocks(backends, fits)
    chosen = {block.index for block in main}
    spare = tuple(block for block in backends if block.index not in chosen)
    return Roles(main, spare[:_SLOTS], devices, guess)


def is_device_block(name: str) -> bool:
    """Whether a block of this name is a device's or firmware's, not the machine's RAM or a DIMM."""
    return "/" in name or name in _DEVICE_NAMES or _DEVICE_NAME.fullmatch(name) is not None


def main_blocks(
    backends: Sequence[RamBlock], fits: Sequence[int] = ()
) -> tuple[tuple[RamBlock, ...], str]:
    """The backends that are the machine's RAM, and a note where that is a guess."""
    for block in backends:
        if block.name in MAIN_NAMES:
            return (block,), ""
    if not backends:
        return (), ""
    groups = _numbered_groups(backends)
    if fits:
        single = [block for block in backends if _agrees(block.used_length, fits)]
        if single:
            return (single[0],), _choice_guess(single)
        for group in (*groups, tuple(backends)):
            if _agrees(sum(block.used_length for block in group), fits):
                return _in_order(group)
    for group in groups:
        # What libvirt calls the backends of a guest's NUMA nodes.
        if group[0].name.startswith("ram-node"):
            return _in_order(group)
    largest = max(backends, key=lambda block: block.used_length)
    guess = f"{largest.name} is taken for the machine's RAM: the largest memory backend"
    return (largest,), guess if len(backends) > 1 else ""


def _agrees(length: int, fits: Sequence[int]) -> bool:
    wanted, granularity = fits
    return 0 <= length - wanted < granularity


def _numbered_groups(backends: Sequence[RamBlock]) -> list[tuple[RamBlock, ...]]:
    """Backends whose names differ in their number alone, by number."""
    groups: dict[str, list[tuple[int, RamBlock]]] = {}
    for block in backends:
        match = _NUMBERED.fullmatch(block.name)
        if match:
            groups.setdefault(match["stem"], []).append((int(match["number"]), block))
    return [
        tuple(block for _, block in sorted(group, key=lambda pair: pair[0]))
        for group in groups.values()
        if len(group) > 1
    ]


def _choice_guess(alike: Sequence[RamBlock]) -> str:
    """A note where a DIMM's backend may be as long as the machine's RAM."""
    if len(alike) == 1:
        return ""
    taken, other = alike[0].name, alike[1].name
    return f"{taken} is taken for the machine's RAM, a guess: {other} is as long"


def _in_order(group: Sequence[RamBlock]) -> tuple[tuple[RamBlock, ...], str]:
    """The backends as they follow one another in the machine's RAM, and how that is known.

    With x-ignore-shared the block list has each one's offset in it, where it is mapped.
    """
    at, told = 0, sorted(group, key=lambda block: block.region_address or 0)
    for block in told:
        if block.region_address != at:
            break
        at += block.used_length
    else:
        return tuple(told), ""
    names = ", ".join(block.name for block in group[:4])
    more = ", ..." * (len(group) > 4)
    return tuple(group), f"RAM is put together from {names}{more} in the order of names"
