"""Blocks of another length than the receiver's: a QEMU does what support/block_lengths.py says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qemu_vm import QemuVM, require_qemu
from support.block_lengths import CASES, RECEIVER, stream_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

_GUEST = ("-S", "-accel", "tcg", "-machine", "pc", "-m", "16M", "-incoming", "defer")


@pytest.mark.parametrize("name", CASES)
def test_qemu_does_what_the_table_says(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    image = tmp_path / "image"
    image.write_bytes(stream_of(case))
    for multifd in (False, True) if case.density is not None else (False,):
        with QemuVM(require_qemu("x86_64")) as vm:
            vm.start(_GUEST)
            assert vm.info_ramblock() == RECEIVER
            if case.density is not None:
                vm.set_capabilities("mapped-ram", *(["multifd"] if multifd else []))
            status = vm.incoming_from_file(image)
            assert status == ("failed" if case.message else "completed"), vm.stderr
            assert case.message in vm.stderr
