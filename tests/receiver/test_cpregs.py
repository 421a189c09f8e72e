"""Lists of an ARM CPU's system registers: unknown numbers, and identities of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.receiver.cpregs import fixed_registers, register_name
from fixedram_fmt.receiver.misfit import Kind
from fixedram_fmt.receiver.receiver import Receiver
from support.receivers import found, number, part, saved, with_contents

if TYPE_CHECKING:
    from fixedram_fmt.image import Image


def sysreg(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG and the register."""
    return 0x6030_0000_0013_0000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def aarch32(opc1: int, crn: int, crm: int, opc2: int) -> int:
    """KVM_REG_ARM | KVM_REG_SIZE_U32, coprocessor 15."""
    return 0x4020_0000_000F_0000 | crn << 11 | crm << 7 | opc1 << 3 | opc2


MIDR, SCTLR, TCR = sysreg(3, 0, 0, 0, 0), sysreg(3, 0, 1, 0, 0), sysreg(3, 0, 2, 0, 2)
CTR, FAR = sysreg(3, 3, 0, 0, 1), sysreg(3, 0, 6, 0, 0)
MPIDR = sysreg(3, 0, 0, 0, 5)


def cpu(registers: dict[int, int], name: str = "cpu") -> Image:
    indexes, values = (
        b"".join(one.to_bytes(8, "big") for one in words)
        for words in (registers.keys(), registers.values())
    )
    count = len(registers)
    return saved(
        name,
        number("cpreg_vmstate_array_len", count, "int32 le"),
        part("cpreg_vmstate_indexes", "uint64", indexes, count),
        part("cpreg_vmstate_values", "uint64", values, count),
    )


OWN = dict(sorted({MIDR: 0x410FD083, SCTLR: 5, TCR: 7, CTR: 3}.items()))


def test_a_cpu_accepts_its_own_registers_whatever_the_guest_wrote() -> None:
    assert found(cpu(OWN), cpu(OWN)) == []
    assert found(cpu({**OWN, SCTLR: 99, TCR: 1 << 63}), cpu(OWN)) == []


def test_fewer_registers_are_fine() -> None:
    fewer = {index: OWN[index] for index in (MIDR, TCR)}
    assert found(cpu(fewer), cpu(OWN)) == []


def test_a_register_that_is_not_known_is_found() -> None:
    own = {index: value for index, value in OWN.items() if index != SCTLR}
    told = found(cpu(OWN), cpu({**own, sysreg(3, 0, 1, 0, 1): 0}))
    (one,) = [one for one in told if one.kind is Kind.REGISTER]
    assert "SCTLR_EL1" in one.message
    assert (one.found, one.expected) == ("in the image alone", "no such register")
    # The second of the list, which stands after its length.
    assert one.start == 4 + 8 * 1


def test_a_longer_list_is_refused_for_its_length_alone() -> None:
    """cpu_post_load() stops where its own list ends; `le` has refused the length before."""
    last = sysreg(3, 7, 15, 15, 7)
    (one,) = found(cpu({**OWN, last: 0}), cpu(OWN))
    assert (one.kind, one.item) == (Kind.VALUE, "cpreg_vmstate_array_len")


@pytest.mark.parametrize("index", [MIDR, CTR])
def test_an_identity_of_another_is_found(index: int) -> None:
    (one,) = found(cpu({**OWN, index: 0x99}), cpu(OWN))
    assert one.kind is Kind.REGISTER
    assert (one.found, one.expected) == ("0x99", f"{OWN[index]:#x}")
    assert one.holes == {"index": index}
    assert one.start == 4 + 8 * len(OWN) + 8 * list(OWN).index(index)


def test_values_of_the_guest_are_not_in_what_a_receiver_is_told() -> None:
    contents = Receiver.of_image(cpu(OWN)).contents
    assert contents is not None
    kept = bytes.fromhex(contents["cpu/0"]["cpreg_vmstate_values"].value)
    values = [int.from_bytes(kept[at : at + 8], "big") for at in range(0, len(kept), 8)]
    assert values == [value if index in (MIDR, CTR) else 0 for index, value in OWN.items()]


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (MIDR, "MIDR_EL1"), (CTR, "CTR_EL0"), (sysreg(3, 4, 2, 1, 7), "S3_4_C2_C1_7"),
        (aarch32(0, 0, 0, 5), "p15, opc1 0, c0, c0, opc2 5"),
        (aarch32(1, 9, 0, 2), "p15, opc1 1, c9, c0, opc2 2"), (0, "p0, opc1 0, c0, c0, opc2 0"),
    ],
)  # fmt: skip
def test_registers_have_names_or_their_encoding(index: int, name: str) -> None:
    assert register_name(index) == name


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (MIDR, True), (MPIDR, True), (CTR, True), (SCTLR, False), (FAR, False),
        (sysreg(3, 1, 0, 0, 1), True), (sysreg(3, 2, 0, 0, 0), False),
        (aarch32(0, 0, 0, 0), True), (aarch32(1, 9, 0, 2), True), (aarch32(0, 1, 0, 0), False),
    ],
)  # fmt: skip
def test_identification_registers_are_fixed(index: int, *, kept: bool) -> None:
    raw = fixed_registers(index.to_bytes(8, "big"), b"\1" * 8)
    assert raw == (b"\1" * 8 if kept else bytes(8))


def test_lists_that_do_not_match_are_read_as_far_as_they_do() -> None:
    assert fixed_registers(b"", b"\1" * 8) == b""
    assert fixed_registers(MIDR.to_bytes(8, "big") + b"\1", b"\1" * 19) == b"\1" * 8


@pytest.mark.parametrize("indexes", ["", "00", "ff" * 7, "ff" * 8, "00" * 8000])
@pytest.mark.parametrize("values", ["", "00" * 3, "ff" * 8])
def test_hostile_lists_of_a_receiver_are_read_as_far_as_they_go(indexes: str, values: str) -> None:
    image = cpu(OWN)
    receiver = with_contents(
        Receiver.of_image(image),
        "cpu/0",
        cpreg_vmstate_indexes=("uint64", indexes),
        cpreg_vmstate_values=("uint64", values),
    )
    assert all(one.kind is Kind.REGISTER for one in found(image, receiver))


def test_other_devices_have_no_such_lists() -> None:
    own = {index: value for index, value in OWN.items() if index != SCTLR}
    told = found(cpu(OWN, "dev"), cpu({**own, FAR: 0}, "dev"))
    assert not [one for one in told if one.kind is Kind.REGISTER]
