"""Virtual addresses against QEMU's own translation (HMP gva2gpa) on guests with paging on.

The guests are a few hand-assembled instructions that load the registers and wait; the tables are
made here, random within what the architecture allows, and put into memory by `-device loader`.
"""

from __future__ import annotations

import random
import re
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.memory import PhysicalMemory
from fixedram_fmt.memory.paging import VirtualMemory, registers_of, translate
from qemu_vm import QemuVM, require_qemu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.qemu

MIB = 1 << 20
TABLES = MIB
ADDRESSES = 400


class Tables:
    """Page tables of size-byte entries in one piece of memory at base, linked at random."""

    def __init__(self, base: int, entry: int, chance: random.Random) -> None:
        self.base, self.entry, self.chance = base, entry, chance
        self.data = bytearray()

    def table(self, entries: int, align: int) -> int:
        """A new empty table; its address."""
        self.data += bytes(-len(self.data) % align)
        at = self.base + len(self.data)
        self.data += bytes(entries * self.entry)
        return at

    def set(self, table: int, index: int, value: int) -> None:
        at = table - self.base + index * self.entry
        self.data[at : at + self.entry] = value.to_bytes(self.entry, "little")


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


# -- aarch64 ---------------------------------------------------------------------------------------

ARM_RAM = 1 << 30
ARM_CODE, ARM_TABLES = ARM_RAM + MIB, ARM_RAM + 2 * MIB


@dataclass(frozen=True)
class ArmMode:
    """Granule (log 2), bits of both halves, TBI."""

    shift: int
    bits0: int
    bits1: int
    tbi: int = 0


ARM = {
    "4K, 48 bits": ArmMode(12, 48, 48),
    "4K, 39 bits": ArmMode(12, 39, 36, 3),
    "16K, 47 bits": ArmMode(14, 47, 36),
    "16K, 48 bits": ArmMode(14, 48, 42, 1),
    "64K, 42 bits": ArmMode(16, 42, 48),
    "64K, 36 bits": ArmMode(16, 36, 36, 2),
}
TG0 = {12: 0, 14: 2, 16: 1}
TG1 = {12: 2, 14: 1, 16: 3}


