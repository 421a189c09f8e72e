"""Command lines of boards that are no PC, from samples and from made-up machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import fixedram_fmt as fx
from fixedram_fmt import Image
from fixedram_fmt.commandline import command_line
from fixedram_fmt.commandline.boards.armcpus import ArmCpu
from fixedram_fmt.commandline.boards.ppccpus import model_of, shared_by_others
from sample_files import read_manifest, sample_path, unpack
from support.machines import machine, pci_body, values_of

if TYPE_CHECKING:
    from pathlib import Path

#: What the arguments of a sample begin with; of the devices, those that are there.
SAMPLES = {
    "avr-uno": ("qemu-system-avr", "-machine arduino-uno"),
    "m68k-virt": ("qemu-system-m68k", "-machine virt-10.0 -cpu m68040 -m 16M"),
    "riscv64-virt": ("qemu-system-riscv64", "-machine virt -cpu rv64 -m 16M"),
    "s390x-virtio": ("qemu-system-s390x", "-machine s390-ccw-virtio-10.0 -m 8M"),
    "aarch64-virt": (
        "qemu-system-aarch64",
        "-machine virt-10.0,gic-version=2 -cpu cortex-a57 -m 16M",
    ),
    "loongarch64-virt": ("qemu-system-loongarch64", "-machine virt -cpu la464 -m 64M"),
    "ppc64-pseries": (
        "qemu-system-ppc64",
        "-machine pseries-10.0,ic-mode=xics,cap-hpt-max-page-size=65536 -cpu power8_v2.0 -m 256M",
    ),
    "ppc64-pseries-no-vmdesc": (
        "qemu-system-ppc64",
        "-machine pseries-10.0,ic-mode=xics -cpu power8_v2.0 -m 256M",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_becomes_the_machine_that_it_was(name: str, tmp_path: Path) -> None:
    entry = read_manifest()[name]
    path = unpack(sample_path(entry), tmp_path / name)
    with Image.open(path) as image:
        derived = command_line(image)
    program, arguments = SAMPLES[name]
    assert derived.argv[0] == program
    words = " ".join(derived.vm).partition("-machine ")[2]
    assert f"-machine {words}".startswith(arguments)
    assert derived.argv[-1] == f"file:{path}"


@pytest.mark.slow
def test_a_console_of_the_virtual_io_has_the_register_of_its_section(tmp_path: Path) -> None:
    entry = read_manifest()["ppc64-pseries"]
    with Image.open(unpack(sample_path(entry), tmp_path / "image")) as image:
        derived = command_line(image)
    assert any("spapr-vty" in one and "reg=0x30000000" in one for one in derived.argv)


# -- networks of boards ----------------------------------------------------------------------------


def board(name: bytes, *sections: str) -> list[str]:
    """The arguments of a board with these sections."""
    made = machine(*sections, blocks=["ram"], name=name, usual=False)
    return list(command_line(made).argv)


def test_a_board_with_the_state_of_a_network_is_taken_for_one_with_default_devices() -> None:
    words = board(b"vexpress-a9", "slirp", "lan9118", "sd-card")
    assert "-nodefaults" not in words
    assert values_of(words, "-nic") == ["user"]


def test_a_network_card_of_a_board_without_the_state_of_a_network_is_made() -> None:
    words = board(b"vexpress-a9", "lan9118")
    assert "-nodefaults" in words
    assert values_of(words, "-nic") == ["hubport,hubid=0"]


def test_a_state_of_a_network_that_no_card_has_is_there_all_the_same() -> None:
    words = command_line(machine("slirp")).argv
    assert "-nodefaults" in words
    assert values_of(words, "-netdev") == ["user,id=net0"]


def test_cards_before_the_display_of_sbsa_ref_are_the_boards() -> None:
    card, display = pci_body(0x8086, 0x10D3), pci_body(0x1234, 0x1111)
    made = machine(
        "slirp",
        ("0000:00:01.0/e1000e", card),
        ("0000:00:02.0/bochs-display", display),
        ("0000:00:03.0/e1000e", card),
        blocks=["sbsa-ref.ram"], name=b"sbsa-ref", usual=False,
    )  # fmt: skip
    words = command_line(made).argv
    assert values_of(words, "-nic") == ["user,model=e1000e"]
    assert [one.partition(",")[0] for one in values_of(words, "-device")] == ["e1000e"]


def test_the_usb_of_a_microvm_is_a_property_of_the_machine() -> None:
    made = machine("xhci-sysbus", blocks=["microvm.ram"], name=b"microvm", usual=False)
    assert "usb=on" in values_of(command_line(made).argv, "-machine")[0]


# -- CPUs ------------------------------------------------------------------------------------------


def arm_cpu(model: str, *, has_sve: bool = True, **registers: int) -> ArmCpu:
    """A CPU of 64 bits with these registers."""
    return ArmCpu(model, True, is_64bit=True, has_sve=has_sve, registers=registers)


@pytest.mark.parametrize(
    ("cpu", "machine", "argument"),
    [
        (arm_cpu("cortex-a57"), "virt-10.0", "cortex-a57"),
        (arm_cpu("cortex-a57", ID_AA64DFR0=0x10305006), "virt-10.0", "cortex-a57,pmu=off"),
        (arm_cpu("cortex-a57", ID_AA64DFR0=0x10305106), "virt-10.0", "cortex-a57"),
        (arm_cpu("max", has_sve=False), "virt-10.0", "max,sve=off"),
        (arm_cpu("max", ID_AA64PFR1=0x1000000121), "virt-10.0", "max,sme=off"),
        (arm_cpu("max", ID_AA64ISAR1=0x211002), "virt-10.0", "max,pauth=off"),
        (arm_cpu("max", ID_AA64ISAR1=0x211502), "virt-10.0", "max"),
        (arm_cpu("max", ID_AA64ISAR1=0x211502), "virt-9.0", "max,pauth-impdef=on"),
        (arm_cpu("max", ID_AA64ISAR1=0x211052), "virt-9.0", "max"),
        (arm_cpu("max", ID_AA64ISAR1=0x211052), "virt-10.0", "max,pauth-qarma5=on"),
        (arm_cpu("max", ID_AA64ISAR1=0x211002, ID_AA64ISAR2=0x5112), "virt-10.0",
         "max,pauth-qarma3=on"),
        (arm_cpu("max", ID_AA64MMFR0=0x2200101126 & ~(15 << 28)), "virt-10.0", "max,lpa2=off"),
    ],
)  # fmt: skip
def test_features_that_an_arm_cpu_lacks_are_switched_off(
    cpu: ArmCpu, machine: str, argument: str
) -> None:
    assert cpu.argument(machine) == argument


@pytest.mark.parametrize(
    ("registers", "has_hypervisor"),
    [
        ({}, False),
        ({"HCR": 0}, True),
        ({"HCR": 0, "SCR": 0x30}, False),
        ({"HCR": 0, "SCR": 0x30, "MDCR_EL2": 6}, True),
        ({"SCR": 0x30}, False),
    ],
)
def test_registers_of_el2_that_only_el3_brings_are_no_hypervisor(
    registers: dict[str, int], has_hypervisor: bool
) -> None:
    assert arm_cpu("max", **registers).has_hypervisor is has_hypervisor


@pytest.mark.parametrize(
    ("pvr", "model", "shared"),
    [
        (0x004D0200, "power8_v2.0", False),
        (0x00080301, "750_v3.1", True),
        (0x80210030, "e500v2_v30", True),
        (0x12345678, None, False),
    ],
)
def test_the_model_of_a_powerpc_is_told_by_its_pvr(
    pvr: int, model: str | None, shared: bool
) -> None:
    assert model_of(pvr) == model
    assert shared_by_others(pvr) is shared


@pytest.mark.parametrize("machine", ["pc-i440fx-10.0", "pc-q35-10.0", "microvm"])
def test_memory_without_devices_says_nothing_of_what_the_board_lacks(
    machine: str, tmp_path: Path
) -> None:
    fx.synth({"machine": machine}, tmp_path / "whole", blocks=["pc.ram=1M"])
    fx.copy(tmp_path / "whole", tmp_path / "memory", drop_devices=True)
    with Image.open(tmp_path / "memory") as image:
        assert not [section for section in image.sections if not section.is_ram]
        derived = command_line(image)
    machine_option = next(word for word in derived.vm if word.startswith(machine))
    assert "=off" not in machine_option
    assert any("no device is in the image" in text for text in derived.uncertain)
