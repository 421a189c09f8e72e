"""RISC-V page tables: Sv32, Sv39, Sv48, Sv57.

Upstream: The RISC-V Instruction Set Manual, volume II, supervisor-level; QEMU
target/riscv/cpu_helper.c get_physical_address().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.paging.walk import Translation, Walk

if TYPE_CHECKING:
    from fixedram_fmt.memory.block import Readable

__all__ = ["RiscvRegisters"]

_MACHINE = 3
_VALID, _LEAF = 1, 0b1110
#: satp.MODE on RV64 to levels.
_LEVELS = {8: 3, 9: 4, 10: 5}


@dataclass(frozen=True, slots=True)
class RiscvRegisters:
    """satp and the privilege level; xlen is 32 or 64."""

    cpu: int
    satp: int
    priv: int
    xlen: int = 64

    @property
    def _levels(self) -> int:
        """Levels of the tables; 0: no translation."""
        if self.priv == _MACHINE:
            return 0
        if self.xlen == 32:
            return 2 if self.satp >> 31 & 1 else 0
        return _LEVELS.get(self.satp >> 60, 0)

    @property
    def mode(self) -> str:
        """Sv39 and so on."""
        if self.priv == _MACHINE:
            return "machine mode, no translation"
        names = {0: "bare", 2: "Sv32", 3: "Sv39", 4: "Sv48", 5: "Sv57"}
        return names[self._levels]

    def translate(  # noqa: PLR0911  each is an end of the walk
        self, memory: Readable, address: int
    ) -> Translation:
        """Walk the tables of this hart."""
        levels = self._levels
        if not levels:
            return Translation(address, address, self.mode)
        narrow = self.xlen == 32
        entry_size, stride = (4, 10) if narrow else (8, 9)
        walk = Walk(memory, address, self.mode)
        bits = 12 + stride * levels
        above = address >> bits - 1
        if not narrow and above not in (0, (1 << 65 - bits) - 1):
            return walk.failed(f"bits {bits}-63 are not all equal to bit {bits - 1}", 1 << bits - 1)
        table = (self.satp & ((1 << (22 if narrow else 44)) - 1)) << 12
        for left in reversed(range(levels)):
            shift = 12 + stride * left
            index = address >> shift & (1 << stride) - 1
            entry = walk.entry(f"level {left}", table, index, entry_size)
            if entry is None:
                return walk.failed(size=1 << shift)
            if not entry & _VALID:
                return walk.failed(f"level {left} entry not valid", 1 << shift)
            frame = (entry >> 10 & (1 << (22 if narrow else 44)) - 1) << 12
            if entry & _LEAF:
                if frame % (1 << shift):
                    return walk.failed(f"level {left} entry: a large page that is not aligned")
                return walk.page(frame, 1 << shift)
            table = frame
            if left:
                walk.tell(f"table at {table:#x}")
        return walk.failed("level 0 entry is no page")
