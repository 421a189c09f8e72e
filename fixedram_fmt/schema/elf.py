"""ELF64 core files, in both byte orders: headers, notes, and what Linux puts into NT_PRSTATUS.

Upstream: the System V gABI; Linux include/linux/elfcore.h struct elf_prstatus and each
architecture's user_regs_struct, as QEMU's target/*/arch_dump.c writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = [
    "EHDR",
    "ELFCLASS64",
    "ELFDATA2LSB",
    "ELFDATA2MSB",
    "EM",
    "ET_CORE",
    "EV_CURRENT",
    "NHDR",
    "NT_PRSTATUS",
    "PHDR",
    "PRSTATUS_HEAD",
    "PT_LOAD",
    "PT_NOTE",
    "QEMU_CPU_STATE",
    "QEMU_CPU_STATE_BYTES",
    "QEMU_SEGMENT",
    "USER_REGS",
    "Ehdr",
    "Nhdr",
    "Phdr",
    "PrstatusHead",
    "QemuCpuState",
    "QemuSegment",
]

ELFCLASS64 = 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
EV_CURRENT = 1
ET_CORE = 4
PT_LOAD, PT_NOTE = 1, 4
NT_PRSTATUS = 1

#: e_machine by the architectures that vmstate.overview knows; EM_NONE where it is none of them.
EM = {
    "none": 0,
    "m68k": 4,
    "ppc64": 21,
    "s390x": 22,
    "x86": 62,
    "avr": 83,
    "aarch64": 183,
    "riscv": 243,
    "loongarch": 258,
}


#: u64 registers of each one's user_regs_struct.
USER_REGS = {
    "x86": 27,
    "aarch64": 34,
    "riscv": 32,
    "s390x": 27,
    "ppc64": 48,
    "loongarch": 45,
}


@dataclass(frozen=True, slots=True)
class Ehdr:
    """Elf64_Ehdr."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


@dataclass(frozen=True, slots=True)
class Phdr:
    """Elf64_Phdr."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Nhdr:
    """Elf64_Nhdr: the lengths of name and descriptor follow in steps of four bytes."""

    namesz: int
    descsz: int
    type: int


@dataclass(frozen=True, slots=True)
class PrstatusHead:
    """struct elf_prstatus up to its registers, of which a core of a machine only has the pid."""

    siginfo: bytes
    pid: int
    others: bytes


@dataclass(frozen=True, slots=True)
class QemuSegment:
    """QEMUCPUSegment."""

    selector: int
    limit: int
    flags: int
    pad: int
    base: int


@dataclass(frozen=True, slots=True)
class QemuCpuState:
    """QEMUCPUState: 18 registers, ten QemuSegments, cr0 to cr4, little-endian u64 all."""

    version: int
    size: int
    registers: bytes
    segments: bytes
    control: bytes
    kernel_gs_base: int


def _ehdr(half: Any, word: Any, xword: Any) -> cs.Struct:
    return cs.Struct(
        "ident" / cs.Bytes(16),
        "type" / half,
        "machine" / half,
        "version" / word,
        "entry" / xword,
        "phoff" / xword,
        "shoff" / xword,
        "flags" / word,
        *(name / half for name in ("ehsize", "phentsize", "phnum", "shentsize", "shnum")),
        "shstrndx" / half,
    )


def _phdr(word: Any, xword: Any) -> cs.Struct:
    names = ("offset", "vaddr", "paddr", "filesz", "memsz", "align")
    return cs.Struct("type" / word, "flags" / word, *(name / xword for name in names))


def _nhdr(word: Any) -> cs.Struct:
    return cs.Struct("namesz" / word, "descsz" / word, "type" / word)


def _prstatus(word: Any) -> cs.Struct:
    return cs.Struct("siginfo" / cs.Bytes(32), "pid" / word, "others" / cs.Bytes(76))


_GABI = "System V gABI, ELF64"

#: By byte order, as int.to_bytes() names it.
EHDR = {
    "little": Schema(_ehdr(cs.Int16ul, cs.Int32ul, cs.Int64ul), Ehdr, _GABI),
    "big": Schema(_ehdr(cs.Int16ub, cs.Int32ub, cs.Int64ub), Ehdr, _GABI),
}
PHDR = {
    "little": Schema(_phdr(cs.Int32ul, cs.Int64ul), Phdr, _GABI),
    "big": Schema(_phdr(cs.Int32ub, cs.Int64ub), Phdr, _GABI),
}
NHDR = {
    "little": Schema(_nhdr(cs.Int32ul), Nhdr, _GABI),
    "big": Schema(_nhdr(cs.Int32ub), Nhdr, _GABI),
}
_ELFCORE = "Linux include/linux/elfcore.h struct elf_prstatus"
PRSTATUS_HEAD = {
    "little": Schema(_prstatus(cs.Int32ul), PrstatusHead, _ELFCORE),
    "big": Schema(_prstatus(cs.Int32ub), PrstatusHead, _ELFCORE),
}

_ARCH_DUMP = "QEMU target/i386/arch_dump.c"
QEMU_SEGMENT = Schema(
    cs.Struct(
        *(name / cs.Int32ul for name in ("selector", "limit", "flags", "pad")),
        "base" / cs.Int64ul,
    ),
    QemuSegment,
    f"{_ARCH_DUMP} QEMUCPUSegment",
)
QEMU_CPU_STATE = Schema(
    cs.Struct(
        "version" / cs.Int32ul,
        "size" / cs.Int32ul,
        "registers" / cs.Bytes(18 * 8),
        "segments" / cs.Bytes(10 * QEMU_SEGMENT.size),
        "control" / cs.Bytes(5 * 8),
        "kernel_gs_base" / cs.Int64ul,
    ),
    QemuCpuState,
    f"{_ARCH_DUMP} QEMUCPUState",
)
QEMU_CPU_STATE_BYTES = QEMU_CPU_STATE.size
