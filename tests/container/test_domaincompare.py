"""Devices of an image against those of a domain's XML."""

from __future__ import annotations

import pytest

from fixedram_fmt.container.domaincompare import compared, implicit
from support.domains import domain, network, pci

BALLOON = "<memballoon model='none'/>"
USB = "<controller type='usb' model='none'/>"
HERE = network(pci(0, 3)) + BALLOON + USB
NET = "0000:00:03.0/virtio-net"


def kinds(devices: str, *names: str, machine: str = "pc-q35-9.2") -> list[tuple[str, str]]:
    """Kinds of differences, and of what."""
    told = domain(f"<devices>{devices}</devices>", machine)
    found = compared(told, [(name, 0) for name in names])
    return [(one.kind, one.section[0] if one.section else one.device.xml_path if one.device
             else "") for one in found]  # fmt: skip


def test_same_devices_do_not_differ() -> None:
    board = ["0000:00:00.0/mch", "0000:00:1f.2/ich9_ahci", "timer", "0000:00:1f.2/0/x"]
    assert kinds(HERE, NET, *board) == []
    old = ["0000:00:00.0/I440FX", "0000:00:01.3/piix4_pm"]
    assert kinds(HERE, NET, *old, machine="pc-i440fx-9.2") == []


def test_each_kind_of_difference() -> None:
    assert kinds(HERE, NET, "0000:00:09.0/rtl8139") == [("no-device", "0000:00:09.0/rtl8139")]
    assert kinds(HERE, "0000:00:03.0/e1000") == [("other-device", "0000:00:03.0/e1000")]
    assert kinds(HERE, NET, "0000:00:1f.0/PIIX3") == [("other-device", "0000:00:1f.0/PIIX3")]
    assert kinds(HERE) == [("not-in-image", "devices/interface[1]")]


def test_words_are_short_and_quoted() -> None:
    told = domain(f"<devices>{network(pci(0, 3), model='&#10;' + 'x' * 999)}{HERE}</devices>")
    for one in compared(told, [("0000:00:09.0/\x1b" + "y" * 200, 0), ("0000:00:1f.0/\x1b", 0)]):
        assert one.words.isprintable()
        assert len(one.words) < 300


@pytest.mark.parametrize("machine", ["microvm", "pseries-9.2", "s390-ccw-virtio-9.2"])
def test_unknown_machines_are_not_judged(machine: str) -> None:
    assert implicit(machine) is None
    assert kinds(HERE, "0000:00:09.0/rtl8139", machine=machine) == []


def test_xml_without_addresses_is_not_judged() -> None:
    assert kinds(network() + BALLOON, "0000:00:09.0/rtl8139") == []


def test_devices_without_a_place_may_be_anywhere() -> None:
    both = HERE + network(model="e1000")
    assert kinds(both, NET, "0000:00:09.0/e1000", "0000:00:02.0/pcie-root-port") == []
    assert kinds(both, NET, "0000:00:09.0/rtl8139") == [("no-device", "0000:00:09.0/rtl8139")]
    # Of an unknown model, it may be this one.
    assert kinds(HERE + network(model="new"), NET, "0000:00:09.0/rtl8139") == []


def test_libvirt_adds_what_the_xml_leaves_out() -> None:
    here, balloon, usb = network(pci(0, 3)), "0000:00:09.0/virtio-balloon", "0000:00:01.2/uhci"
    assert kinds(here + USB, NET, balloon) == []
    assert kinds(HERE, NET, balloon) == [("no-device", balloon)]
    # What hangs on it comes with it.
    assert kinds(here + BALLOON, NET, usb, "0000:00:01.2/1/usb-ptr") == []
    serial = "0000:00:09.0/virtio-console"
    assert kinds(HERE, NET, serial) == [("no-device", serial)]
    assert kinds(HERE + "<channel><target type='virtio'/></channel>", NET, serial) == []


def test_unknown_model_at_a_place_is_not_judged() -> None:
    host = f"<hostdev type='pci'>{pci(0, 4)}</hostdev>"
    assert kinds(HERE + host, NET, "0000:00:04.0/anything") == []
    assert kinds(HERE + host, NET) == []
