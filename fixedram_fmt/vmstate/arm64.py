"""The system registers of an aarch64 CPU in QEMU's state: two parallel arrays, ids and values."""

from __future__ import annotations

from typing import Any

__all__ = ["INDEXES", "VALUES", "register_parts", "system_register", "system_registers"]

#: The arrays, as target/arm/machine.c names them.
INDEXES, VALUES = "cpreg_vmstate_indexes", "cpreg_vmstate_values"

#: KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG (linux asm/kvm.h).
_SYSREG = 0x6030_0000_0013_0000
#: KVM_REG_ARCH_MASK and KVM_REG_ARM_COPROC_MASK: of what kind an id is.
_KIND = 0xF000_0000_FFFF_0000


def system_register(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """The id that cpreg_vmstate_indexes has for a system register: ARM64_SYS_REG()."""
    return _SYSREG | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def register_parts(index: int) -> tuple[int, int, int, int, int] | None:
    """op0, op1, crn, crm, op2 of an id; None for what is no register of 64 bits (AArch32)."""
    if (index ^ _SYSREG) & _KIND:
        return None
    return index >> 14 & 3, index >> 11 & 7, index >> 7 & 15, index >> 3 & 15, index & 7


def system_registers(fields: dict[str, Any] | None) -> dict[int, tuple[int, int]]:
    """Place in the arrays and value, by id, of a CPU's decoded fields; empty if there are none."""
    indexes = (fields or {}).get(INDEXES)
    values = (fields or {}).get(VALUES)
    if not isinstance(indexes, list) or not isinstance(values, list):
        return {}
    pairs = zip(indexes, values, strict=False)
    return {index: (place, value) for place, (index, value) in enumerate(pairs)}
