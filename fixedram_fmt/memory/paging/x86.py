"""x86 page tables: two levels, PAE, four and five levels, large pages, A20.

Upstream: Intel SDM volume 3, chapter 5; QEMU target/i386/helper.c
x86_cpu_get_phys_page_attrs_debug(), target/i386/tcg/sysemu/excp_helper.c mmu_translate().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.memory.paging.walk import Translation, Walk

if TYPE_CHECKING:
    from fixedram_fmt.memory.block import Readable

__all__ = ["X86Registers"]

_CR0_PG, _CR4_PSE, _CR4_PAE, _CR4_LA57 = 1 << 31, 1 << 4, 1 << 5, 1 << 12
_EFER_LMA = 1 << 10
_PRESENT, _LARGE = 1, 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class X86Registers:
    """The control registers; a20_mask is applied to every physical address."""

    cpu: int
    cr0: int
    cr3: int
    cr4: int
    efer: int
    a20_mask: int = -1

    @property
    def mode(self) -> str:
        """The paging mode."""
        if not self.cr0 & _CR0_PG:
            return "paging off"
        if self.efer & _EFER_LMA:
            return "5-level paging" if self.cr4 & _CR4_LA57 else "4-level paging"
        return "PAE paging" if self.cr4 & _CR4_PAE else "32-bit paging"

    def translate(self, memory: Readable, address: int) -> Translation:
        """Walk the tables of this CPU for a linear address."""
        if not self.efer & _EFER_LMA or not self.cr0 & _CR0_PG:
            address &= 0xFFFF_FFFF
        walk = Walk(memory, address, self.mode)
        if not self.cr0 & _CR0_PG:
            return Translation(address, address & self.a20_mask, self.mode)
        if self.efer & _EFER_LMA:
            levels = ("PML5E", "PML4E", "PDPTE", "PDE", "PTE")[0 if self.cr4 & _CR4_LA57 else 1 :]
            bits = 12 + 9 * len(levels)
            if address >> bits - 1 not in (0, (1 << 65 - bits) - 1):
                return walk.failed(
                    f"not canonical: bits {bits}-63 are not all equal to {bits - 1}", 1 << bits - 1
                )
            return self._walk64(walk, levels, self.cr3 & _FRAME)
        if self.cr4 & _CR4_PAE:
            return self._walk64(walk, ("PDPTE", "PDE", "PTE"), self.cr3 & 0xFFFF_FFE0)
        return self._walk32(walk)

    def _walk64(self, walk: Walk, levels: tuple[str, ...], table: int) -> Translation:
        """Tables of 512 entries of eight bytes; PAE's first has four."""
        for left, level in reversed(list(enumerate(reversed(levels)))):
            shift = 12 + 9 * left
            index = walk.virtual >> shift & (3 if level == levels[0] and len(levels) == 3 else 511)
            entry = walk.entry(level, table & self.a20_mask, index, 8)
            if entry is None:
                return walk.failed(size=1 << shift)
            if not entry & _PRESENT:
                return walk.failed(f"{level} not present", 1 << shift)
            # A PDPTE of PAE has no such bit: it is reserved there.
            may_be_large = level == "PDE" or (level == "PDPTE" and len(levels) > 3)
            if not left or (may_be_large and entry & _LARGE):
                size = 1 << shift
                return walk.page(entry & _FRAME & -size & self.a20_mask, size)
            table = entry & _FRAME
            walk.tell(f"table at {table:#x}")
        raise AssertionError("a walk ends with its last level")

    def _walk32(self, walk: Walk) -> Translation:
        """Two tables of 1024 entries of four bytes, or a page of 4 MiB."""
        table = self.cr3 & 0xFFFF_F000
        entry = walk.entry("PDE", table & self.a20_mask, walk.virtual >> 22 & 1023, 4)
        if entry is None or not entry & _PRESENT:
            return walk.failed("PDE not present" if entry is not None else "", 1 << 22)
        if entry & _LARGE and self.cr4 & _CR4_PSE:
            # PSE-36: bits 13-20 are bits 32-39 of the address.
            base = entry & 0xFFC0_0000 | (entry >> 13 & 0xFF) << 32
            return walk.page(base & self.a20_mask, 1 << 22)
        table = entry & 0xFFFF_F000
        walk.tell(f"table at {table:#x}")
        entry = walk.entry("PTE", table & self.a20_mask, walk.virtual >> 12 & 1023, 4)
        if entry is None or not entry & _PRESENT:
            return walk.failed("PTE not present" if entry is not None else "")
        return walk.page(entry & 0xFFFF_F000 & self.a20_mask, 4096)
