"""What is shipped about each QEMU: machines and structures, asked by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from fixedram_fmt.knowledge import Known, KnownVmstate, known_in, known_versions
from fixedram_fmt.loaders import LOADERS, Libvirt


def known(version: str) -> Known:
    found = known_in(version)
    assert found is not None
    return found


def only(version: str, name: str, arch: str = "x86_64") -> KnownVmstate:
    (one,) = known(version).vmstates(arch)[name]
    return one


def test_versions_are_found_and_loaded_once() -> None:
    assert known_versions() == ("10.0", "11.1")
    assert known_in("10.0") is known_in("10.0")
    assert known("10.0").version == "10.0"
    for nothing in ("12.0", "", "../data/10.0", "*"):
        assert known_in(nothing) is None


def test_each_loader_knows_a_version() -> None:
    told = {name: loader.knows for name, loader in LOADERS.items()}
    assert told.pop("qemu-11.1") == told.pop("libvirt-12.8") == "11.1"
    # They start whichever QEMU is installed.
    assert told.pop("libvirt-9.0") == told.pop("libvirt-11.3") == ""
    assert set(told.values()) == {"10.0"}
    assert all(known_in(version) is not None for version in told.values())


def test_nothing_is_known_of_a_version_before_its_data_is_made() -> None:
    newer = replace(LOADERS["qemu-11.1"], name="qemu-12.0", major=12)
    started = replace(LOADERS["libvirt-12.8"], libvirt=Libvirt(6, qemu="12.0"))
    assert newer.knows == started.knows == "12.0"
    assert known_in(newer.knows) is known_in("") is None


@pytest.mark.parametrize(
    ("version", "arch", "name", "made"),
    [
        ("10.0", "x86_64", "pc", "pc-i440fx-10.0"),
        ("11.1", "x86_64", "q35", "pc-q35-11.1"),
        ("10.0", "aarch64", "virt", "virt-10.0"),
        ("10.0", "loongarch64", "virt", "virt"),
        ("11.1", "loongarch64", "virt", "virt-11.1"),
        ("11.1", "s390x", "s390-ccw-virtio", "s390-ccw-virtio-11.1"),
        ("10.0", "x86_64", "pc-q35-9.2", "pc-q35-9.2"),
    ],
)
def test_an_alias_is_the_machine_it_stands_for(
    version: str, arch: str, name: str, made: str
) -> None:
    machine = known(version).machine(name, arch)
    assert machine is not None
    assert (machine.name, machine.alias_of) == (made, None)
    assert known(version).has_machine(name, arch) is True


def test_machines_of_an_architecture() -> None:
    machines = known("10.0").machines("x86_64")
    assert machines is not None
    assert machines["pc"].alias_of == "pc-i440fx-10.0"
    assert [machines[name].deprecated for name in ("pc-i440fx-2.6", "pc-i440fx-9.2")] == [
        True,
        False,
    ]
    assert known("10.0").machines("avr") is None
    assert known("10.0").machine("uno", "avr") is None


def test_every_alias_leads_to_a_machine() -> None:
    for version in known_versions():
        for arch in known(version).architectures:
            machines = known(version).machines(arch) or {}
            leads = {one.alias_of for one in machines.values()} - {None}
            assert leads <= machines.keys()
            assert all(machines[name].alias_of is None for name in leads if name)


def test_old_machines_are_gone_from_the_new_version() -> None:
    for arch in ("x86_64", "i386", None):
        assert known("10.0").has_machine("pc-i440fx-2.6", arch) is True
        assert known("11.1").has_machine("pc-i440fx-2.6", arch) is False
        assert known("10.0").has_machine("pc-i440fx-11.1", arch) is False
    assert known("11.1").has_machine("pc-i440fx-11.1", "aarch64") is False


@pytest.mark.parametrize("name", ["arduino-uno", "clipper", "pc-1", "", "-1.0", "none-such-1.0"])
def test_a_machine_of_an_architecture_that_is_not_known_is_not_denied(name: str) -> None:
    for version in known_versions():
        assert known(version).has_machine(name) is None
        assert known(version).has_machine(name, "avr") is None
        assert known(version).has_machine(name, "x86_64") is False


def test_architectures_of_a_machine() -> None:
    assert known("10.0").architectures_of("pc") == ("i386", "x86_64")
    assert known("10.0").architectures_of("virt-9.0") == ("aarch64", "arm", "m68k")
    assert "riscv64" in known("10.0").architectures_of("virt")
    assert known("10.0").architectures_of("pc-i440fx-99.0") == ()


def test_a_structure_has_its_fields_and_subsections() -> None:
    piix4 = only("10.0", "piix4_pm")
    assert (piix4.version_id, piix4.minimum_version_id) == (3, 3)
    fields = {field.name: field for field in piix4.fields}
    index = fields["acpi_pci_hotplug.acpi_index"]
    assert (index.conditional, index.size, index.count) == (True, 4, None)
    assert not fields["ar.pm1.evt.sts"].conditional
    status = fields["acpi_pci_hotplug.acpi_pcihp_pci_status"]
    assert (status.count, status.size) == (256, 0)
    assert status.structure is not None
    assert [one.name for one in status.structure.fields] == ["up", "down"]
    assert [one.name for one in piix4.subsections] == ["piix4_pm/memhp", "piix4_pm/cpuhp"]


def test_fields_that_share_a_name_are_numbered_as_in_descriptions() -> None:
    pci = only("10.0", "I440FX").fields[0].structure
    assert pci is not None
    fields = pci.described_fields()
    assert list(fields) == ["version_id", "config[0]", "config[1]", "irq_state"]
    assert [fields[f"config[{number}]"].size for number in (0, 1)] == [256, 4096]


@pytest.mark.parametrize(
    ("name", "arch", "older", "newer"),
    [
        ("hpet", "x86_64", (2, 1), (2, 2)),
        ("mc146818rtc", "x86_64", (3, 1), (3, 3)),
        ("nvme", "x86_64", (0, 0), (1, 1)),
        ("imx.serial", "arm", (3, 3), (4, 4)),
        ("aspeed.smc", "aarch64", (3, 2), (3, 1)),
    ],
)
def test_versions_of_devices_are_those_of_the_qemu(
    name: str, arch: str, older: tuple[int, int], newer: tuple[int, int]
) -> None:
    for version, wanted in (("10.0", older), ("11.1", newer)):
        one = only(version, name, arch)
        assert (one.version_id, one.minimum_version_id) == wanted


def test_devices_that_share_a_name_and_differ_are_all_kept() -> None:
    found = known("10.0").vmstates("x86_64")["ne2000"]
    assert len(found) == 2
    assert len({field.name for one in found for field in one.fields}) > 1
    for version in known_versions():
        for name, vmstates in known(version).vmstates(None).items():
            assert len(set(vmstates)) == len(vmstates)
            assert {one.name for one in vmstates} == {name}


def test_structures_come_from_the_nearest_dump() -> None:
    ten = known("10.0")
    x86 = ten.vmstates("x86_64")
    assert "piix4_pm" in x86
    assert "spapr" not in x86
    for same in (
        ten.vmstates("x86_64", "pc"),
        ten.vmstates("x86_64", "pc-q35-10.0"),
        ten.vmstates("x86_64", "pc-i440fx-2.6"),
        ten.vmstates(None, "q35"),
        ten.vmstates("i386", "pc"),
    ):
        assert same is x86
    everything = ten.vmstates(None)
    assert ten.vmstates("avr", "uno") is everything
    assert everything.keys() >= x86.keys() | ten.vmstates("s390x").keys()
    virt = ten.vmstates(None, "virt-9.0")
    assert virt.keys() == ten.vmstates("aarch64").keys() | ten.vmstates("m68k").keys()


def test_what_is_handed_out_cannot_change() -> None:
    with pytest.raises(TypeError):
        known("10.0").vmstates("x86_64")["new"] = ()  # type: ignore[index]
    with pytest.raises(AttributeError):
        only("10.0", "piix4_pm").name = "other"  # type: ignore[misc]
    machines = known("10.0").machines("x86_64")
    assert machines is not None
    machines.clear()
    assert known("10.0").machines("x86_64")


@pytest.mark.slow
def test_who_asks_for_a_machine_reads_no_devices() -> None:
    program = """
import sys
from pathlib import Path
read = []
sys.addaudithook(lambda event, about: read.append(str(about[0])) if event == "open" else None)
from fixedram_fmt.knowledge import known_in
assert known_in("10.0").has_machine("pc")
files = [Path(name).name for name in read if name.endswith(".xz")]
assert files == ["qemu-10.0.machines.xz"], files
known_in("10.0").vmstates("x86_64")
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
