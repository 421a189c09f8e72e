"""The memory map of x86 machines: pc (i440fx), q35, microvm, isapc.

Upstream: QEMU hw/i386/pc.c pc_memory_init(), pc_get_device_memory_range(); hw/i386/pc_piix.c
pc_init1(); hw/i386/pc_q35.c pc_q35_init(); hw/i386/microvm.c microvm_memory_init();
hw/i386/x86-common.c x86_bios_rom_init(); hw/pci-host/{i440fx,q35,pam}.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.blockroles import Roles, roles_of
from fixedram_fmt.memory.dimms import paint_backends
from fixedram_fmt.memory.firmware import Firmware, paint_bars
from fixedram_fmt.memory.ranges import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.memory.devicefacts import Machine, PciDevice
    from fixedram_fmt.memory.ranges import Canvas

__all__ = [
    "I440FX",
    "ISAPC",
    "MICROVM",
    "Q35",
    "Kind",
    "cmos_lengths",
    "paint_x86",
    "x86_kind",
]

_FOUR_GIB = 4 * GIB
_CMOS_UNIT = 64 * KIB

#: AMD's HyperTransport range begins 12 GiB below 1 TiB (AMD_HT_START in hw/i386/pc.c).
_AMD_HT_START = 0xFD_0000_0000

_SMRAM_C = (0xA0000, 0xC0000)
_LOW_ROMS = (0xC0000, 0x100000)
_D_OPEN, _G_SMRAME, _T_EN = 0x40, 0x08, 0x01
_SMBASE_LOCKED = 0x02


@dataclass(frozen=True, slots=True)
class Kind:
    """An x86 machine: its default split of RAM of some length, and its host bridge."""

    title: str
    names: re.Pattern[str]
    below: Callable[[int], int]
    rule: str
    bridge: str = ""
    pam: int = 0
    smram: int = 0


def _below_i440fx(length: int) -> int:
    return length if length < 0xE000_0000 else 3 * GIB


def _below_q35(length: int) -> int:
    return length if length < 0xB000_0000 else 2 * GIB


def _below_microvm(length: int) -> int:
    return min(length, 3 * GIB)


I440FX = Kind(
    "pc",
    re.compile(r"pc-i440fx.*|pc(?:-(?:v?\d.*))?|xenfv.*"),
    _below_i440fx,
    "hole from 3 GiB once RAM reaches 3.5 GiB",
    "I440FX",
    pam=0x59,
    smram=0x72,
)
Q35 = Kind(
    "q35",
    re.compile(r"pc-q35.*|q35"),
    _below_q35,
    "hole from 2 GiB once RAM reaches 2.75 GiB",
    "mch",
    pam=0x90,
    smram=0x9D,
)
MICROVM = Kind("microvm", re.compile(r"microvm.*|nitro-enclave"), _below_microvm, "hole from 3 GiB")
ISAPC = Kind("isapc", re.compile(r"isapc"), _below_i440fx, "RAM from 0")


def x86_kind(machine: Machine) -> Kind | None:
    """Which x86 machine it is, by its name or by its host bridge; None for others."""
    for kind in (I440FX, Q35, MICROVM, ISAPC):
        if kind.names.fullmatch(machine.name):
            return kind
    for kind in (I440FX, Q35):
        if any(name.endswith(f"/{kind.bridge}") for name in machine.names):
            return kind
    return None


def paint_x86(canvas: Canvas, machine: Machine, kind: Kind) -> Roles:
    """Everything that the machine's address space shows of the image's blocks."""
    cmos = machine.cmos
    told = cmos_lengths(cmos) if cmos else None
    roles = roles_of(machine.image.blocks, (sum(told), _CMOS_UNIT) if told else ())
    if not roles.main:
        return roles
    below, source = _split(canvas, kind, roles, told)
    firmware = Firmware(roles, "rom" if kind.bridge else "ram")
    firmware.paint_high(canvas)
    if kind.bridge:
        paint_bars(canvas, machine, roles)
    top = _paint_ram(canvas, roles, below, source)
    paint_backends(canvas, machine, roles, top)
    bridge = machine.host_bridge(kind.bridge) if kind.bridge else None
    if bridge and kind is Q35:
        _hide_smram(canvas, bridge, below)
    if machine.has_vga and not (bridge and bridge.word(kind.smram, 1) & _D_OPEN):
        canvas.clear(*_SMRAM_C)
    if not kind.bridge:
        firmware.paint_low(canvas, _LOW_ROMS)
    elif bridge is None:
        canvas.note("0xc0000-0xfffff is shown as RAM, as firmware leaves it: no PAM registers")
    else:
        _paint_pam(canvas, roles, firmware, bridge, kind.pam)
    return roles


# -- RAM -----------------------------------------------------------------------------------------


def cmos_lengths(cmos: bytes) -> tuple[int, int]:
    """RAM below and above 4 GiB as firmware is told, in bytes (hw/i386/pc.c pc_cmos_init())."""
    extended = int.from_bytes(cmos[0x34:0x36], "little")
    if extended:
        below = 16 * MIB + extended * _CMOS_UNIT
    else:
        below = MIB + int.from_bytes(cmos[0x30:0x32], "little") * KIB
    return below, int.from_bytes(cmos[0x5B:0x5E], "little") * _CMOS_UNIT


def _split(
    canvas: Canvas, kind: Kind, roles: Roles, told: tuple[int, int] | None
) -> tuple[int, str]:
    """Bytes of RAM below 4 GiB, and who says so."""
    length = roles.length
    if roles.guess:
        canvas.note(roles.guess)
    if told:
        below, above = told
        if not above and 0 <= length - below < _CMOS_UNIT:
            return length, "CMOS 0x34-0x35 (mc146818rtc/cmos_data)"
        # Three bytes of CMOS: a TiB and more wraps.
        if above and below < length and (length - below) >> 16 & 0xFFFFFF == above >> 16:
            return below, "CMOS 0x34-0x35, 0x5b-0x5d (mc146818rtc/cmos_data)"
        canvas.note(
            f"CMOS tells of {below + above:#x} bytes of RAM, the block has {length:#x}:"
            f" the defaults of {kind.title} are used"
        )
    else:
        canvas.note(f"no CMOS in the image: the defaults of {kind.title} are used")
    return kind.below(length), f"default of {kind.title}: {kind.rule}"


def _paint_ram(canvas: Canvas, roles: Roles, below: int, source: str) -> int:
    """The RAM blocks, one after the other, over the two windows; where the second one ends."""
    done = 0
    for block in roles.main:
        first = max(0, min(block.used_length, below - done))
        if first:
            canvas.paint(done, block, source, length=first)
        if first < block.used_length:
            start = _FOUR_GIB + done + first - below
            canvas.paint(start, block, source, offset=first)
        done += block.used_length
    top = _FOUR_GIB + max(0, done - below)
    if top > _AMD_HT_START:
        canvas.note("an AMD guest of this size has its RAM above 4 GiB from 1 TiB on instead")
    return top


# -- the host bridge's registers -----------------------------------------------------------------


def _pam_segments(bridge: PciDevice, register: int) -> Iterator[tuple[int, int, int]]:
    """Segments of 0xc0000-0xfffff as (start, stop, mode): bit 0 reads, bit 1 writes go to RAM.

    Upstream: hw/pci-host/pam.c pam_update(): a nibble for each 16 KiB, low one first; the high
    nibble of the first register is for 0xf0000-0xfffff.
    """
    for number in range(12):
        value = bridge.word(register + 1 + number // 2, 1)
        start = _LOW_ROMS[0] + number * 16 * KIB
        yield start, start + 16 * KIB, value >> (4 if number % 2 else 0) & 3
    yield 0xF0000, 0x100000, bridge.word(register, 1) >> 4 & 3


def _paint_pam(
    canvas: Canvas, roles: Roles, firmware: Firmware, bridge: PciDevice, register: int
) -> None:
    block = roles.main[0]
    for start, stop, mode in _pam_segments(bridge, register):
        if mode:
            # QEMU cannot tell reads from writes here: mode 2, writes alone, is plain RAM too.
            kind = "rom" if mode == 1 else "ram"
            what = "read-only RAM" if mode == 1 else "RAM"
            source = f"PAM registers from {register:#x} of {bridge.name}: {what}"
            canvas.paint(start, block, source, offset=start, length=stop - start, kind=kind)
        else:
            firmware.paint_low(canvas, (start, stop))


def _hide_smram(canvas: Canvas, bridge: PciDevice, below: int) -> None:
    """What only code in system management mode sees, and what it opens at 0xfeda0000.

    Upstream: hw/pci-host/q35.c mch_update_smram(), mch_update_smbase_smram().
    """
    smram, esmramc = bridge.word(0x9D, 1), bridge.word(0x9E, 1)
    if smram & _G_SMRAME and esmramc & _T_EN:
        extended = bridge.word(0x50)
        told = extended if 0 < extended < 0xFFF else 16
        size = (MIB, 2 * MIB, 8 * MIB, told * MIB)[esmramc >> 1 & 3]
        canvas.clear(max(0, below - size), below)
        canvas.note(f"TSEG, {size:#x} bytes below {below:#x}, is open to SMM alone")
    if bridge.word(0x9C, 1) == _SMBASE_LOCKED:
        canvas.clear(0x30000, 0x50000)
        canvas.note("SMRAM at 0x30000-0x4ffff is locked: open to SMM alone")
