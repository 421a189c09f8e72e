"""Registers of a vCPU in the order of Linux's user_regs_struct, for NT_PRSTATUS.

Upstream: QEMU target/i386/arch_dump.c, target/arm/arch_dump.c, target/riscv/arch_dump.c,
target/s390x/arch_dump.c, target/ppc/arch_dump.c, target/loongarch/arch_dump.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import elf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fixedram_fmt.vmstate.values import DeviceState

    Fields = Mapping[str, Any]

__all__ = ["architecture_of", "byte_order_of", "prstatus"]

# QEMU's numbers of registers and segments (target/i386/cpu.h).
_RAX, _RCX, _RDX, _RBX, _RSP, _RBP, _RSI, _RDI = range(8)
_ES, _CS, _SS, _DS, _FS, _GS = range(6)

_SPR_LPCR, _LPCR_ILE = 318, 1 << 25
#: What comes of a description that has other fields than QEMU's.
_OTHER_FIELDS = (KeyError, IndexError, TypeError, ValueError)
#: Bit of an ARM CPU's mode: it runs 32-bit code.
_AARCH32 = 1 << 4


def _number(value: Any) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


def _x86(fields: Fields) -> list[int]:
    regs, segments = fields["env.regs"], fields["env.segs"]
    # A CPU of a 32-bit QEMU has half of them.
    regs = [*regs, *[0] * (16 - len(regs))]
    return [
        *(regs[number] for number in (15, 14, 13, 12, _RBP, _RBX, 11, 10, 9, 8)),
        *(regs[number] for number in (_RAX, _RCX, _RDX, _RSI, _RDI)),
        0,  # orig_rax: the number of a system call
        fields["env.eip"],
        segments[_CS]["selector"],
        fields["env.eflags"],
        regs[_RSP],
        segments[_SS]["selector"],
        segments[_FS]["base"],
        segments[_GS]["base"],
        *(segments[number]["selector"] for number in (_DS, _ES, _FS, _GS)),
    ]


def _aarch64(fields: Fields) -> list[int]:
    pstate = _number(fields["cpsr"])
    if pstate & _AARCH32:
        # Where the architecture shows r0 to r14 to an AArch64 that takes over.
        *registers, pc = fields["env.regs"]
        return [*registers, *[0] * (32 - len(registers)), pc, pstate]
    return [*fields["env.xregs"][:32], fields["env.pc"], pstate]


def _riscv(fields: Fields) -> list[int]:
    return [fields["env.pc"], *fields["env.gpr"][1:32]]


def _s390x(fields: Fields) -> list[int]:
    access = fields["env.aregs"]
    pairs = [access[n] << 32 | access[n + 1] for n in range(0, 16, 2)]
    return [fields["env.psw.mask"], fields["env.psw.addr"], *fields["env.regs"], *pairs, 0]


def _ppc64(fields: Fields) -> list[int]:
    special = fields["env.spr"]
    # Eight fields of four bits, the first the most significant.
    condition = 0
    for part in fields["env.crf"]:
        condition = condition << 4 | part & 15
    lr, ctr, xer = special[8], special[9], special[1]
    pc = [fields["env.nip"], fields["env.msr"], 0, ctr, lr, xer, condition]
    return [*fields["env.gpr"], *pc, *[0] * 9]


def _loongarch(fields: Fields) -> list[int]:
    prefix = "env.sys_states[0].CSR_" if "env.sys_states[0].CSR_CRMD" in fields else "env.CSR_"
    pc, badv = fields["env.pc"], fields[f"{prefix}BADV"]
    return [*fields["env.gpr"], 0, pc, badv, *[0] * 10]


#: By a field that only CPUs of the architecture have: its name, byte order, registers.
_ARCHITECTURES: dict[str, tuple[str, str, Callable[[Fields], list[int]]]] = {
    "env.eip": ("x86", "little", _x86),
    "env.xregs": ("aarch64", "little", _aarch64),
    "env.mstatus": ("riscv", "little", _riscv),
    "env.psw.addr": ("s390x", "big", _s390x),
    "env.nip": ("ppc64", "big", _ppc64),
    "env.CSR_CRMD": ("loongarch", "little", _loongarch),
    "env.sys_states[0].CSR_CRMD": ("loongarch", "little", _loongarch),
}


def _known(device: DeviceState) -> tuple[str, str, Callable[[Fields], list[int]]] | None:
    names = {field.name for field in device.structure.fields} if device.structure else set()
    return next((found for name, found in _ARCHITECTURES.items() if name in names), None)


def architecture_of(device: DeviceState) -> str | None:
    """The architecture of a vCPU's state, None if it is none that is known here."""
    known = _known(device)
    return known[0] if known else None


def byte_order_of(device: DeviceState) -> str:
    """`little` or `big`: that of its ELF files; a POWER guest decides it for itself."""
    known = _known(device)
    if known is None:
        return "little"
    if known[0] == "ppc64" and _interrupts_little_endian(device.fields or {}):
        return "little"
    return known[1]


def _interrupts_little_endian(fields: Fields) -> bool:
    """Upstream: QEMU target/ppc/cpu.h ppc_interrupts_little_endian(), for a guest's own mode."""
    try:
        return bool(fields["env.spr"][_SPR_LPCR] & _LPCR_ILE)
    except _OTHER_FIELDS:
        return False


def prstatus(device: DeviceState, number: int) -> bytes | None:
    """struct elf_prstatus of a vCPU; None where its registers are not there to be had."""
    known, fields = _known(device), device.fields
    if known is None or fields is None:
        return None
    registers, order = known[2], byte_order_of(device)
    try:
        values = [value & (1 << 64) - 1 for value in registers(fields)]
    except _OTHER_FIELDS:
        return None
    if len(values) != elf.USER_REGS[known[0]]:
        return None
    head = elf.PrstatusHead(bytes(32), number + 1, bytes(76))
    packed = struct.pack(f"{'<' if order == 'little' else '>'}{len(values)}Q", *values)
    # pr_fpvalid, and padding
    return elf.PRSTATUS_HEAD[order].build(head) + packed + bytes(8)
