"""Virtual addresses of aarch64 guests against QEMU's own translation, as in test_paging.py."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.paging import MIB, Tables, ask, compare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

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
    # ELR: after this move and the eret
    code += msr(0, 4, 0, 1, ARM_CODE + len(code) + 24)
    code += struct.pack("<3I", 0xD69F03E0, 0xD2824680, 0x14000000)  # eret; mov x0, 0x1234; b .
    (tmp_path / "code").write_bytes(code)
    (tmp_path / "tables").write_bytes(tables.data)
    asked = [gib << 30 | 0x1234567 for gib in range(12)]
    asked += [address | 0xFFFF << 48 for address in asked]
    machine = ("-machine", "virt,virtualization=on", "-cpu", "max")
    where, ready = (ARM_CODE, ARM_TABLES), "X00=0000000000001234"
    compare(tmp_path / "image", ask(tmp_path, "aarch64", machine, where, ready, asked))
