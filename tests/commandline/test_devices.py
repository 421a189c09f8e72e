"""Devices and memory of hand-made images on the command line that is derived of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixedram_fmt.commandline import command_line
from fixedram_fmt.errors import UnsupportedError
from support.builders import StreamBuilder, open_bytes
from support.machines import machine, pci_body, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt import Image

MSIX = b"\x11\x02\x00"
NOTIFY = b"\x09\x14\x02" + bytes(12) + b"\4\0\0\0"
ONE = "0000:00:02.0"


def devices(*sections: str | tuple[str, bytes], **more: object) -> list[str]:
    return values_of(command_line(machine(*sections, **more)).argv, "-device")  # type: ignore[arg-type]


def unclaimed(*sections: str | tuple[str, bytes]) -> list[str]:
    told = command_line(machine(*sections)).uncertain
    return [one for one in told if one.startswith("no argument here brings")]


def numbered(name: str, *instances: int, apic: Sequence[int] = ()) -> Image:
    """A pc whose sections of a name, and APICs, have these instance ids."""
    builder = StreamBuilder().header().configuration(b"pc-i440fx-10.0")
    named = [(name, one) for one in instances] + [("apic", one) for one in apic]
    for number, (section, instance) in enumerate(named):
        builder.full(number + 3, section.encode(), bytes(4), instance_id=instance)
    return open_bytes(builder.eof().file())


# -- the machine -----------------------------------------------------------------------------------


def test_a_machine_without_odd_parts_needs_no_properties() -> None:
    line = command_line(machine(), "/tmp/x.img")
    assert line.argv[0] == "qemu-system-x86_64"
    assert values_of(line.argv, "-machine") == ["pc-i440fx-10.0,suppress-vmdesc=on"]
    assert line.argv[-4:] == (
        "-global", "migration.mapped-ram=on", "-incoming", "file:/tmp/x.img",
    )  # fmt: skip
    assert line.incoming == line.argv[-4:]
    assert not [one for one in line.uncertain if "no argument" in one]


@pytest.mark.parametrize(
    ("section", "property_"),
    [("hpet", "hpet=off"), ("i8254", "pit=off"), ("i8259", "pic=off"), ("vmmouse", "vmport=off"),
     ("pckbd", "i8042=off"), ("0000:00:01.3/piix4_pm", "acpi=off")],
)  # fmt: skip
def test_what_a_board_lacks_is_switched_off(section: str, property_: str) -> None:
    from support.machines import OF_PC

    kept = [one for one in OF_PC if one != section]
    (value,) = values_of(command_line(machine(*kept, usual=False)).argv, "-machine")
    assert property_ in value.split(",")


def test_a_machine_that_is_not_known_is_our_error() -> None:
    for name in (b"sun4m", b"pc\x1b[31m", b""):
        with pytest.raises(UnsupportedError):
            command_line(machine("cpu", name=name, usual=False))


def test_vcpus_are_counted_and_their_topology_read_from_the_ids_of_their_apics() -> None:
    (smp,) = values_of(command_line(machine("cpu", "cpu_common", "cpu_common")).argv, "-smp")
    assert smp == "3"


def test_a_vcpu_after_a_gap_was_plugged_in() -> None:
    image = machine(("cpu_common", bytes(8)), usual=True)
    assert values_of(command_line(image).argv, "-smp") == ["2"]
    gap = numbered("cpu_common", 0, 2)
    line = command_line(gap)
    assert values_of(line.argv, "-smp") == ["1,sockets=3,maxcpus=3"]
    assert values_of(line.argv, "-device") == [
        "qemu64-x86_64-cpu,socket-id=2,core-id=0,thread-id=0"
    ]


def test_the_ids_of_apics_tell_the_topology() -> None:
    builder = {"cpu_common": range(6), "apic": (0, 1, 2, 4, 5, 6)}
    line = command_line(numbered("cpu_common", *builder["cpu_common"], apic=builder["apic"]))
    assert values_of(line.argv, "-smp") == ["6,sockets=2,cores=3,threads=1"]


def test_a_machine_of_proxies_has_no_parts() -> None:
    line = command_line(machine("PCIHost", "PCIBUS", name=b"x-remote", usual=False))
    assert values_of(line.argv, "-machine") == ["x-remote,suppress-vmdesc=on"]
    assert not [one for one in line.uncertain if one.startswith("no argument")]


def test_devices_of_a_microvm_are_on_the_bus_of_their_address() -> None:
    way = "virtio-mmio@00000000feb02e00"
    sections = ("cpu", "acpi-ged", f"{way}/virtio-rng", "virtio-mmio@00000000feb00001/virtio-rng")
    line = command_line(machine(*sections, name=b"microvm", blocks=["microvm.ram"], usual=False))
    (value,) = values_of(line.argv, "-device")
    assert value.startswith("virtio-rng-device,")
    assert "bus=virtio-mmio-bus.23" in value
    assert [one for one in line.uncertain if "feb00001" in one]


# -- memory ----------------------------------------------------------------------------------------


def test_a_backend_of_another_name_is_the_machines_memory() -> None:
    argv = command_line(machine(blocks=["mem0"])).argv
    assert values_of(argv, "-object") == ["memory-backend-ram,id=mem0,size=4K"]
    assert "memory-backend=mem0" in values_of(argv, "-machine")[0].split(",")
    assert values_of(argv, "-m") == ["4K"]


def test_a_backend_beside_the_machines_memory_is_a_dimm() -> None:
    argv = command_line(machine(blocks=["pc.ram", ("mem1", 512)])).argv
    assert values_of(argv, "-object") == ["memory-backend-ram,id=mem1,size=2M"]
    assert values_of(argv, "-m") == ["4K,slots=1,maxmem=2G"]
    assert [one for one in values_of(argv, "-device") if one.startswith("pc-dimm,")]


def test_a_block_that_no_backend_can_be_called_is_left_out_and_told() -> None:
    line = command_line(machine(blocks=["pc.ram", "mem,size=1T"]))
    assert not values_of(line.argv, "-object")
    assert not [one for one in line.argv if "1T" in one]
    assert any("mem,size=1T" in one for one in line.uncertain)


def test_firmware_in_flash_chips_has_chips() -> None:
    argv = command_line(machine("pflash_cfi01", blocks=["pc.ram", "system.flash0"])).argv
    assert "pflash0=pflash0" in values_of(argv, "-machine")[0].split(",")
    (node,) = values_of(argv, "-blockdev")
    assert "size=4096" in node.split(",")


# -- PCI -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vmsd", "ids", "driver"),
    [("e1000", (0x8086, 0x100C), "e1000-82544gc"), ("e1000", (0x8086, 0x100E), "e1000"),
     ("xhci", (0x1033, 0x0194), "nec-usb-xhci"), ("ehci", (0x8086, 0x293A), "ich9-usb-ehci1"),
     ("uhci", (0x8086, 0x2939), "ich9-usb-uhci6"), ("lsiscsi", (0x1000, 0x0001), "lsi53c810")],
)  # fmt: skip
def test_a_device_is_told_by_its_ids(vmsd: str, ids: tuple[int, int], driver: str) -> None:
    (value,) = devices((f"{ONE}/{vmsd}", pci_body(*ids)))
    assert value.split(",")[0] == driver
    assert "bus=pci.0,addr=2" in value
    assert not unclaimed((f"{ONE}/{vmsd}", pci_body(*ids)))


def test_a_device_is_told_by_its_class() -> None:
    for code, driver in ((0x0300, "VGA"), (0x0380, "secondary-vga")):
        (value,) = devices((f"{ONE}/vga", pci_body(0x1234, 0x1111, class_code=code, revision=2)))
        assert value.split(",")[0] == driver


def test_a_device_of_unknown_ids_is_no_device_and_told() -> None:
    section = (f"{ONE}/e1000", pci_body(0x8086, 0xFFFF))
    assert not devices(section)
    assert unclaimed(section) == [f"no argument here brings a device for the section {ONE}/e1000"]


def test_virtio_has_the_vectors_and_halves_of_its_configuration_space() -> None:
    cases = {
        (0x1000, (MSIX, NOTIFY)): "vectors=3,disable-legacy=off",
        (0x1041, (MSIX, NOTIFY)): "vectors=3,disable-legacy=on",
        (0x1000, ()): "vectors=0,disable-legacy=off,disable-modern=on",
    }
    for (device, capabilities), properties in cases.items():
        body = pci_body(0x1AF4, device, *capabilities)
        (value,) = devices((f"{ONE}/virtio-net", body))
        assert value.endswith(properties), value


def test_a_rom_is_as_long_as_its_block_and_absent_without() -> None:
    card = (f"{ONE}/e1000", pci_body(0x8086, 0x100E))
    (value,) = devices(card)
    assert ",romfile=" in value
    (value,) = devices(card, blocks=["pc.ram", (f"{ONE}/e1000.rom", 64)])
    assert ",romsize=262144" in value
    assert "romfile" not in value


def test_what_is_on_a_bridge_comes_after_it_and_names_its_bus() -> None:
    inner = ("0000:00:02.0:03.0/e1000", pci_body(0x8086, 0x100E))
    bridge = ("0000:00:02.0/pci_bridge", pci_body(0x1B36, 1, b"\x04\x00\x07", header_type=1))
    outer, value = devices(inner, bridge)
    fields = outer.split(",")
    assert fields[0] == "pci-bridge"
    assert "chassis_nr=7" in fields
    name = next(one for one in fields if one.startswith("id=")).removeprefix("id=")
    assert f"bus={name},addr=3" in value


def test_what_is_on_no_bridge_that_is_there_is_told() -> None:
    inner = ("0000:00:02.0:03.0/e1000", pci_body(0x8086, 0x100E))
    assert not devices(inner)
    assert unclaimed(inner)


def test_an_expander_is_told_by_the_ways_of_what_is_on_it() -> None:
    root = ("0000:10:04.0:00.0/pci_bridge", pci_body(0x1B36, 1, header_type=1))
    values = devices(root, "PCIHost", "PCIHost")
    assert values == ["pxb,id=pxb0,bus_nr=16,bus=pci.0,addr=4"]
    assert not unclaimed(root)


# -- what is on other buses ------------------------------------------------------------------------

XHCI = (f"{ONE}/xhci", pci_body(0x1B36, 0x000D))


def test_usb_devices_are_at_their_ports_hubs_first() -> None:
    values = devices(f"{ONE}/1.2/usb-kbd", f"{ONE}/1/usb-hub", f"{ONE}/2/usb-ptr", XHCI)
    shown = [(one.split(",")[0], one.rpartition("port=")[2]) for one in values[1:]]
    assert shown == [("usb-hub", "1"), ("usb-tablet", "2"), ("usb-kbd", "1.2")]


def test_a_usb_disk_has_its_disk_with_it() -> None:
    values = devices(XHCI, f"{ONE}/1/usb-storage", f"{ONE}/1/0:0:0/scsi-disk")
    assert [one.split(",")[0] for one in values] == ["qemu-xhci", "usb-storage"]
    values = devices(XHCI, f"{ONE}/1/usb-storage", f"{ONE}/1/0:0:1/scsi-disk")
    assert [one.split(",")[0] for one in values] == ["qemu-xhci", "usb-bot", "scsi-hd"]


def test_scsi_disks_are_at_their_targets() -> None:
    controller = (f"{ONE}/lsiscsi", pci_body(0x1000, 0x0012))
    values = devices(controller, f"{ONE}/0:3:1/scsi-disk")
    assert "channel=0,scsi-id=3,lun=1" in values[1]
    assert unclaimed(f"{ONE}/0:3:1/scsi-disk")


def test_parts_without_a_place_have_the_backends_they_need() -> None:
    line = command_line(machine("serial", "serial", "sb16", "vmgenid", "ipmi-bmc-sim", "slirp"))
    assert len(values_of(line.argv, "-chardev")) == 2
    assert values_of(line.argv, "-netdev") == ["user,id=net0"]
    drivers = [one.split(",")[0] for one in values_of(line.argv, "-device")]
    assert drivers == ["isa-serial", "isa-serial", "sb16", "vmgenid"]
    unclaimed_ = [one for one in line.uncertain if one.startswith("no argument")]
    assert unclaimed_ == ["no argument here brings a device for the section ipmi-bmc-sim"]


def test_instances_of_one_name_are_told_in_one_sentence() -> None:
    (sentence,) = unclaimed(*["odd"] * 1000)
    assert sentence.endswith("odd (#0, #1, #2, #3, ...)")
