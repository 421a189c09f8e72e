"""Which -cpu an Arm vCPU is, by its identification registers.

QEMU does not send MIDR_EL1: models are told apart by those that it sends.  Values are those that
QEMU 10.0 saves for each model; upstream: target/arm/cpu64.c, target/arm/tcg/cpu32.c and cpu64.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.vmstate.arm64 import system_register, system_registers

if TYPE_CHECKING:
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["ArmCpu", "cpu_of"]

#: KVM_REG_ARM | KVM_REG_SIZE_U32 | coprocessor 15, as cpreg_to_kvm_id() puts it together.
_P15 = 0x4020_0000_200F_0000


def _p15(opc1: int, crn: int, crm: int, opc2: int) -> int:
    """The id that cpreg_vmstate_indexes has for an AArch32 register of coprocessor 15."""
    return _P15 | crn << 11 | crm << 7 | opc1 << 3 | opc2


#: Registers by name: their ids, that of AArch64 first.
_REGISTERS = {
    "CTR": (system_register(3, 3, 0, 0, 1), _p15(0, 0, 0, 1)),
    "CLIDR": (system_register(3, 1, 0, 0, 1), _p15(1, 0, 0, 1)),
    "ID_MMFR0": (system_register(3, 0, 0, 1, 4), _p15(0, 0, 1, 4)),
    "ID_AA64ISAR0": (system_register(3, 0, 0, 6, 0),),
    "ID_AA64MMFR0": (system_register(3, 0, 0, 7, 0),),
    "ID_AA64MMFR1": (system_register(3, 0, 0, 7, 1),),
    "REVIDR": (system_register(3, 0, 0, 0, 6), _p15(0, 0, 0, 6)),
    "ID_DFR0": (system_register(3, 0, 0, 1, 2), _p15(0, 0, 1, 2)),
    "ID_AA64DFR0": (system_register(3, 0, 0, 5, 0),),
    "ID_AA64ISAR1": (system_register(3, 0, 0, 6, 1),),
    "ID_AA64ISAR2": (system_register(3, 0, 0, 6, 2),),
    "ID_AA64PFR1": (system_register(3, 0, 0, 4, 1),),
    "HCR": (system_register(3, 4, 1, 1, 0), _p15(4, 1, 1, 0)),
    "MDCR_EL2": (system_register(3, 4, 1, 1, 1), _p15(4, 1, 1, 1)),
    "CNTHCTL_EL2": (system_register(3, 4, 14, 1, 0), _p15(4, 14, 1, 0)),
    "SCR": (system_register(3, 6, 1, 1, 0), _p15(0, 1, 1, 0)),
}

#: What tells a model, in the order of the rows below; None: the CPU has no such register.
_TELLING = (
    "CTR", "CLIDR", "ID_MMFR0", "ID_AA64ISAR0", "ID_AA64MMFR0", "ID_AA64MMFR1", "REVIDR",
)  # fmt: skip
_N = None
_MODELS: dict[str, tuple[int | None, ...]] = {
    "cortex-a57": (0x8444C004, 0xA200023, 0x10101105, 0x11120, 0x1124, 0, 0),
    "cortex-a72": (0x8444C004, 0xA200023, 0x10201105, 0x11120, 0x1124, 0, 0),
    "cortex-a53": (0x84448004, 0xA200023, 0x10101105, 0x11120, 0x1122, 0, 0x100),
    "cortex-a35": (0x84448004, 0xA200023, 0x10201105, 0x11120, 0x101122, 0, 0),
    "cortex-a55": (
        0x84448004, 0x82000023, 0x10201105, 0x1000_1021_1120, 0x101122, 0x10212122, 0,
    ),
    "cortex-a76": (
        0x8444C004, 0x82000023, 0x10201105, 0x1000_1021_1120, 0x101122, 0x10212122, 0,
    ),
    "neoverse-n1": (
        0x8444C004, 0x82000023, 0x10201105, 0x1000_1021_1120, 0x101125, 0x10212122, 0,
    ),
    "neoverse-v1": (
        0xB444C004, 0x82000023, 0x10201105, 0x1011_1111_1021_2120, 0x101125, 0x10212122, 0,
    ),
    "cortex-a710": (
        0x4_9444_C004, 0x14_8200_0023, 0x10201105, 0x0221_1111_1021_2120, 0x222_0010_1122,
        0x10212122, 0,
    ),
    "neoverse-n2": (
        0x4_B444_C004, 0x14_8200_0023, 0x10201105, 0x1221_1111_1021_2120, 0x222_0010_1125,
        0x10212122, 0,
    ),
    "a64fx": (0x86668006, 0x80000023, 0, 0x10211120, 0x1122, 0x11212100, 0),
    "max": (
        0xB444C004, 0x2000023, 0x10101105, 0x1221_1111_1021_2120, 0x2100_0323_1020_1126,
        0x0110_1120_1031_2122, 0,
    ),
    "cortex-a15": (0x8444C004, 0xA200023, 0x10201105, _N, _N, _N, _N),
    "cortex-a7": (0x84448003, 0xA200023, 0x10101105, _N, _N, _N, _N),
}  # fmt: skip
#: -cpu max of qemu-system-arm: the registers of AArch64 are there, and empty.
_MAX_32BIT = (0x8444C004, 0xA200023, 0x10101105, 0, 0, 0, 0)
_WITH_SVE = frozenset(("a64fx", "cortex-a710", "max", "neoverse-n2", "neoverse-v1"))
_WITH_PAUTH = frozenset(("cortex-a710", "max", "neoverse-n2", "neoverse-v1"))
_MAX = "max"
_PSTATE_NRW = 1 << 4
#: From this version of a machine type on pauth-impdef= is what a CPU has by default.
_IMPDEF_SINCE = (10, 0)
_VERSIONED = re.compile(r".*-(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True)
class ArmCpu:
    """The first vCPU: model, whether all registers are that model's, values by name, has_sve."""

    model: str
    certain: bool
    is_64bit: bool
    has_sve: bool
    registers: dict[str, int]

    @property
    def has_hypervisor(self) -> bool:
        """Whether there is an EL2.

        A CPU with EL3 alone has registers of EL2 too, which are 0 (target/arm/helper.c
        define_one_arm_cp_reg_with_opaque(), ARM_CP_EL3_NO_EL2_*).
        """
        if "SCR" not in self.registers:
            return "HCR" in self.registers
        return any(self.registers.get(one) for one in ("HCR", "MDCR_EL2", "CNTHCTL_EL2"))

    def field(self, register: str, bit: int) -> int:
        """The four bits of a register from bit on; 0 where it is not there."""
        return self.registers.get(register, 0) >> bit & 15

    def argument(self, machine: str) -> str:
        """The value of -cpu: the model, and features that it would have had and has not."""
        words = [self.model]
        debug, bit = ("ID_AA64DFR0", 8) if self.is_64bit else ("ID_DFR0", 24)
        if debug in self.registers and not self.field(debug, bit):
            words.append("pmu=off")
        if self.is_64bit and self.model in _WITH_SVE and not self.has_sve:
            words.append("sve=off")
        elif self._lacks("ID_AA64PFR1", 24):
            words.append("sme=off")
        if self.model in _WITH_PAUTH and "ID_AA64ISAR1" in self.registers and self.is_64bit:
            words += self._pauth(machine)
        if self._lacks("ID_AA64MMFR0", 28):
            words.append("lpa2=off")
        return ",".join(words)

    def _lacks(self, register: str, bit: int) -> bool:
        """Whether -cpu max is told to be without a feature that it has by default."""
        is_max = self.is_64bit and self.model == _MAX
        return is_max and register in self.registers and not self.field(register, bit)

    def _pauth(self, machine: str) -> list[str]:
        """The algorithm of pointer authentication (APA, API, APA3), where it is not the default."""
        qarma5 = self.field("ID_AA64ISAR1", 4)
        impdef = self.field("ID_AA64ISAR1", 8)
        qarma3 = self.field("ID_AA64ISAR2", 12)
        if not (qarma5 or impdef or qarma3):
            return ["pauth=off"]
        if self.model != _MAX:
            return []
        if qarma3:
            return ["pauth-qarma3=on"]
        match = _VERSIONED.fullmatch(machine)
        is_old = match is not None and (int(match[1]), int(match[2])) < _IMPDEF_SINCE
        if impdef and is_old:
            return ["pauth-impdef=on"]
        return ["pauth-qarma5=on"] if qarma5 and not is_old else []


