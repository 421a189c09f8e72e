"""Our ELF core beside the one that QEMU itself dumps of the same stopped guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cores import prstatuses
from fixedram_fmt import Image
from fixedram_fmt.export import elf_core
from qemu_vm import QemuVM, require_qemu

pytestmark = pytest.mark.qemu

#: QEMU gives an x86 CPU outside long mode a note of 32 bits; gdb reads ours in test_extract.
MACHINES = {
    "aarch64": ("virt", "-cpu", "max"),
    "riscv64": ("virt", "-bios", "none"),
    "s390x": ("s390-ccw-virtio",),
    "ppc64": ("pseries",),
}


@pytest.mark.parametrize("arch", MACHINES)
def test_registers_are_where_qemu_puts_them(arch: str, tmp_path: Path) -> None:
    with QemuVM(require_qemu(arch)) as vm:
        vm.start(("-accel", "tcg", "-m", "256", "-S", "-machine", *MACHINES[arch]))
        dump = {"paging": False, "protocol": f"file:{tmp_path / 'theirs'}"}
        vm.execute("dump-guest-memory", dump)
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
    theirs = prstatuses((tmp_path / "theirs").read_bytes())
    with Image.open(tmp_path / "image") as image:
        core = elf_core(image)
        ours = prstatuses(core.read(0, 1 << 16))
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        # What follows the registers is padding, of which some have more.
        length = min(len(mine), len(other)) - 8
        assert mine[32:length] == other[32:length]
