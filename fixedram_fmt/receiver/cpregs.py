"""Lists of system registers of an ARM CPU: what the receiver does not know, or has fixed.

Upstream: target/arm/machine.c cpu_post_load(), target/arm/helper.c write_list_to_cpustate(), which
reads each value back; target/arm/kvm-consts.h and cpregs.h for how an index is put together.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fixedram_fmt.receiver.misfit import Kind, Misfit
from fixedram_fmt.vmstate.arm64 import INDEXES, VALUES, register_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fixedram_fmt.receiver.content import Content
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["fixed_registers", "register_misfits", "register_name"]

#: op0, op1, crn, crm, op2 of registers that say what CPU it is, or that people meet.
_NAMES = {
    (3, 0, 0, 0, 0): "MIDR_EL1", (3, 0, 0, 0, 5): "MPIDR_EL1", (3, 0, 0, 0, 6): "REVIDR_EL1",
    (3, 0, 0, 4, 0): "ID_AA64PFR0_EL1", (3, 0, 0, 4, 1): "ID_AA64PFR1_EL1",
    (3, 0, 0, 4, 4): "ID_AA64ZFR0_EL1", (3, 0, 0, 4, 5): "ID_AA64SMFR0_EL1",
    (3, 0, 0, 5, 0): "ID_AA64DFR0_EL1", (3, 0, 0, 5, 1): "ID_AA64DFR1_EL1",
    (3, 0, 0, 6, 0): "ID_AA64ISAR0_EL1", (3, 0, 0, 6, 1): "ID_AA64ISAR1_EL1",
    (3, 0, 0, 6, 2): "ID_AA64ISAR2_EL1", (3, 0, 0, 7, 0): "ID_AA64MMFR0_EL1",
    (3, 0, 0, 7, 1): "ID_AA64MMFR1_EL1", (3, 0, 0, 7, 2): "ID_AA64MMFR2_EL1",
    (3, 0, 0, 7, 3): "ID_AA64MMFR3_EL1", (3, 0, 8, 0, 6): "TLBI VAE1OS",
    (3, 1, 0, 0, 1): "CLIDR_EL1", (3, 1, 0, 0, 7): "AIDR_EL1", (3, 3, 0, 0, 1): "CTR_EL0",
    (3, 3, 0, 0, 7): "DCZID_EL0", (3, 0, 1, 0, 0): "SCTLR_EL1", (3, 0, 1, 0, 1): "ACTLR_EL1",
    (3, 0, 1, 0, 3): "SCTLR2_EL1", (3, 0, 2, 0, 3): "TCR2_EL1", (3, 3, 9, 12, 0): "PMCR_EL0",
    (3, 3, 9, 12, 1): "PMCNTENSET_EL0", (3, 3, 9, 12, 2): "PMCNTENCLR_EL0",
    (3, 0, 9, 14, 1): "PMINTENSET_EL1", (3, 3, 14, 15, 7): "PMCCFILTR_EL0",
    (3, 0, 10, 4, 4): "MPAMIDR_EL1", (3, 0, 10, 2, 2): "PIRE0_EL1", (3, 0, 10, 2, 3): "PIR_EL1",
    (2, 0, 0, 2, 2): "MDSCR_EL1", (3, 1, 11, 0, 2): "L2CTLR_EL1",
}  # fmt: skip
#: Registers outside of op1 = 0, crn = 0 that no CPU lets be written.
_FIXED = frozenset(("CLIDR_EL1", "AIDR_EL1", "CTR_EL0", "DCZID_EL0", "L2CTLR_EL1"))
#: Of AArch32 the same: opc1, crn, crm, opc2 in p15 of L2CTLR, which tells the number of cores.
_L2CTLR = (1, 9, 0, 2)


def register_name(index: int) -> str:
    """The register's name, or how it is encoded."""
    parts = register_parts(index)
    if parts is None:
        coprocessor, crn, crm = index >> 16 & 0xF, index >> 11 & 15, index >> 7 & 15
        return f"p{coprocessor}, opc1 {index >> 3 & 7}, c{crn}, c{crm}, opc2 {index & 7}"
    return _NAMES.get(parts, "S{}_{}_C{}_C{}_{}".format(*parts))


def _is_fixed(index: int) -> bool:
    """Whether it is an identification register: those are written in vain."""
    parts = register_parts(index)
    if parts is None:
        opc1, crn, crm, opc2 = index >> 3 & 15, index >> 11 & 15, index >> 7 & 15, index & 7
        return (opc1, crn) == (0, 0) or (opc1, crn, crm, opc2) == _L2CTLR
    return parts[:3] == (3, 0, 0) or _NAMES.get(parts) in _FIXED


def _words(raw: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])


def fixed_registers(indexes: bytes, values: bytes) -> bytes:
    """Values as they are in an image, of identification registers alone: the others are 0.

    They are the guest's, and no concern of a receiver.
    """
    pairs = zip(_words(indexes), _words(values), strict=False)
    kept = [value if _is_fixed(index) else 0 for index, value in pairs]
    return struct.pack(f">{len(kept)}Q", *kept)


def register_misfits(
    device: DeviceState, sent: Mapping[str, Content], own: Mapping[str, bytes]
) -> Iterator[Misfit]:
    """Registers of the sender's list that are not in the receiver's, or fixed to another value."""
    if device.name != "cpu" or INDEXES not in sent or INDEXES not in own:
        return
    indexes, local = _words(sent[INDEXES].raw), _words(own[INDEXES])
    start = sent[INDEXES].offset - device.offset
    known, last = set(local), max(local, default=0)
    for number, index in enumerate(indexes):
        # What comes behind the receiver's last register is never looked at.
        if index not in known and index < last:
            words = "in the image alone", "no such register"
            yield _misfit(device, start + 8 * number, index, words, "cpreg")
    values = dict(zip(indexes, _words(sent[VALUES].raw) if VALUES in sent else (), strict=False))
    here = dict(zip(local, _words(own.get(VALUES, b"")), strict=False))
    for number, index in enumerate(indexes):
        if index in here and index in values and _is_fixed(index) and here[index] != values[index]:
            place = start + 8 * (len(indexes) + number)
            words = f"{values[index]:#x}", f"{here[index]:#x}"
            yield _misfit(device, place, index, words, "cpreg-value")


def _misfit(
    device: DeviceState, start: int, index: int, words: tuple[str, str], says: str
) -> Misfit:
    name = register_name(index)
    message = f"system register {index:#x} ({name})"
    holes: Mapping[str, int | str] = {"index": index}
    return Misfit(
        Kind.REGISTER, device, start, INDEXES, message, *words, says, holes, "cpreg", at_end=True
    )
