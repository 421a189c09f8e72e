"""Walks through page tables by hand: what ends one, and what large tables and odd settings mean.

The entries are written as the manuals have them (Intel SDM 3 chapter 5, Arm ARM D8, RISC-V
privileged ISA); tests/interop/test_paging.py asks a real QEMU about random tables.
"""

from __future__ import annotations

import pytest

from fixedram_fmt.memory import AddressError
from fixedram_fmt.memory.block import Readable
from fixedram_fmt.memory.paging import VirtualMemory, translate
from fixedram_fmt.memory.paging.aarch64 import Arm64Registers
from fixedram_fmt.memory.paging.riscv import RiscvRegisters
from fixedram_fmt.memory.paging.walk import Registers, Translation
from fixedram_fmt.memory.paging.x86 import X86Registers

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
#: Where the tables lie; far up, so that all bits of their addresses are used.
ROOT, SECOND, THIRD = 0x10000, 0x20000, 0x30000


class Sparse(Readable):
    """Physical memory with a few entries in it, zeros around them, and an end."""

    def __init__(
        self, entries: dict[int, int], *, entry: int = 8, size: int = 1 << 20, base: int = 0
    ) -> None:
        self.size = base + size
        self.base, self.data = base, bytearray(size)
        for address, value in entries.items():
            at = address - base
            self.data[at : at + entry] = value.to_bytes(entry, "little")

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        at, length = address - self.base, len(buffer)
        if at < 0 or at + length > len(self.data):
            raise AddressError("no memory there", found=f"{address:#x}")
        buffer[:] = self.data[at : at + length]


def walked(registers: Registers, address: int, **entries: object) -> Translation:
    return translate(Sparse(**entries), registers, address)  # type: ignore[arg-type]


# -- AArch64 ---------------------------------------------------------------------------------------

ON, TABLE, PAGE, BLOCK = 1, 3, 3, 1
EL1 = {"cpu": 0, "el": 1, "sctlr": ON}


def tcr(t0sz: int, granule: int = 0, *, ips: int = 0, ds: int = 0, more: int = 0) -> int:
    """TCR_EL1 with TG0 as the manual numbers it: 0 is 4 KiB, 1 is 64 KiB, 2 is 16 KiB."""
    return t0sz | granule << 14 | ips << 32 | ds << 59 | more


def arm(control: int, *, ttbr0: int = ROOT, ttbr1: int = 0) -> Arm64Registers:
    return Arm64Registers(0, 1, ON, control, ttbr0, ttbr1)


def test_an_mmu_that_is_off_changes_no_address() -> None:
    for registers, mode in (
        (Arm64Registers(0, 2, 0, 0, 0), "EL2, MMU off"),
        (RiscvRegisters(0, 8 << 60, 3), "machine mode, no translation"),
        (RiscvRegisters(0, 0, 1), "bare"),
        (RiscvRegisters(0, 0, 1, 32), "bare"),
        (X86Registers(0, 0, 0, 0, 0), "paging off"),
    ):
        found = walked(registers, 0x1234567, entries={})
        assert (found.physical, found.mode, found.steps) == (0x1234567, mode, ())


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (tcr(25, more=1 << 7), "switched off (EPD0)"),
        (tcr(25, granule=3), "granule size that does not exist"),
        (tcr(49), "size of region (49)"),
        (tcr(11), "size of region (11)"),
        # Regions of more than 48 bits are for 64 KiB granules and for LPA2.
        (tcr(15), "size of region (15)"),
        (tcr(15, granule=2), "size of region (15)"),
        (tcr(48, granule=1), "size of region (48)"),
    ],
)
def test_a_translation_control_that_makes_no_sense_is_a_fault(control: int, why: str) -> None:
    found = walked(arm(control), 0x1000, entries={})
    assert found.physical is None
    assert why in found.fault


@pytest.mark.parametrize("granule", [0, 2])
def test_lpa2_has_regions_of_52_bits(granule: int) -> None:
    found = walked(arm(tcr(12, granule=granule, ds=1)), 1 << 51, entries={})
    assert "descriptor invalid" in found.fault


