"""Images that a real QEMU saves now are read right: memory as its monitor sees it, blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import make
from conftest import run_cli
from fixedram_fmt import Image
from qemu_vm import QemuVM, require_qemu
from support.memory import block_memory, main_block

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

#: Sample and where its machine's RAM begins in guest-physical memory.
SAVED = {"pc-live": 0, "pc-once": 0, "microvm-uuid": 0, "q35-dimm": 0, "aarch64-virt": 1 << 30}


@pytest.mark.parametrize("name", SAVED)
def test_what_qemu_saves_now_is_read_as_its_monitor_sees_it(name: str, tmp_path: Path) -> None:
    sample = make.SAMPLES[name]
    make.write_guests(tmp_path)
    image = tmp_path / "image"
    with QemuVM(require_qemu(sample.arch), cwd=tmp_path) as vm:
        vm.start(sample.argv)
        make.save(vm, sample, image)
        blocks = vm.info_ramblock()
        with Image.open(image) as opened:
            assert opened.complete
            assert {block.name: block.used_length for block in opened.blocks} == blocks
            main = main_block(opened, " ".join(sample.argv))
            memory = block_memory(opened, main)
        start = SAVED[name] + (1 << 20)
        seen = vm.pmemsave(start, SAVED[name] + len(memory))
    assert memory[1 << 20 :] == seen
    assert run_cli("dump", image, "--json").json["complete"] is True
