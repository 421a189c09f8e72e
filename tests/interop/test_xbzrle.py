"""XBZRLE deltas: what tests/support/deltas.py says of them, a real QEMU does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qemu_vm import QemuVM, require_qemu
from support.deltas import ADDRESS, BASE, CASES, naive, stream_with
from support.synthetic import PAGE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

_GUEST = ("-S", "-accel", "tcg", "-machine", "pc", "-m", "16M", "-incoming", "defer")


@pytest.mark.parametrize("name", CASES)
def test_qemu_does_what_the_table_says(name: str, tmp_path: Path) -> None:
    encoding, delta, message = CASES[name]
    image = tmp_path / "image"
    image.write_bytes(stream_with(encoding, delta))
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(_GUEST)
        assert vm.incoming_from_file(image) == ("failed" if message else "completed"), vm.stderr
        assert message in vm.stderr
        if not message:
            assert vm.pmemsave(ADDRESS, ADDRESS + PAGE) == naive(BASE, delta)
