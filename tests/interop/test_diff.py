"""Two saves of a guest that goes on writing: what differs is what QEMU's monitor says differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import make
from fixedram_fmt import Image
from fixedram_fmt.comparison import diff
from qemu_vm import QemuVM, require_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

PAGE = 4096
#: From here on the guest sees pc.ram as it is: below lie the ROMs.
START, STOP = 1 << 20, 32 << 20


def pages_that_differ(a: bytes, b: bytes) -> set[int]:
    return {
        (START + at) // PAGE
        for at in range(0, len(a), PAGE)
        if a[at : at + PAGE] != b[at : at + PAGE]
    }


def test_what_a_guest_wrote_between_two_saves_is_what_differs(tmp_path: Path) -> None:
    sample = make.SAMPLES["pc-live"]
    make.write_guests(tmp_path)
    images = [tmp_path / name for name in ("first", "second")]
    with QemuVM(require_qemu(sample.arch), cwd=tmp_path) as vm:
        vm.start(sample.argv)
        make.save(vm, sample, images[0])
        before = vm.pmemsave(START, STOP)
        vm.cont()
        for _ in range(200):
            vm.hmp("info status")
        vm.stop()
        vm.migrate_to_file(images[1])
        after = vm.pmemsave(START, STOP)
    expected = pages_that_differ(before, after)
    assert expected
    with Image.open(images[0]) as first, Image.open(images[1]) as second:
        found = {block.name: block for block in diff(first, second).blocks}["pc.ram"]
    pages = {one.first_page + page for one in found.ranges for page in range(one.pages)}
    assert {page for page in pages if START // PAGE <= page < STOP // PAGE} == expected