def cpu_of(evidence: Evidence) -> ArmCpu | None:
    """The first vCPU; None where its state has no such registers (or is not described)."""
    first = next(iter(evidence.instances("cpu")), 0)
    device = evidence.device("cpu", first)
    try:
        found = system_registers(device.fields if device else None)
    except FixedRamError:
        return None
    registers: dict[str, int] = {}
    for name, ids in _REGISTERS.items():
        value = next((found[one][1] for one in ids if one in found), None)
        if isinstance(value, int):
            registers[name] = value
    if "CTR" not in registers:
        return None
    has_sve = "cpu/sve" in evidence.subsections("cpu", first)
    if _alike(_MAX_32BIT, registers) == len(_TELLING):
        return ArmCpu(_MAX, True, is_64bit=False, has_sve=False, registers=registers)
    model = max(_MODELS, key=lambda one: _alike(_MODELS[one], registers))
    certain = _alike(_MODELS[model], registers) == len(_TELLING)
    is_64bit = registers.get("ID_AA64ISAR0", 0) != 0 or _runs_64bit(evidence, first)
    return ArmCpu(model, certain, is_64bit=is_64bit, has_sve=has_sve, registers=registers)


def _runs_64bit(evidence: Evidence, instance: int) -> bool:
    """Whether the vCPU is in a state of AArch64, where its registers do not tell (QEMU 11)."""
    pstate = evidence.get("cpu", "cpsr", instance)
    number = int.from_bytes(pstate, "big") if isinstance(pstate, bytes) else pstate
    return isinstance(number, int) and not number & _PSTATE_NRW


def _alike(row: tuple[int | None, ...], registers: dict[str, int]) -> int:
    """How many of the telling registers are as in the row."""
    values = zip(_TELLING, row, strict=True)
    return sum(registers.get(name) == value for name, value in values)
