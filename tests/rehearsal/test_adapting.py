"""What a rehearsal changes by what QEMU said."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import SAMPLES, unpack
from fixedram_fmt.image import Image
from fixedram_fmt.rehearsal.adapting import adapt
from fixedram_fmt.rehearsal.vm import Vm


@pytest.fixture
def image(unpacked_dir: Path) -> Iterator[Image]:
    """pc.ram of 24 MiB, pc.bios of 64 KiB."""
    with Image.open(unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "pc-once")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("words", "message", "instead"),
    [
        ("-machine q35,usb=on", "Machine type received is 'pc-i440fx-10.0' and local is 'pc-q35-9'",
         "-machine pc-i440fx-10.0,usb=on"),
        ("-m 16", "Size mismatch: pc.ram: 0x1800000 != 0x1000000: Invalid argument",
         "-m 25165824B"),
        ("-m 16,slots=2,maxmem=1G", "page outside of ramblock pc.ram range",
         "-m 25165824B,slots=2,maxmem=1G"),
        ("", "Unknown savevm section or instance 'cpu' 3. Make sure that your current VM setup"
         " matches your saved VM setup", "-smp 4"),
        ("-smp 2,maxcpus=8", "Unknown savevm section or instance 'apic' 3", "-smp 4,maxcpus=8"),
        ("-device e1000,romfile=,foo=1,id=n", "-device e1000,foo=1: Property 'e1000.foo' not found",
         "-device e1000,romfile=,id=n"),
        ("-machine pc,foo=on", "Property 'pc-i440fx-10.0-machine.foo' not found", "-machine pc"),
        ("-device nothing -m 1", "'nothing' is not a valid device model name", "-m 1"),
        ("", "Missing section footer for 0000:00:01.3/piix4_pm",
         "-global PIIX4_PM.x-not-migrate-acpi-index=on"),
        ("-global PIIX4_PM.x-not-migrate-acpi-index=on",
         "Missing section footer for 0000:00:01.3/piix4_pm", ""),
        ("-cpu host,+x", "CPU model 'host' requires KVM or HVF", "-cpu max,+x"),
    ],
)  # fmt: skip
def test_a_message_changes_the_arguments(
    words: str, message: str, instead: str, image: Image, tmp_path: Path
) -> None:
    vm = Vm.of(words.split(), "tcg", tmp_path)
    made = adapt(vm, ["warning: nothing", message], image)
    assert made is not None
    assert made.message == message
    assert shlex.join(vm.words) == instead


#: Of q35-dimm: what the image tells of two devices, and of a DIMM.
_RNG = "virtio-rng-pci,id=pci0,bus=pcie.0,addr=1,vectors=2,disable-legacy=off"
_BALLOON = "vectors=2,disable-legacy=off"
_DIMM = "-object memory-backend-ram,id=mem1,size=8M -device pc-dimm,id=dimm0,memdev=mem1"


@pytest.mark.parametrize(
    ("words", "message", "instead"),
    [
        ("", "Unknown savevm section or instance '0000:00:01.0/virtio-rng' 0", f"-device {_RNG}"),
        ("-device virtio-balloon,id=b,vectors=0",
         "error while loading state for instance 0x0 of device '0000:00:02.0/virtio-balloon'",
         f"-device virtio-balloon-pci,id=b,{_BALLOON}"),
        ("-device e1000,addr=1 -device virtio-balloon-pci,addr=2,vectors=4",
         "Missing section footer for 0000:00:02.0/virtio-balloon",
         f"-device e1000,addr=1 -device virtio-balloon-pci,addr=2,{_BALLOON}"),
        ("-m 24M", 'Unknown ramblock "mem1", cannot accept migration',
         f"-m 24M,slots=1,maxmem=2G {_DIMM}"),
    ],
)  # fmt: skip
def test_what_the_image_tells_is_put_in(
    words: str, message: str, instead: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    vm = Vm.of(words.split(), "tcg", tmp_path)
    with Image.open(unpack(SAMPLES / "q35-dimm.img.xz", unpacked_dir / "q35-dimm")) as image:
        made = adapt(vm, [message], image)
        assert made is not None
        assert shlex.join(vm.words) == instead
        assert adapt(vm, [message], image) is None


@pytest.mark.parametrize(
    "message",
    [
        "load of migration failed: Invalid argument",
        "Missing section footer for ram",
        "Size mismatch: absent: 0x1 != 0x2",
        'Unknown ramblock "absent", cannot accept migration',
        "Unknown savevm section or instance 'cpu' 99999999999999999999",
        "Unknown savevm section or instance 'nobody-knows' 0",
    ],
)
def test_where_nothing_is_known_nothing_is_changed(
    message: str, image: Image, tmp_path: Path
) -> None:
    vm = Vm.of(["-m", "1"], "tcg", tmp_path)
    assert adapt(vm, [message], image) is None
    assert vm.words == ["-m", "1"]


def test_firmware_of_another_length_gets_a_file_of_its_length(image: Image, tmp_path: Path) -> None:
    vm = Vm.of([], "tcg", tmp_path)
    made = adapt(vm, ["Size mismatch: pc.bios: 0x10000 != 0x40000: Invalid argument"], image)
    assert made is not None
    assert Path(vm.words[1]).stat().st_size == 65536


def test_capabilities_and_accelerators_change_too(image: Image, tmp_path: Path) -> None:
    vm = Vm.of([], "tcg", tmp_path)
    off = "Capability x-ignore-shared is off, but received capability is on"
    assert adapt(vm, [off], image) is not None
    assert vm.capabilities == ["x-ignore-shared"]
    assert adapt(vm, [off], image) is None
    assert adapt(vm, ["Unknown savevm section or instance 'kvmclock' 0"], image) is not None
    assert vm.accel == "kvm"