def arm_half(tables: Tables, mode: ArmMode, bits: int, *, upper: bool) -> tuple[int, list[int]]:
    """One half's tables; root and addresses to ask."""
    chance, stride = tables.chance, mode.shift - 3
    levels = -(-(bits - mode.shift) // stride)
    first = 1 << bits - mode.shift - stride * (levels - 1)
    root = tables.table(first, max(64, first * 8))
    paths = [chance.getrandbits(bits) for _ in range(20)]
    if not upper:
        paths.insert(0, ARM_CODE)
    links: dict[tuple[int, int], int] = {}
    for path in paths:
        table = root
        for level in range(4 - levels, 4):
            shift = mode.shift + stride * (3 - level)
            size = first if level == 4 - levels else 1 << stride
            index = path >> shift & size - 1
            if links.get((table, index), 0) < 0:
                break
            block = {12: level in (1, 2), 14: level == 2, 16: level == 2}[mode.shift]
            own = path == ARM_CODE and not upper
            if level == 3 or (
                block and not own and (table, index) not in links and chance.random() < 0.4
            ):
                out = ARM_CODE if own else chance.getrandbits(40)
                out &= -(1 << shift)
                # AF, inner shareable; the kind of descriptor
                tables.set(table, index, out | 0x700 | (3 if level == 3 else 1))
                links[table, index] = -1
                break
            if (table, index) not in links:
                links[table, index] = tables.table(1 << stride, 1 << mode.shift)
                tables.set(table, index, links[table, index] | 3)
            table = links[table, index]
    asked = []
    for path in paths:
        asked += [path, path ^ chance.getrandbits(mode.shift)]
        asked += [path ^ 1 << chance.randrange(mode.shift, bits) for _ in range(4)]
    if upper:
        asked = [address | (1 << 64) - (1 << bits) for address in asked]
    # The top byte and the bits that must be equal.
    asked += [address ^ 1 << chance.randrange(bits, 64) for address in asked[:20]]
    asked += [address ^ 0x3700 << 48 for address in asked[:6]]
    return root, asked


def msr(op1: int, crn: int, crm: int, op2: int, value: int) -> bytes:
    """mov x0, value; msr S3_op1_crn_crm_op2, x0"""
    words = [0xD280_0000 | (value & 0xFFFF) << 5]
    for part in (1, 2, 3):
        words.append(0xF280_0000 | part << 21 | (value >> 16 * part & 0xFFFF) << 5)
    words.append(0xD518_0000 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5)
    return struct.pack("<5I", *words)


@pytest.mark.parametrize("name", ARM)
def test_aarch64_addresses_lead_where_qemu_says(name: str, tmp_path: Path) -> None:
    mode, chance = ARM[name], random.Random(name)
    tables = Tables(ARM_TABLES, 8, chance)
    root0, asked = arm_half(tables, mode, mode.bits0, upper=False)
    root1, more = arm_half(tables, mode, mode.bits1, upper=True)
    tcr = 64 - mode.bits0 | (64 - mode.bits1) << 16 | 5 << 32 | mode.tbi << 37
    tcr |= TG0[mode.shift] << 14 | TG1[mode.shift] << 30 | 0x3500 | 0x3500 << 16
    code = msr(0, 10, 2, 0, 0xFF) + msr(0, 2, 0, 2, tcr)
    code += msr(0, 2, 0, 0, root0) + msr(0, 2, 0, 1, root1)
    code += struct.pack("<I", 0xD5033FDF)  # isb
    code += msr(0, 1, 0, 0, 0x30D0_0801) + struct.pack("<I", 0xD5033FDF)
    # The serial port is not mapped any more: a register says that it got here.
    code += struct.pack("<2I", 0xD2824680, 0x14000000)  # mov x0, 0x1234; b .
    (tmp_path / "code").write_bytes(code)
    (tmp_path / "tables").write_bytes(tables.data)
    machine = ("-machine", "virt", "-cpu", "max")
    truth = ask(
        tmp_path,
        "aarch64",
        machine,
        (ARM_CODE, ARM_TABLES),
        "X00=0000000000001234",
        [*asked, *more],
    )
    compare(tmp_path / "image", truth)


def arm_blocks(tables: Tables, *blocks: tuple[int, int]) -> int:
    """Tables for 48 bits with 1 GiB blocks (number, where it leads); their root."""
    root, below = tables.table(512, 4096), tables.table(512, 4096)
    tables.set(root, 0, below | 3)
    for index, out in blocks:
        # AF, inner shareable, read-only for EL0 too: what EL0 may write EL2 may not run
        tables.set(below, index, out << 30 | 0x7C1)
    return root


def test_a_program_of_a_host_in_el2_has_the_tables_of_el2(tmp_path: Path) -> None:
    tables = Tables(ARM_TABLES, 8, random.Random(0))
    low = arm_blocks(tables, (1, 1), (3, 7), (9, 2))
    high = arm_blocks(tables, (0, 5), (2, 1))
    tcr = 16 | 16 << 16 | 2 << 30 | 5 << 32 | 0x3500 | 0x3500 << 16
    # HCR_EL2: E2H, RW, TGE; from there on what is called EL1 is EL2's, but for TTBR*_EL12.
    code = msr(4, 1, 1, 0, 1 << 34 | 1 << 31 | 1 << 27) + struct.pack("<I", 0xD5033FDF)
    code += msr(0, 10, 2, 0, 0xFF) + msr(0, 2, 0, 2, tcr) + msr(0, 2, 0, 0, low)
    code += msr(0, 2, 0, 1, high) + struct.pack("<I", 0xD5033FDF)
    code += msr(0, 1, 0, 0, 0x30D0_0801) + struct.pack("<I", 0xD5033FDF)
    code += msr(0, 4, 0, 0, 0x3C0)
    # ELR: behind this move and the eret
    code += msr(0, 4, 0, 1, ARM_CODE + len(code) + 24)
    code += struct.pack("<3I", 0xD69F03E0, 0xD2824680, 0x14000000)  # eret; mov x0, 0x1234; b .
    (tmp_path / "code").write_bytes(code)
    (tmp_path / "tables").write_bytes(tables.data)
    asked = [gib << 30 | 0x1234567 for gib in range(12)]
    asked += [address | 0xFFFF << 48 for address in asked]
    machine = ("-machine", "virt,virtualization=on", "-cpu", "max")
    where, ready = (ARM_CODE, ARM_TABLES), "X00=0000000000001234"
    compare(tmp_path / "image", ask(tmp_path, "aarch64", machine, where, ready, asked))


def ask(
    tmp_path: Path,
    arch: str,
    arguments: Sequence[str],
    where: tuple[int, int],
    ready: str,
    addresses: Sequence[int],
) -> dict[int, int | None]:
    """Run `code` until its registers show ready; QEMU's answers, and the image saved."""
    with QemuVM(require_qemu(arch), cwd=tmp_path) as vm:
        vm.start(
            ("-S", "-accel", "tcg", *arguments, "-m", "64",
             "-device", f"loader,file=code,addr={where[0]},cpu-num=0,force-raw=on",
             "-device", f"loader,file=tables,addr={where[1]},force-raw=on")
        )  # fmt: skip
        vm.cont()
        for _ in range(200):
            if ready in vm.hmp("info registers"):
                break
            time.sleep(0.02)
        else:
            pytest.fail("the guest did not get that far")
        vm.stop()
        truth = {address: gva2gpa(vm, address) for address in addresses}
        save(vm, tmp_path / "image")
    return truth


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


# -- both ------------------------------------------------------------------------------------------


def gva2gpa(vm: QemuVM, address: int) -> int | None:
    """What QEMU makes of a virtual address; None: unmapped."""
    answer = vm.hmp(f"gva2gpa {address:#x}")
    match = re.search(r"gpa: (?:0x)?([0-9a-f]+)", answer)
    assert match or "nmapped" in answer, answer
    return int(match[1], 16) if match else None


def save(vm: QemuVM, path: Path) -> None:
    vm.set_capabilities("mapped-ram")
    assert vm.migrate_to_file(path) == "completed"


def compare(path: Path, truth: dict[int, int | None]) -> None:
    with Image.open(path) as image:
        registers, memory = registers_of(image.state), PhysicalMemory(image)
        found = {address: translate(memory, registers, address) for address in truth}
    wrong = [
        f"{address:#x}: QEMU {gpa if gpa is None else hex(gpa)}, {found[address]}"
        for address, gpa in truth.items()
        if found[address].physical != gpa
    ]
    assert wrong == []
    mapped = sum(gpa is not None for gpa in truth.values())
    assert len(truth) > mapped > len(truth) // 20
    for answer in found.values():
        assert (answer.physical is None) == bool(answer.fault)
        assert len(answer.steps) <= 5
