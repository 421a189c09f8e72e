"""Command lines of real images: what QEMU was started with is on them, as far as state tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conftest import SAMPLES, unpack
from fixedram_fmt import Image
from fixedram_fmt.commandline import CommandLine, command_line
from support.machines import values_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

#: By sample: options, and parts of their values that there have to be.
EXPECTED = {
    "pc-once.img": {"-machine": ["pc-i440fx-10.0"], "-m": ["24M"]},
    "microvm-uuid.img": {"-machine": ["microvm,", "acpi=on", "pcie=off"], "-uuid": ["-"]},
    "q35-dimm.img": {
        "-machine": ["memory-backend=ram0"],
        "-m": ["24M,slots=1,maxmem="],
        "-smp": ["2"],
        "-object": ["id=ram0,size=24M", "id=mem1,size=8M"],
        "-device": ["pc-dimm,", "virtio-rng-pci", "virtio-balloon-pci"],
    },
    "q35-devices.img": {
        "-device": [
            "qemu-xhci,", "usb-tablet,", "usb-kbd,", "virtio-blk-pci,", "virtio-scsi-pci,",
            "scsi-hd,", "ide-hd,", "virtio-serial-pci,", "virtio-net-pci,", "e1000,", "intel-hda,",
            "hda-duplex,",
        ],
        "-blockdev": ["node-name=disk0", "node-name=disk1", "node-name=disk2"],
    },
    "q35-devices-no-vmdesc.img": {
        "-machine": ["suppress-vmdesc=on"],
        "-device": ["qemu-xhci,", "virtio-blk-pci,", "num_queues=1", "hda-duplex,"],
    },
    "pc-no-vmdesc.img": {"-machine": ["suppress-vmdesc=on"]},
}  # fmt: skip


def derived(name: str, folder: Path) -> CommandLine:
    with Image.open(unpack(SAMPLES / f"{name}.xz", folder / name)) as image:
        return command_line(image)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_parts_of_a_sample(name: str, unpacked_dir: Path) -> None:
    line = derived(name, unpacked_dir)
    for option, parts in EXPECTED[name].items():
        text = " ".join(values_of(line.argv, option))
        assert [one for one in parts if one not in text] == [], (option, text)
    assert not [one for one in line.uncertain if one.startswith("no argument here brings")]


def test_an_image_inside_a_file_is_loaded_at_its_offset(unpacked_dir: Path) -> None:
    path = unpack(SAMPLES / "pc-offset.img.xz", unpacked_dir / "pc-offset.img")
    with Image.open(path, search=True) as image:
        line = command_line(image)
        offset = image.container.stream_offset
    assert offset
    assert line.argv[-1] == f"file:{path},offset={offset}"


def test_an_ordinary_stream_is_loaded_without_mapped_ram(unpacked_dir: Path) -> None:
    line = derived("legacy-stream.img", unpacked_dir)
    assert not [one for one in line.argv if "mapped-ram" in one]


def test_what_no_argument_sets_is_told(unpacked_dir: Path) -> None:
    line = derived("pc-ignore-shared-none.img", unpacked_dir)
    assert [one for one in line.uncertain if "x-ignore-shared" in one]
