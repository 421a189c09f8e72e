"""A machine full of devices, saved with and without its description: the same sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixedram_fmt import Image
from fixedram_fmt.vmstate.description import Description
from fixedram_fmt.vmstate.machine import machine_state
from qemu_vm import QemuVM, require_qemu

pytestmark = pytest.mark.qemu

_PCI = ("virtio-net-pci", "virtio-rng-pci", "virtio-serial-pci", "virtio-balloon-pci", "e1000")
_MORE = ("rtl8139", "VGA", "piix3-usb-uhci", "nec-usb-xhci", "intel-hda", "lsi53c895a")
_LAST = ("virtio-scsi-pci", "megasas", "i6300esb", "pvpanic-pci")
MACHINES = {
    "pc": tuple(word for name in (*_PCI, *_MORE, *_LAST) for word in ("-device", name)),
    "q35": tuple(word for name in (*_PCI, "virtio-gpu-pci", "igb") for word in ("-device", name)),
}


def save(machine: str, path: Path, *more: str) -> Path:
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(("-accel", "tcg", "-smp", "4", "-m", "64", "-S", "-machine", machine, *more))
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(path) == "completed"
    return path


@pytest.mark.parametrize("machine", MACHINES)
def test_suppressing_the_description_loses_no_section(machine: str, tmp_path: Path) -> None:
    devices = MACHINES[machine]
    told = save(machine, tmp_path / "told", *devices)
    bare = save(f"{machine},suppress-vmdesc=on", tmp_path / "bare", *devices)
    with Image.open(told) as one, Image.open(bare) as other:
        assert other.vmdesc is None
        assert other.complete
        sizes = [
            (section.name, section.instance_id, section.body_length) for section in one.sections
        ]
        assert sizes == [
            (section.name, section.instance_id, section.body_length) for section in other.sections
        ]
        assert not [note for note in other.notes if note.code.startswith("device-end")]
        state = machine_state(other, donor=Description.of_image(one))
        assert not state.notes
        assert all(device.structure is not None for device in state.devices)
