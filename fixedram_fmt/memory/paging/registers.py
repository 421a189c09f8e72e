"""The registers that rule a CPU's translation, out of the device state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.memory.paging.aarch64 import Arm64Registers
from fixedram_fmt.memory.paging.riscv import RiscvRegisters
from fixedram_fmt.memory.paging.x86 import X86Registers
from fixedram_fmt.vmstate.arm64 import system_register, system_registers

if TYPE_CHECKING:
    from fixedram_fmt.memory.paging.walk import Registers
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["registers_of"]


def _sysreg(op1: int, crn: int, crm: int, op2: int) -> int:
    """The id of the system register with op0 = 3."""
    return system_register(3, op1, crn, crm, op2)


_HCR_EL2 = _sysreg(4, 1, 1, 0)
#: op1 of SCTLR, TCR, TTBR by exception level.
_OP1 = {1: 0, 2: 4, 3: 6}
_E2H, _TGE, _VM = 1 << 34, 1 << 27, 1
#: More CPUs than this are in no error message.
_CPUS_TOLD = 8


def registers_of(state: MachineState, cpu: int = 0) -> Registers:
    """The translation registers of CPU number cpu; UnsupportedError where they are not known."""
    device = _cpu(state, cpu)
    fields = _Fields(device)
    if fields.has("env.cr[3]"):
        return _x86(cpu, fields)
    if fields.has("cpreg_vmstate_indexes"):
        return _arm64(cpu, fields)
    if fields.has("env.satp"):
        width = 32 if fields.number("env.misa_mxl", 2) == 1 else 64
        return RiscvRegisters(cpu, fields.number("env.satp"), fields.number("env.priv"), width)
    raise UnsupportedError(
        "no rules for the page tables of this architecture",
        path=device.path,
        hint="x86, aarch64 and RISC-V are known; read --phys works for all",
    )


def _cpu(state: MachineState, number: int) -> DeviceState:
    cpus = [device for device in state.devices if device.name == "cpu"]
    for device in cpus:
        if device.instance_id == number:
            return device
    told = ", ".join(str(device.instance_id) for device in cpus[:_CPUS_TOLD])
    raise UnsupportedError(
        f"no state of CPU {number} in the image",
        expected=f"one of {told}{', ...' if len(cpus) > _CPUS_TOLD else ''}" if cpus else "",
        hint="" if cpus else "without CPU state only physical addresses can be read",
    )


class _Fields:
    """The fields of a CPU's state, found by their names."""

    def __init__(self, device: DeviceState) -> None:
        self.device = device
        try:
            fields = device.fields
        except FixedRamError as error:
            raise UnsupportedError(
                "the CPU's state cannot be read", path=device.path, found=error.message
            ) from error
        if fields is None:
            raise UnsupportedError(
                "the CPU's state is not described: its registers are not known",
                offset=device.offset,
                path=device.path,
                hint="the image was saved without a description (suppress-vmdesc)",
            )
        self.values: dict[str, Any] = fields

    def has(self, name: str) -> bool:
        return name in self.values

    def number(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bytes):
            value = int.from_bytes(value, "big")
        if not isinstance(value, int):
            raise UnsupportedError(
                "this is no number", path=f"{self.device.path}/{name}", found=type(value).__name__
            )
        return value


def _x86(cpu: int, fields: _Fields) -> X86Registers:
    return X86Registers(
        cpu,
        fields.number("env.cr[0]"),
        fields.number("env.cr[3]"),
        fields.number("env.cr[4]"),
        # A 32-bit QEMU has no EFER in its state.
        fields.number("env.efer", 0),
        fields.number("env.a20_mask", -1),
    )


def _arm64(cpu: int, fields: _Fields) -> Arm64Registers:
    """The regime of the exception level the CPU is in.

    EL0 has that of EL1, or of EL2 under a host that runs there (E2H and TGE: a Linux with VHE).
    """
    found = system_registers(fields.values)
    registers = {index: value for index, (_, value) in found.items()}
    pstate = fields.number("cpsr", 0)
    if pstate & 0x10 or _sysreg(0, 2, 0, 2) not in registers:
        raise UnsupportedError(
            "page tables of AArch32 are not known", path=fields.device.path,
            hint="read --phys works",
        )  # fmt: skip
    hcr = registers.get(_HCR_EL2, 0)
    hosted = hcr & _E2H and hcr & _TGE
    el = pstate >> 2 & 3 or (2 if hosted else 1)
    if el == 1 and hcr & _VM:
        raise UnsupportedError(
            "this CPU runs a nested guest: stage 2 tables are not known", path=fields.device.path
        )
    op1 = _OP1[el]
    return Arm64Registers(
        cpu,
        el,
        registers.get(_sysreg(op1, 1, 0, 0), 0),
        registers.get(_sysreg(op1, 2, 0, 2), 0),
        registers.get(_sysreg(op1, 2, 0, 0), 0),
        registers.get(_sysreg(op1, 2, 0, 1), 0),
        split=el == 1 or (el == 2 and bool(hcr & _E2H)),
    )
