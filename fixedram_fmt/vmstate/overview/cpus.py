"""Per vCPU: program counter, stack pointer, mode and paging registers, by architecture.

Field names are those of QEMU's target/*/machine.c; bits are those of each architecture's manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.results import Result
from fixedram_fmt.vmstate.arm64 import system_register, system_registers
from fixedram_fmt.vmstate.overview.fact import Fact, fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState

    Values = Mapping[str, int]

__all__ = ["Cpu", "architecture_name", "cpus"]


class Cpu(Result, frozen=True):
    """One vCPU: registers in the order people ask for them, and what mode they make."""

    path: str
    architecture: str
    mode: str
    halted: bool | None
    registers: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class _Architecture:
    """marker is a field that only this one's CPUs have; registers are names and fields."""

    name: str
    marker: str
    registers: tuple[tuple[str, str], ...]
    mode: Callable[[Values], str]


# -- modes --------------------------------------------------------------------------------------


def _x86(values: Values) -> str:
    cr0, cr4, efer = (values.get(name, 0) for name in ("cr0", "cr4", "efer"))
    flags = values.get("cs flags", 0)
    if not cr0 & 1:
        return "real mode"
    if values.get("eflags", 0) & 1 << 17:
        return "virtual 8086 mode"
    code = (
        "64-bit"
        if efer & 1 << 10 and flags & 1 << 21
        else "32-bit"
        if flags & 1 << 22
        else "16-bit"
    )
    if not cr0 & 1 << 31:
        return f"protected mode, {code} code, paging off"
    if efer & 1 << 10:
        levels = 5 if cr4 & 1 << 12 else 4
        return f"long mode, {code} code, {levels}-level paging"
    return f"protected mode, {code} code, {'PAE' if cr4 & 1 << 5 else '2-level'} paging"


def _aarch64(values: Values) -> str:
    pstate = values.get("pstate", 0)
    if pstate & 1 << 4:
        return f"AArch32, mode {pstate & 0x1F:#x}"
    level = pstate >> 2 & 3
    mmu = "on" if values.get("SCTLR_EL1", 0) & 1 else "off"
    return f"AArch64, EL{level}{'h' if pstate & 1 else 't'}, EL1 MMU {mmu}"


def _riscv(values: Values) -> str:
    level = {0: "user", 1: "supervisor", 3: "machine"}.get(values.get("priv", -1), "reserved")
    modes = {0: "bare", 8: "Sv39", 9: "Sv48", 10: "Sv57"}
    satp = values.get("satp", 0) >> 60
    return f"{level} mode, paging {modes.get(satp, f'mode {satp}')}"


def _s390x(values: Values) -> str:
    mask = values.get("psw.mask", 0)
    wide = {3: "64-bit", 1: "31-bit", 0: "24-bit"}.get(mask >> 31 & 3, "reserved")
    state = "problem" if mask >> 48 & 1 else "supervisor"
    wait = ", waiting" if mask >> 49 & 1 else ""
    return f"{wide} addressing, {state} state, DAT {'on' if mask >> 58 & 1 else 'off'}{wait}"


def _ppc64(values: Values) -> str:
    msr = values.get("msr", 0)
    level = "problem" if msr >> 14 & 1 else "hypervisor" if msr >> 60 & 1 else "supervisor"
    relocation = "on" if msr & 0x30 else "off"
    return f"{'64' if msr >> 63 else '32'}-bit, {level} state, relocation {relocation}"


def _loongarch(values: Values) -> str:
    crmd = values.get("CRMD", 0)
    paging = "paging" if crmd >> 4 & 1 else "direct addresses"
    return f"PLV{crmd & 3}, {paging}, interrupts {'on' if crmd >> 2 & 1 else 'off'}"


def _m68k(values: Values) -> str:
    status = values.get("sr", 0)
    return f"{'supervisor' if status >> 13 & 1 else 'user'} mode, level {status >> 8 & 7}"


def _plain(_: Values) -> str:
    return ""


# -- registers ----------------------------------------------------------------------------------

_X86 = (
    ("rip", "env.eip"),
    ("rsp", "env.regs[4]"),
    ("rflags", "env.eflags"),
    ("cr0", "env.cr[0]"),
    ("cr2", "env.cr[2]"),
    ("cr3", "env.cr[3]"),
    ("cr4", "env.cr[4]"),
    ("efer", "env.efer"),
    ("cs", "env.segs[1]/selector"),
    ("cs base", "env.segs[1]/base"),
    ("cs flags", "env.segs[1]/flags"),
    ("gdt base", "env.gdt/base"),
    ("idt base", "env.idt/base"),
)

_CSR = "env.sys_states[0].CSR_"