def test_the_upper_half_has_settings_of_its_own() -> None:
    control = tcr(25) | 25 << 16 | 2 << 30
    top = (1 << 64) - GIB
    index = top >> 30 & 511
    entries = {ROOT + 8 * index: 0x4000_0000 | BLOCK}
    found = walked(arm(control, ttbr0=0, ttbr1=ROOT), top + 5, entries=entries)
    assert (found.physical, found.page_size) == (0x4000_0005, GIB)
    switched_off = walked(arm(control | 1 << 23, ttbr1=ROOT), top, entries=entries)
    assert "EPD1" in switched_off.fault


def test_52_bits_of_output_lie_where_64_kib_granules_keep_them() -> None:
    # One level 2 table of 8 entries would do for 32 bits; bits 48-51 are bits 12-15 of the entry.
    control = tcr(32, granule=1, ips=6)
    entries = {ROOT: SECOND | TABLE, SECOND + 8: 0x5_0000 | 0xA << 12 | PAGE}
    found = walked(arm(control), 0x1_0042, entries=entries)
    assert found.physical == 0xA << 48 | 0x5_0042
    assert found.page_size == 64 * KIB


def test_52_bits_of_output_lie_where_lpa2_keeps_them() -> None:
    control = tcr(34, ips=6, ds=1)
    entries = {
        ROOT: SECOND | TABLE,
        SECOND: THIRD | TABLE,
        THIRD + 8: 1 << 49 | 2 << 8 | PAGE,
    }
    found = walked(arm(control), 0x1007, entries={k: v for k, v in entries.items() if k != ROOT})
    assert "invalid" in found.fault
    # 30 bits of address are two levels: the root is one of level 2.
    entries = {ROOT: SECOND | TABLE, SECOND + 8: 1 << 49 | 2 << 8 | PAGE}
    found = walked(arm(control), 0x1007, entries=entries)
    assert found.physical == 1 << 51 | 1 << 49 | 7


def test_the_table_of_52_bits_has_its_upper_ones_in_ttbr() -> None:
    high = 3 << 48
    control = tcr(34, ips=6, ds=1)
    memory = Sparse({high + ROOT: 0x20_0000 | BLOCK}, base=high)
    found = translate(memory, arm(control, ttbr0=ROOT | 3 << 2), 0x42)
    assert (found.physical, found.page_size) == (0x20_0042, 2 * MIB)
    assert found.steps[0].table == high + ROOT


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({}, "level 1 descriptor invalid"),
        ({ROOT: SECOND | TABLE}, "level 2 descriptor invalid"),
        (
            {ROOT: SECOND | TABLE, SECOND: THIRD | TABLE, THIRD: 0x4000 | BLOCK},
            "level 3 descriptor",
        ),
        ({ROOT: 1 << 40 | TABLE}, "is not in the image"),
    ],
)
def test_arm_walks_end_at_the_entry_that_leads_nowhere(entries: dict[int, int], why: str) -> None:
    found = walked(arm(tcr(25)), 0x123, entries=entries)
    assert found.physical is None
    assert why in found.fault


def test_a_block_at_a_level_that_has_none_is_reserved() -> None:
    found = walked(arm(tcr(16)), 0, entries={ROOT: 0x4000_0000 | BLOCK})
    assert found.fault == "level 0 descriptor reserved"


# -- RISC-V ----------------------------------------------------------------------------------------

VALID, LEAF = 1, 0b1111


def leads(address: int) -> int:
    """A page's address as an entry has it."""
    return address >> 12 << 10


def riscv(mode: int = 8, **more: int) -> RiscvRegisters:
    return RiscvRegisters(0, mode << 60 | ROOT >> 12, 1, **more)


