"""Memory by the kernel's own virtual addresses: through its own page tables, that no CPU need use.

VMCOREINFO tells where they are, and how far the kernel's image lies from its physical place.
Upstream: Linux arch/x86/kernel/vmcore_info_64.c, arch/arm64/kernel/vmcore_info.c,
arch/riscv/kernel/vmcore_info.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.memory.paging.aarch64 import Arm64Registers
from fixedram_fmt.memory.paging.riscv import RiscvRegisters
from fixedram_fmt.memory.paging.virtual import VirtualMemory
from fixedram_fmt.memory.paging.x86 import X86Registers

if TYPE_CHECKING:
    from fixedram_fmt.guest.vmcoreinfo import VmCoreInfo
    from fixedram_fmt.memory.block import Readable
    from fixedram_fmt.memory.paging.walk import Registers

__all__ = ["kernel_memory", "page_levels", "physical_address"]

#: Where x86-64 maps its image (arch/x86/include/asm/page_64_types.h __START_KERNEL_map).
_START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
_CR0_PG, _CR4_PAE, _CR4_LA57, _EFER_LMA = 1 << 31, 1 << 5, 1 << 12, 1 << 10
_MASK = (1 << 64) - 1
#: TCR_EL1.TG1 by the size of pages.
_GRANULES = {4096: 2, 16384: 1, 65536: 3}
#: satp.MODE by bits of a virtual address.
_SATP_MODES = {39: 8, 48: 9, 57: 10}


def kernel_memory(info: VmCoreInfo, architecture: str, memory: Readable) -> VirtualMemory | None:
    """Memory by the kernel's addresses; None where the tables of that kernel cannot be told."""
    makers = {"x86": _x86, "aarch64": _aarch64, "riscv": _riscv}
    maker = makers.get(architecture)
    registers = maker(info) if maker else None
    return VirtualMemory(memory, registers) if registers is not None else None


def image_shift(info: VmCoreInfo, architecture: str) -> int | None:
    """What is taken from a virtual address of the kernel's image to get the physical one."""
    if architecture == "x86":
        base = info.number("phys_base")
        return None if base is None else (_START_KERNEL_MAP - base) & _MASK
    if architecture == "aarch64":
        return info.number("kimage_voffset")
    if architecture == "riscv":
        return info.number("va_kernel_pa_offset")
    return None


def physical_address(info: VmCoreInfo, architecture: str, address: int) -> int | None:
    """Where an address of the kernel's image lies; None where VMCOREINFO does not tell."""
    shift = image_shift(info, architecture)
    return None if shift is None else (address - shift) & _MASK


def page_levels(info: VmCoreInfo, architecture: str) -> int | None:
    """Levels of the kernel's page tables; None where VMCOREINFO does not tell."""
    if architecture == "x86":
        five = info.number("pgtable_l5_enabled")
        return None if five is None else 5 if five else 4
    bits, page = info.number("VA_BITS"), info.number("PAGE_SIZE") or _page_size(info)
    if bits is None or not page or page & (page - 1) or not 12 <= page.bit_length() - 1 <= 16:
        return None
    shift = page.bit_length() - 1
    return -(-(bits - shift) // (shift - 3))


def _page_size(info: VmCoreInfo) -> int:
    text = info.text("PAGESIZE") or ""
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def _root(info: VmCoreInfo, architecture: str, *names: str) -> int | None:
    """The physical address of the kernel's own tables."""
    symbol = next((found for name in names if (found := info.symbol(name))), None)
    return None if symbol is None else physical_address(info, architecture, symbol)


def _x86(info: VmCoreInfo) -> Registers | None:
    root = _root(info, "x86", "init_top_pgt", "swapper_pg_dir", "init_level4_pgt")
    if root is None:
        return None
    cr4 = _CR4_PAE | (_CR4_LA57 if info.number("pgtable_l5_enabled") else 0)
    return X86Registers(0, _CR0_PG, root, cr4, _EFER_LMA)


def _aarch64(info: VmCoreInfo) -> Registers | None:
    root, bits = _root(info, "aarch64", "swapper_pg_dir"), info.number("VA_BITS")
    granule = _GRANULES.get(_page_size(info))
    if root is None or bits is None or granule is None or not 36 <= bits <= 52:
        return None
    size = info.number("TCR_EL1_T1SZ")
    tcr = ((64 - bits if size is None else size & 0x3F) << 16) | granule << 30
    return Arm64Registers(0, 1, 1, tcr, 0, root, split=True)


def _riscv(info: VmCoreInfo) -> Registers | None:
    root, mode = _root(info, "riscv", "swapper_pg_dir"), info.number("VA_BITS")
    if root is None or mode not in _SATP_MODES:
        return None
    return RiscvRegisters(0, _SATP_MODES[mode] << 60 | root >> 12, 1)
