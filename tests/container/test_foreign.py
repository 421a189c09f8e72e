"""Files of other programs are named, with what reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt import FormatError, Image, Source, UnsupportedError
from fixedram_fmt.container.locate import locate_stream
from support.qcow2 import DiskBuilder

if TYPE_CHECKING:
    from pathlib import Path


def elf(data: int, kind: int) -> bytes:
    """The first bytes of an ELF header: 64-bit, its byte order, its type."""
    order = "big" if data == 2 else "little"
    return b"\x7fELF" + bytes([2, data, 1]) + bytes(9) + kind.to_bytes(2, order) + bytes(46)


FILES = [
    (elf(1, 4), "an ELF core", "crash"),
    (elf(2, 4), "an ELF core", "drgn"),
    (elf(1, 2), "no core", "the save itself"),
    (b"KDUMP   " + bytes(64), "kdump", "crash"),
    (b"makedumpfile\0\0\0\0" + bytes(64), "flattened", "makedumpfile -R"),
    (b"\xd2\xbe\xd2\xbe" + bytes(64), "VMware", "vmem"),
    (b"EMiL\1\0\0\0" + bytes(24), "LiME", "volatility3"),
    (b"PAGEDU64" + bytes(64), "Windows", "WinDbg"),
    (b"Xen saved domain, xl format\n \0 \r" + bytes(64), "Xen", "xl restore"),
]


@pytest.mark.parametrize(("raw", "what", "advice"), FILES, ids=[what for _, what, _ in FILES])
def test_a_file_of_another_program_is_named(raw: bytes, what: str, advice: str) -> None:
    with pytest.raises(FormatError) as caught:
        locate_stream(Source.from_buffer(raw))
    assert what in caught.value.message
    assert advice in caught.value.hint


def test_what_lies_in_the_clusters_of_a_qcow2_is_not_taken_for_its_state() -> None:
    raw = DiskBuilder(16, content=bytes(65536) + b"QEVM\0\0\0\3" + bytes(4096)).build()
    with pytest.raises(UnsupportedError, match="qcow2"):
        locate_stream(Source.from_buffer(raw), search=True)


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "guest.core"
    path.write_bytes(elf(1, 4))
    done = run_cli("info", path)
    assert done.code == 2
    assert "an ELF core" in done.note
    with pytest.raises(FormatError):
        Image.open(path)
