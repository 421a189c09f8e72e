"""Machines whose RAM lies at fixed addresses, as data.

Upstream: QEMU hw/arm/virt.c base_memmap; hw/riscv/virt.c virt_memmap; hw/loongarch/virt.c and
include/hw/loongarch/virt.h; hw/s390x/s390-virtio-ccw.c; hw/ppc/spapr.c; hw/m68k/virt.c;
hw/arm/sbsa-ref.c; hw/riscv/spike.c; hw/riscv/sifive_u.c; hw/avr/atmega.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.memory.blockroles import roles_of
from fixedram_fmt.memory.dimms import paint_backends
from fixedram_fmt.memory.ranges import GIB, MIB

if TYPE_CHECKING:
    from fixedram_fmt.memory.blockroles import Roles
    from fixedram_fmt.memory.devicefacts import Machine
    from fixedram_fmt.memory.ranges import Canvas

__all__ = ["Board", "board_of", "paint_board"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A block that always lies at start; kind as in MemoryRange, length at most (0: all of it)."""

    start: int
    kind: str = "rom"
    length: int = 0


@dataclass(frozen=True, slots=True)
class Board:
    """A machine: windows are (start, length) of RAM, filled in turn; a length of 0 is no limit.

    names is the machine type in the stream, main the block QEMU makes for its RAM.  Several
    architectures have a `virt`: devices are names of sections that only this one has.
    """

    title: str
    names: re.Pattern[str]
    windows: tuple[tuple[int, int], ...]
    main: str = ""
    devices: frozenset[str] = frozenset()
    fixed: dict[str, Fixed] = field(default_factory=dict)
    plugs: bool = False


_VIRT = re.compile(r"virt(?:-.*)?")


def _avr(name: str, sram: int, length: int) -> Board:
    fixed = {"flash": Fixed(0), "sram": Fixed(sram, "ram", length)}
    return Board(name, re.compile(re.escape(name)), (), fixed=fixed)


BOARDS = (
    Board(
        "arm virt",
        _VIRT,
        ((GIB, 0),),
        "mach-virt.ram",
        frozenset({"arm_gic", "arm_gicv3", "pl011", "pl031", "pl061"}),
        {"virt.flash0": Fixed(0), "virt.flash1": Fixed(64 * MIB)},
        plugs=True,
    ),
    Board(
        "riscv virt",
        _VIRT,
        ((2 * GIB, 0),),
        "riscv_virt_board.ram",
        frozenset({"riscv_sifive_plic", "riscv_mtimer", "riscv_aplic", "riscv_imsic"}),
        {
            "riscv_virt_board.mrom": Fixed(0x1000),
            "virt.flash0": Fixed(0x2000_0000),
            "virt.flash1": Fixed(0x2200_0000),
        },
    ),
    Board(
        "loongarch virt",
        _VIRT,
        ((0, 256 * MIB), (2 * GIB, 0)),
        "loongarch.ram",
        frozenset({"loongarch_pch_pic", "loongson_ipi", "loongarch_ipi", "loongarch.extioi"}),
        {"virt.flash0": Fixed(0x1C00_0000), "virt.flash1": Fixed(0x1D00_0000)},
        plugs=True,
    ),
    Board(
        "m68k virt",
        _VIRT,
        ((0, 0),),
        "m68k_virt.ram",
        frozenset({"m68k-irqc", "virt-ctrl"}),
    ),
    Board("s390-ccw-virtio", re.compile(r"s390-ccw-virtio.*"), ((0, 0),), "s390.ram", plugs=True),
    Board("pseries", re.compile(r"pseries.*"), ((0, 0),), "ppc_spapr.ram", plugs=True),
    Board(
        "sbsa-ref",
        re.compile(r"sbsa-ref"),
        ((1 << 40, 0),),
        "sbsa-ref.ram",
        fixed={"sbsa.flash1": Fixed(0x1000_0000)},
    ),
    Board(
        "riscv spike",
        re.compile(r"spike"),
        ((2 * GIB, 0),),
        "riscv.spike.ram",
        fixed={"riscv.spike.mrom": Fixed(0x1000)},
    ),
    Board(
        "sifive_u",
        re.compile(r"sifive_u"),
        ((2 * GIB, 0),),
        "riscv.sifive.u.ram",
        fixed={
            "riscv.sifive.u.mrom": Fixed(0x1000),
            "riscv.sifive.u.l2lim": Fixed(0x0800_0000, "ram"),
            "riscv.sifive.u.flash0": Fixed(0x2000_0000, "ram"),
        },
    ),
    _avr("arduino-uno", 0x800100, 0x800),
    _avr("arduino-duemilanove", 0x800100, 0x400),
    _avr("arduino-mega-2560-v3", 0x800200, 0x2000),
    _avr("arduino-mega", 0x800200, 0x2000),
)


def board_of(machine: Machine) -> Board | None:
    """The machine of an image: by the block of its RAM, or by its name and devices."""
    blocks = {block.name for block in machine.image.blocks}
    for board in BOARDS:
        if board.main and board.main in blocks:
            return board
    for board in BOARDS:
        if board.names.fullmatch(machine.name) and (
            not board.devices or board.devices & machine.names
        ):
            return board
    return None


def paint_board(canvas: Canvas, machine: Machine, board: Board) -> Roles:
    """RAM in its windows, blocks with a place of their own, and what is plugged in."""
    blocks = machine.image.blocks
    roles = roles_of([block for block in blocks if block.name not in board.fixed])
    for block in blocks:
        place = board.fixed.get(block.name)
        if place is not None:
            source = f"{board.title}: {block.name} at {place.start:#x}"
            length = place.length or None
            canvas.paint(place.start, block, source, length=length, kind=place.kind)
    if roles.guess:
        canvas.note(roles.guess)
    top = _fill_windows(canvas, roles, board)
    if board.plugs and roles.main:
        paint_backends(canvas, machine, roles, top)
    return roles


def _fill_windows(canvas: Canvas, roles: Roles, board: Board) -> int:
    """The RAM blocks, one after the other, over the windows; where the last of them ends."""
    windows = list(board.windows)
    at = room = 0
    for block in roles.main:
        offset = 0
        while offset < block.used_length:
            if not room:
                if not windows:
                    return at
                at, room = windows.pop(0)
                room = room or 1 << 64
            length = min(room, block.used_length - offset)
            source = f"{board.title}: RAM from {at:#x}" if not offset else f"{board.title}: RAM"
            canvas.paint(at, block, source, offset=offset, length=length)
            at, room, offset = at + length, room - length, offset + length
    return max(at, *(start for start, _ in board.windows)) if board.windows else at
