"""A real QEMU and saves that were cut off among their devices: what it refuses, what it loads."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.loaders import Outcome
from qemu_vm import QemuVM, require_qemu
from support.cut_saves import cut_copy, devices_of, outcomes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

ARGS = (
    *("-accel", "tcg", "-m", "16", "-S", "-machine", "q35,suppress-vmdesc=on"),
    *("-device", "qemu-xhci", "-device", "virtio-rng-pci"),
)


def loads(path: Path) -> bool:
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start((*ARGS, "-incoming", "defer"))
        vm.set_capabilities("mapped-ram")
        return vm.incoming_from_file(path) == "completed"


def test_qemu_refuses_a_cut_in_a_device_and_takes_zeros_between_two_for_the_end(
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole"
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(ARGS)
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(whole) == "completed"
    devices, rng = devices_of(str(whole)), random.Random(1)
    between = devices.sections[len(devices.sections) // 2].offset
    with cut_copy(devices, tmp_path / "cut") as cut:
        inside = [(rng.randrange(devices.start + 40, devices.eof), b"") for _ in range(4)]
        inside += [(stop, bytes(4096)) for stop, _ in inside[:2]]
        for stop, tail in inside:
            cut(stop, tail)
            with Image.open(tmp_path / "cut") as image:
                assert not image.complete
                assert outcomes(image) == {Outcome.REFUSES}
            assert not loads(tmp_path / "cut"), f"{stop} of {devices.eof}"
        cut(between, bytes(4096))
        with Image.open(tmp_path / "cut") as image:
            assert not image.complete
            assert outcomes(image) == {Outcome.WRONG_MEMORY}
        assert loads(tmp_path / "cut")
        cut(devices.eof, b"\0" + bytes(4096))
        with Image.open(tmp_path / "cut") as image:
            assert image.complete
            assert outcomes(image) == {Outcome.LOADS}
        assert loads(tmp_path / "cut")