@pytest.mark.parametrize(
    ("mode", "name", "bits"), [(8, "Sv39", 39), (9, "Sv48", 48), (10, "Sv57", 57)]
)
def test_risc_v_addresses_are_sign_extended(mode: int, name: str, bits: int) -> None:
    registers = riscv(mode)
    assert registers.mode == name
    assert f"bits {bits}-63" in walked(registers, 1 << bits, entries={}).fault
    top = (1 << 64) - (1 << bits - 1)
    entries = {ROOT + 8 * 256: leads(0) | LEAF}
    assert walked(registers, top, entries=entries).physical == 0


def test_sv32_has_pages_of_4_mib_and_tables_of_four_byte_entries() -> None:
    registers = RiscvRegisters(0, 1 << 31 | ROOT >> 12, 0, 32)
    entries = {ROOT + 4: leads(0x80_0000) | LEAF, ROOT + 8: leads(SECOND) | VALID,
               SECOND + 12: leads(0x3_4567_8000) & 0xFFFF_FFFF | LEAF}  # fmt: skip
    large = walked(registers, 4 * MIB + 9, entries=entries, entry=4)
    assert (large.mode, large.physical, large.page_size) == ("Sv32", 0x80_0009, 4 * MIB)
    # 34 bits of physical address
    small = walked(registers, 8 * MIB + 0x3001, entries=entries, entry=4)
    assert (small.physical, small.page_size) == (0x3_4567_8001, 4096)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({}, "level 2 entry not valid"),
        ({ROOT: leads(0x1000) | LEAF}, "large page that is not aligned"),
        ({ROOT: leads(SECOND) | VALID, SECOND: leads(THIRD) | VALID, THIRD: leads(ROOT) | VALID},
         "level 0 entry is no page"),
        ({ROOT: leads(1 << 40) | VALID}, "is not in the image"),
    ],
)  # fmt: skip
def test_risc_v_walks_end_at_the_entry_that_leads_nowhere(
    entries: dict[int, int], why: str
) -> None:
    found = walked(riscv(), 0x123, entries=entries)
    assert found.physical is None
    assert why in found.fault


# -- x86 -------------------------------------------------------------------------------------------

LONG = {"cr0": 1 << 31, "cr4": 1 << 5, "efer": 1 << 10}


@pytest.mark.parametrize(
    ("cr4", "bits"), [(1 << 5, 48), (1 << 5 | 1 << 12, 57)], ids=["4-level", "5-level"]
)
def test_x86_addresses_are_canonical(cr4: int, bits: int) -> None:
    registers = X86Registers(0, 1 << 31, ROOT, cr4, 1 << 10)
    assert "not canonical" in walked(registers, 1 << bits - 1, entries={}).fault
    assert "not present" in walked(registers, (1 << 64) - 1, entries={}).fault


def test_tables_beyond_the_image_are_told_as_that() -> None:
    for registers in (
        X86Registers(0, cr3=1 << 40, **LONG),
        X86Registers(0, 1 << 31, 0xFFFF_F000, 0, 0),
    ):
        found = walked(registers, 0x1000, entries={})
        assert found.physical is None
        assert "is not in the image" in found.fault


# -- all -------------------------------------------------------------------------------------------


def test_a_virtual_address_has_64_bits() -> None:
    for address in (-1, 1 << 64):
        with pytest.raises(AddressError, match="64 bits"):
            translate(Sparse({}), riscv(), address)


def test_reading_across_pages_puts_them_together_and_stops_at_a_hole() -> None:
    entries = {
        ROOT: leads(SECOND) | VALID,
        SECOND: leads(THIRD) | VALID,
        THIRD: leads(0x5000) | LEAF,
        THIRD + 8: leads(0x4000) | LEAF,
    }
    memory = Sparse(entries)
    memory.data[0x5FFE:0x6000] = b"ab"
    memory.data[0x4000:0x4002] = b"cd"
    seen = VirtualMemory(memory, riscv())
    assert seen.read(0xFFE, 4) == b"abcd"
    with pytest.raises(AddressError, match="virtual address 0x2000 of CPU 0 is not mapped"):
        seen.read(0x1FFE, 4)
