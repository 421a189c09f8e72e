"""Virtual addresses against QEMU's own translation (HMP gva2gpa) on guests with paging on.

The guests are a few hand-assembled instructions that load the registers and wait; the tables are
made here, random within what the architecture allows, and put into memory by `-device loader`.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.memory import PhysicalMemory
from fixedram_fmt.memory.paging import VirtualMemory, registers_of
from qemu_vm import QemuVM, require_qemu
from support.paging import ADDRESSES, MIB, Tables, ask, compare, gva2gpa, save

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

TABLES = MIB


# -- x86 -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class X86Mode:
    """CR0, CR4, EFER and the shift of each level's index, first level first."""

    cr4: int
    shifts: tuple[int, ...]
    first_entries: int = 512
    entry: int = 8
    efer: int = 0
    cpu: str = "max"


PG_PE = 0x8000_0011
X86 = {
    "32-bit": X86Mode(0, (22, 12), 1024, 4),
    "32-bit with large pages": X86Mode(0x10, (22, 12), 1024, 4),
    "PAE": X86Mode(0x20, (30, 21, 12), 4),
    "4-level": X86Mode(0x20, (39, 30, 21, 12), efer=0x100),
    "5-level": X86Mode(0x1020, (48, 39, 30, 21, 12), efer=0x100),
}
BIOS = 0xFFFF_0000


def x86_tables(mode: X86Mode, chance: random.Random) -> tuple[int, Tables, list[int]]:
    """Tables that map the BIOS to itself and other pages at random; root and addresses to ask."""
    tables = Tables(TABLES, mode.entry, chance)
    root = tables.table(mode.first_entries, 4096)
    asked: list[int] = []
    paths = [BIOS]
    top = mode.shifts[0] + (mode.first_entries.bit_length() - 1)
    for _ in range(24):
        paths.append(chance.getrandbits(top))
    links: dict[tuple[int, int], int] = {}
    for number, path in enumerate(paths):
        table = root
        for level, shift in enumerate(mode.shifts):
            size = 1024 if mode.entry == 4 else mode.first_entries if level == 0 else 512
            index = path >> shift & size - 1
            last = shift == 12
            may = (mode.entry == 8 and shift in (21, 30) and len(mode.shifts) > 3) or (
                mode.cr4 & 0x30 and shift in (21, 22)
            )
            if (table, index) in links and links[table, index] < 0:
                break
            if last or (may and number and chance.random() < 0.4 and (table, index) not in links):
                frame = (
                    BIOS
                    if number == 0
                    else chance.getrandbits(36)
                    if mode.entry == 8
                    else (chance.getrandbits(32))
                )
                flags = 7 if last else 0x87
                value = frame & -(1 << shift) | flags
                tables.set(table, index, value)
                links[table, index] = -1
                break
            if (table, index) not in links:
                links[table, index] = tables.table(1024 if mode.entry == 4 else 512, 4096)
                rights = 1 if mode.entry == 8 and len(mode.shifts) == 3 and level == 0 else 7
                tables.set(table, index, links[table, index] | rights)
            table = links[table, index]
        asked += [path, path ^ chance.getrandbits(12), path ^ 1 << chance.randrange(12, top)]
    while len(asked) < ADDRESSES:
        asked.append(chance.choice(paths) ^ chance.getrandbits(chance.randrange(1, top)))
    if mode.efer:
        sign = 1 << top - 1
        asked = [(address ^ sign) - sign & (1 << 64) - 1 for address in asked]
    return root, tables, asked


def x86_bios(mode: X86Mode, root: int) -> bytes:
    """Loads CR3, CR4, EFER and CR0 in turn, writes `!` to the debug port, halts."""
    code = bytearray(b"\xfa")
    code += b"\x66\xb8" + root.to_bytes(4, "little") + b"\x0f\x22\xd8"
    code += b"\x66\xb8" + mode.cr4.to_bytes(4, "little") + b"\x0f\x22\xe0"
    if mode.efer:
        code += b"\x66\xb9\x80\x00\x00\xc0\x66\xb8" + mode.efer.to_bytes(4, "little")
        code += b"\x66\x31\xd2\x0f\x30"
    code += b"\x66\xb8" + PG_PE.to_bytes(4, "little") + b"\x0f\x22\xc0"
    code += b"\xb0!\xe6\xe9\xf4\xeb\xfd"
    image = code.ljust(0xFFF0, b"\x90") + b"\xe9" + (0x10000 - 0xFFF3).to_bytes(2, "little")
    return bytes(image.ljust(0x10000, b"\0"))


