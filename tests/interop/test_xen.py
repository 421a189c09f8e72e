"""What a real QEMU saves for Xen, and what it says of a save of Xen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixedram_fmt import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation import validate
from qemu_vm import QemuVM, require_qemu
from support.xen import XenSaveBuilder

pytestmark = pytest.mark.qemu

_GUEST = ("-accel", "tcg", "-machine", "pc", "-m", "16M", "-S")


def test_the_devices_of_a_save_of_xen_are_those_that_qemu_saved(tmp_path: Path) -> None:
    alone, save = tmp_path / "devices", tmp_path / "guest.xl"
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(_GUEST)
        vm.execute("xen-save-devices-state", {"filename": str(alone)})
    save.write_bytes(XenSaveBuilder(alone.read_bytes()).build())
    with Image.open(alone) as bare, Image.open(save) as image:
        assert image.complete
        assert not image.blocks
        names = [(one.name, one.instance_id) for one in image.sections]
        assert names == [(one.name, one.instance_id) for one in bare.sections]
        assert ("timer", 0) in names
        verdict = validate(image).verdict(LOADERS["qemu-10.0"], multifd=False)
    assert verdict.decided_by is not None
    assert verdict.decided_by.rule.id == "C24"
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start((*_GUEST, "-incoming", "defer"))
        assert vm.incoming_from_file(save) == "failed"
        assert verdict.message in f"{vm.stderr}{vm.query_migrate()}"
    assert verdict.message == "Not a migration stream"
