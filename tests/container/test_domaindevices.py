"""Devices of a domain's XML: the names of their sections, and their places."""

from __future__ import annotations

import pytest

from fixedram_fmt.container.devicetable import MODELS, NAMES, OFF_PCI
from fixedram_fmt.container.domaindevices import DEVICES_CEILING, DeviceRom, DomainDevice
from fixedram_fmt.schema.pci import ADDRESS
from support.domains import domain, network, pci


def bridge(index: int, model: str, address: str = "", target: str = "") -> str:
    return f"<controller type='pci' index='{index}' model='{model}'>{target}{address}</controller>"


def devices(inner: str) -> tuple[DomainDevice, ...]:
    return domain(f"<devices>{inner}</devices>").devices


def path(inner: str) -> str | None:
    return devices(inner)[-1].path


@pytest.mark.parametrize(
    ("xml", "names"),
    [
        ("<interface type='user'><model type='virtio'/></interface>", ("virtio-net",)),
        ("<interface type='user'><model type='virtio-transitional'/></interface>",
         ("virtio-net",)),
        ("<interface type='user'><model type='i82559er'/></interface>", ("i82559er", "eeprom")),
        ("<interface type='user'><model type='thunderbird'/></interface>", ()),
        ("<interface type='user'/>", ()),
        ("<disk type='file'><target bus='virtio'/></disk>", ("virtio-blk",)),
        ("<disk type='vhostuser'><target bus='virtio'/></disk>", ("vhost-user-blk",)),
        ("<controller type='scsi' model='virtio-non-transitional'/>", ("virtio-scsi",)),
        ("<controller type='scsi' model='auto'/>", ()),
        ("<controller type='sata'/>", ("ich9_ahci",)),
        ("<controller type='pci' model='pcie-root-port'><model name='ioh3420'/></controller>",
         ("ioh-3240-express-root-port",)),
        ("<video><model type='virtio'/></video>", ("virtio-gpu", "virtio-vga")),
        ("<input type='passthrough' bus='virtio'/>", ("virtio-input-host",)),
        ("<filesystem type='mount'/>", ("virtio-9p",)),
        ("<hostdev type='pci' mode='subsystem'/>", ()),
        ("<watchdog model='i6300esb'/>", ("i6300esb_wdt",)),
    ],
)  # fmt: skip
def test_model_tells_the_names(xml: str, names: tuple[str, ...]) -> None:
    assert devices(xml)[0].names == names


def test_keys_of_the_tables_begin_with_known_elements() -> None:
    assert {key.partition("/")[0] for key in (*NAMES, *OFF_PCI)} <= {*MODELS}


def test_place_is_written_as_qdev_writes_it() -> None:
    assert path(network(pci("0x00", "0x03"))) == "0000:00:03.0"
    assert path(network(pci(0, 31, 7))) == "0000:00:1f.7"
    assert path(network("<address type='pci' slot='4'/>")) == "0000:00:04.0"


def test_place_goes_through_the_bridges() -> None:
    way = bridge(0, "pcie-root") + bridge(1, "pcie-root-port", pci(0, 2))
    way += bridge(2, "pcie-to-pci-bridge", pci(1, 0)) + network(pci(2, 1))
    assert [one.path for one in devices(way)] == [
        None, "0000:00:02.0", "0000:00:02.0:00.0", "0000:00:02.0:00.0:01.0",
    ]  # fmt: skip
    assert all(ADDRESS.fullmatch(one.path) for one in devices(way) if one.path)


def test_expanders_begin_a_root_bus() -> None:
    """As real images have it; pxb has a bridge inside, and that is what has a section."""
    number = "<target busNr='64'/>"
    express = bridge(1, "pcie-expander-bus", pci(0, 2), number)
    express += bridge(2, "pcie-root-port", pci(1, 0))
    assert path(express) == "0000:40:02.0:00.0"
    plain = bridge(1, "pci-expander-bus", pci(0, 2), number)
    assert devices(plain)[0].path == "0000:40:02.0:00.0"
    assert path(plain + network(pci(1, 3))) == "0000:40:02.0:00.0:03.0"
    assert path(bridge(1, "pci-expander-bus", pci(0, 2)) + network(pci(1, 3))) is None


@pytest.mark.parametrize(
    "address",
    [
        "", "<address type='pci'/>", pci(0, 0), pci(7, 1), pci(0, 32), pci(0, 3, 8), pci(256, 1),
        pci(0, "x"), pci(0, "-3"), pci(0, "9" * 30), "<address type='pci' domain='1' slot='3'/>",
        "<address type='usb' bus='0' port='1'/>",
    ],
)  # fmt: skip
def test_place_that_is_not_told_is_none(address: str) -> None:
    assert path(network(address)) is None


def test_bridges_in_a_ring_have_no_place() -> None:
    ring = bridge(1, "pci-bridge", pci(2, 1)) + bridge(2, "pci-bridge", pci(1, 1))
    assert [one.path for one in devices(ring + network(pci(1, 2)))] == [None] * 3


def test_long_ways_end() -> None:
    way = "".join(bridge(index + 1, "pci-bridge", pci(index, 1)) for index in range(255))
    assert path(way + network(pci(255, 1))) is None


def test_unplaced_is_what_libvirt_finds_a_place_for() -> None:
    found = devices(
        network() + network(pci(0, 3)) + "<input type='tablet' bus='usb'/>"
        "<disk><target bus='sata'/></disk><memballoon model='none'/><controller type='usb'/>"
        "<panic model='isa'/><serial><target type='isa-serial'/></serial>"
    )
    assert [one.kind for one in found if one.is_unplaced] == ["interface", "controller"]


def test_elements_are_told_with_their_aliases_and_roms() -> None:
    found = devices(
        "<emulator>x</emulator><interface type='user'/><interface type='user'>"
        "<rom bar='off' file='/rom.bin'/><alias name='net1'/></interface>"
    )
    assert [one.xml_path for one in found] == ["devices/interface[1]", "devices/interface[2]"]
    assert found[1].alias == "net1"
    assert found[1].rom == DeviceRom(bar=False, enabled=None, file="/rom.bin")


def test_number_of_devices_is_bounded() -> None:
    assert len(devices("<rng/>" * (DEVICES_CEILING + 10))) == DEVICES_CEILING