_ARCHITECTURES = (
    _Architecture("x86", "env.eip", _X86, _x86),
    _Architecture(
        "aarch64",
        "env.xregs",
        (("pc", "env.pc"), ("sp", "env.xregs[31]"), ("lr", "env.xregs[30]"), ("pstate", "cpsr")),
        _aarch64,
    ),
    _Architecture(
        "riscv",
        "env.mstatus",
        (
            ("pc", "env.pc"),
            ("sp", "env.gpr[2]"),
            ("ra", "env.gpr[1]"),
            ("priv", "env.priv"),
            ("mstatus", "env.mstatus"),
            ("satp", "env.satp"),
            ("stvec", "env.stvec"),
        ),
        _riscv,
    ),
    _Architecture(
        "s390x",
        "env.psw.addr",
        (
            ("psw.addr", "env.psw.addr"),
            ("psw.mask", "env.psw.mask"),
            ("r15", "env.regs[15]"),
            ("prefix", "env.psa"),
            ("cr0", "env.cregs[0]"),
            ("cr1", "env.cregs[1]"),
            ("cr13", "env.cregs[13]"),
        ),
        _s390x,
    ),
    _Architecture(
        "ppc64",
        "env.nip",
        (
            ("nip", "env.nip"),
            ("r1", "env.gpr[1]"),
            ("lr", "env.spr[8]"),
            ("ctr", "env.spr[9]"),
            ("msr", "env.msr"),
            ("lpcr", "env.spr[318]"),
            ("ptcr", "env.spr[464]"),
        ),
        _ppc64,
    ),
    _Architecture(
        "loongarch",
        f"{_CSR}CRMD",
        (
            ("pc", "env.pc"),
            ("sp", "env.gpr[3]"),
            ("ra", "env.gpr[1]"),
            ("CRMD", f"{_CSR}CRMD"),
            ("PGDL", f"{_CSR}PGDL"),
            ("PGDH", f"{_CSR}PGDH"),
            ("EENTRY", f"{_CSR}EENTRY"),
        ),
        _loongarch,
    ),
    # The CSRs had other names before QEMU 10.0.
    _Architecture(
        "loongarch",
        "env.CSR_CRMD",
        (
            ("pc", "env.pc"),
            ("sp", "env.gpr[3]"),
            ("ra", "env.gpr[1]"),
            ("CRMD", "env.CSR_CRMD"),
            ("PGDL", "env.CSR_PGDL"),
            ("PGDH", "env.CSR_PGDH"),
        ),
        _loongarch,
    ),
    _Architecture(
        "m68k",
        "env.dregs",
        (("pc", "env.pc"), ("sp", "env.aregs[7]"), ("sr", "env.sr")),
        _m68k,
    ),
    _Architecture("avr", "env.pc_w", (("pc (words)", "env.pc_w"), ("sp", "env.sp")), _plain),
    _Architecture("arm", "env.regs", (("pc", "env.regs[15]"), ("sp", "env.regs[13]")), _plain),
)

#: op0, op1, CRn, CRm, op2 of the system registers.
_ARM64 = {
    "SCTLR_EL1": (3, 0, 1, 0, 0),
    "TTBR0_EL1": (3, 0, 2, 0, 0),
    "TTBR1_EL1": (3, 0, 2, 0, 1),
    "TCR_EL1": (3, 0, 2, 0, 2),
    "VBAR_EL1": (3, 0, 12, 0, 0),
    "ESR_EL1": (3, 0, 5, 2, 0),
}


def cpus(state: MachineState) -> Iterator[Cpu]:
    """Every vCPU of a state that has registers we know, in the order of the stream."""
    for device in state.devices:
        known = _architecture(device)
        if known is not None:
            yield _cpu(state, device, known)


def architecture_name(state: MachineState) -> str | None:
    """Of what architecture the first vCPU is whose fields tell it; None: none does."""
    found = (known.name for device in state.devices if (known := _architecture(device)))
    return next(found, None)


def _architecture(device: DeviceState) -> _Architecture | None:
    if device.name != "cpu" or device.structure is None:
        return None
    fields = {field.name for field in device.structure.fields}
    return next((one for one in _ARCHITECTURES if one.marker in fields), None)


def _cpu(state: MachineState, device: DeviceState, architecture: _Architecture) -> Cpu:
    found = [fact(device, name, path) for name, path in architecture.registers]
    registers = [one for one in found if one is not None]
    if architecture.name == "aarch64":
        registers += _system_registers(device)
    values = {one.name: int(one.value) for one in registers}
    halted = fact(state.device("cpu_common", device.instance_id), "halted", "halted")
    return Cpu(
        device.path,
        architecture.name,
        architecture.mode(values),
        bool(halted.value) if halted else None,
        tuple(registers),
    )


def _system_registers(device: DeviceState) -> Iterator[Fact]:
    """The system registers of an aarch64 vCPU, which are in two parallel arrays."""
    registers = system_registers(device.fields)
    for name, coding in _ARM64.items():
        found = registers.get(system_register(*coding))
        if found is not None:
            place, value = found
            yield Fact(name, value, f"{device.path}/cpreg_vmstate_values[{place}]")