@pytest.mark.parametrize("name", X86)
def test_x86_addresses_lead_where_qemu_says(name: str, tmp_path: Path) -> None:
    mode, chance = X86[name], random.Random(name)
    root, tables, asked = x86_tables(mode, chance)
    (tmp_path / "tables").write_bytes(tables.data)
    (tmp_path / "bios").write_bytes(x86_bios(mode, root))
    arguments = (
        *("-S", "-accel", "tcg", "-machine", "pc", "-cpu", mode.cpu, "-m", "32", "-bios", "bios"),
        *("-device", f"loader,file=tables,addr={TABLES},force-raw=on"),
        *("-chardev", "stdio,id=con,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=con"),
    )
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(arguments)
        vm.cont()
        vm.wait_output(b"!")
        vm.stop()
        truth = {address: gva2gpa(vm, address) for address in asked}
        seen = vm.pmemsave(BIOS, BIOS + 64)
        save(vm, tmp_path / "image")
    compare(tmp_path / "image", truth)
    with Image.open(tmp_path / "image") as image:
        registers = registers_of(image.state)
        assert name.split(maxsplit=1)[0] in registers.mode
        assert VirtualMemory(PhysicalMemory(image), registers).read(BIOS, 64) == seen


# -- RISC-V ---------------------------------------------------------------------------------------

RISCV_CODE, RISCV_TABLES = 1 << 31, (1 << 31) + 2 * MIB


def riscv_code(satp: int) -> bytes:
    """Opens all memory to supervisor mode, loads satp, goes there and says so in a register."""
    words = [
        0xFFF00313,  # li t1, -1
        0x3B031073,  # csrw pmpaddr0, t1
        0x01F00313,  # li t1, 0x1f
        0x3A031073,  # csrw pmpcfg0, t1
        0x00000297,  # auipc t0, 0
        0x0302B303,  # ld t1, 48(t0)
        0x18031073,  # csrw satp, t1
        0x0282B303,  # ld t1, 40(t0)
        0x30031073,  # csrw mstatus, t1
        0x02028313,  # addi t1, t0, 32
        0x34131073,  # csrw mepc, t1
        0x30200073,  # mret
        0x12300513,  # li a0, 0x123
        0x0000006F,  # j .
    ]
    # MPP = supervisor
    return struct.pack("<14I2Q", *words, 0xA_0000_0800, satp)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_riscv_addresses_lead_where_qemu_says(levels: int, tmp_path: Path) -> None:
    chance = random.Random(levels)
    tables, bits = Tables(RISCV_TABLES, 8, chance), 12 + 9 * levels
    root = tables.table(512, 4096)
    paths = [RISCV_CODE, *(chance.getrandbits(bits - 1) for _ in range(30))]
    links: dict[tuple[int, int], int] = {}
    for path in paths:
        table = root
        for left in reversed(range(levels)):
            shift = 12 + 9 * left
            place = table, path >> shift & 511
            if links.get(place, 0) < 0:
                break
            large = left < 3 and path != RISCV_CODE and place not in links
            if not left or (large and chance.random() < 0.3):
                out = (RISCV_CODE if path == RISCV_CODE else chance.getrandbits(44)) & -(1 << shift)
                tables.set(*place, out >> 2 | 0xCF)
                links[place] = -1
                break
            if place not in links:
                links[place] = tables.table(512, 4096)
                tables.set(*place, links[place] >> 2 | 1)
            table = links[place]
    asked = []
    for path in paths:
        asked += [path, path ^ chance.getrandbits(12)]
        asked += [path ^ 1 << chance.randrange(12, bits - 1) for _ in range(4)]
    asked += [address | (1 << 64) - (1 << bits - 1) for address in asked[:20]]
    (tmp_path / "code").write_bytes(riscv_code((levels + 5) << 60 | root >> 12))
    (tmp_path / "tables").write_bytes(tables.data)
    machine = ("-machine", "virt", "-cpu", "max", "-bios", "none")
    where = (RISCV_CODE, RISCV_TABLES)
    truth = ask(tmp_path, "riscv64", machine, where, "x10/a0   0000000000000123", asked)
    compare(tmp_path / "image", truth)
