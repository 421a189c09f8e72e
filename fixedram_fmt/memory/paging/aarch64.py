"""AArch64 stage 1 tables: both halves, granules of 4, 16 and 64 KiB, LPA2, TBI.

Upstream: Arm ARM DDI 0487, D8; QEMU target/arm/ptw.c get_phys_addr_lpae().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.paging.walk import Translation, Walk

if TYPE_CHECKING:
    from fixedram_fmt.memory.block import Readable

__all__ = ["Arm64Registers"]

_SCTLR_M, _SCTLR_EE = 1 << 0, 1 << 25
_GRANULES_0 = {0: 12, 1: 16, 2: 14}
_GRANULES_1 = {1: 14, 2: 12, 3: 16}
_IPS_52 = 6


@dataclass(frozen=True, slots=True)
class _Half:
    """What TCR says of one half of the address space: bits of input, granule, table."""

    name: str
    bits: int
    shift: int
    table: int
    wide: bool
    ds: bool

    @property
    def stride(self) -> int:
        """Address bits that one level takes."""
        return self.shift - 3

    def output(self, value: int, low: int) -> int:
        """The output address in a descriptor, its bits from low on."""
        if self.ds:
            return value & ((1 << 50) - (1 << low)) | (value >> 8 & 3) << 50
        base = value & ((1 << 48) - (1 << low))
        return base | (value >> 12 & 0xF) << 48 if self.wide else base

    def may_be_block(self, level: int) -> bool:
        """Whether a descriptor of that level may end the walk."""
        first = {12: 0 if self.ds else 1, 14: 1 if self.ds else 2, 16: 1 if self.wide else 2}
        return first[self.shift] <= level <= 2


@dataclass(frozen=True, slots=True)
class Arm64Registers:
    """The registers of the translation regime of exception level el.

    split tells whether it has two halves (EL1, EL2 with E2H).
    """

    cpu: int
    el: int
    sctlr: int
    tcr: int
    ttbr0: int
    ttbr1: int = 0
    split: bool = True

    @property
    def mode(self) -> str:
        """The regime, and whether it is on."""
        return f"EL{self.el} stage 1" if self.sctlr & _SCTLR_M else f"EL{self.el}, MMU off"

    def translate(self, memory: Readable, address: int) -> Translation:
        """Walk the tables of this CPU's regime."""
        if not self.sctlr & _SCTLR_M:
            return Translation(address, address, self.mode)
        walk = Walk(memory, address, self.mode, "big" if self.sctlr & _SCTLR_EE else "little")
        upper = self.split and bool(address >> 55 & 1)
        half = self._half(upper=upper)
        if isinstance(half, str):
            return walk.failed(half, 1 << 55)
        tbi = self.tcr >> (37 + upper if self.split else 20) & 1
        top = 56 if tbi else 64
        above = (address & (1 << top) - 1) >> half.bits
        if above != ((1 << top - half.bits) - 1 if upper else 0):
            return walk.failed(f"outside the {half.bits} bits of {half.name}", 1 << half.bits)
        return _walk(walk, half)

    def _half(self, *, upper: bool) -> _Half | str:
        """The half an address lies in, or why it leads nowhere."""
        tcr = self.tcr
        size = tcr >> 16 & 63 if upper else tcr & 63
        if self.split and tcr >> (23 if upper else 7) & 1:
            return f"walks of TTBR{int(upper)} are switched off (EPD{int(upper)})"
        shift = _GRANULES_1.get(tcr >> 30 & 3) if upper else _GRANULES_0.get(tcr >> 14 & 3)
        if shift is None:
            return "TCR has a granule size that does not exist"
        ips = tcr >> 32 & 7 if self.split else tcr >> 16 & 7
        ds = bool(tcr >> (59 if self.split else 32) & 1) and shift != 16
        # target/arm/helper.c aa64_va_parameters(), with FEAT_LVA and FEAT_TTST
        if not (12 if ds or shift == 16 else 16) <= size <= (47 if shift == 16 else 48):
            return f"TCR has a size of region ({size}) that does not exist"
        wide = shift == 16 and ips == _IPS_52
        ttbr = self.ttbr1 if upper else self.ttbr0
        table = ttbr & 0xFFFF_FFFF_FFFE
        if wide or (ds and ips == _IPS_52):
            # Bits 48-51 of the table's address are kept in bits 2-5.
            table = table & ~0x3F | (ttbr >> 2 & 0xF) << 48
        return _Half(f"TTBR{int(upper)}", 64 - size, shift, table, wide, ds)


def _walk(walk: Walk, half: _Half) -> Translation:
    levels = -(-(half.bits - half.shift) // half.stride)
    table = half.table
    for level in range(4 - levels, 4):
        shift = half.shift + half.stride * (3 - level)
        # The first level may have fewer entries, or (16 KiB granules) just two.
        top = half.bits if level == 4 - levels else shift + half.stride
        index = (walk.virtual & (1 << top) - 1) >> shift
        if level == 4 - levels:
            table &= -(max(8, (1 << top - shift) * 8))
        entry = walk.entry(f"level {level}", table, index, 8)
        if entry is None:
            return walk.failed(size=1 << shift)
        if not entry & 1:
            return walk.failed(f"level {level} descriptor invalid", 1 << shift)
        if level == 3 or not entry & 2:
            if (level == 3) != bool(entry & 2) or not (level == 3 or half.may_be_block(level)):
                return walk.failed(f"level {level} descriptor reserved", 1 << shift)
            return walk.page(half.output(entry, shift) & -(1 << shift), 1 << shift)
        table = half.output(entry, half.shift)
        walk.tell(f"table at {table:#x}")
    raise AssertionError("a walk ends with its last level")
