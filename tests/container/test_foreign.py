"""Files of other programs are named, with what reads them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt import FormatError, Image, Source, UnsupportedError
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation import validate
from support.builders import ordinary_image
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


# -- states that other managers of QEMU keep -------------------------------------------------------


@pytest.mark.parametrize("rest", [bytes(1 << 16), b"left of another state" * 999, b"QEVM" * 999])
def test_a_state_volume_that_is_larger_than_the_state_loads(rest: bytes, tmp_path: Path) -> None:
    """Proxmox VE's savevm-async writes the stream from the first byte of a volume on."""
    stream = ordinary_image().file()
    path, plain = tmp_path / "vm-100-state-x.raw", tmp_path / "plain"
    path.write_bytes(stream + rest)
    plain.write_bytes(stream)
    with Image.open(path) as image, Image.open(plain) as alone:
        assert image.complete
        assert image.container.kind == "bare"
        judged, expected = (
            validate(one).verdict(LOADERS["qemu-10.0"], multifd=False) for one in (image, alone)
        )
    assert judged.outcome is expected.outcome


def test_a_state_of_lxd_is_a_compressed_stream(tmp_path: Path) -> None:
    """lxd/instance/drivers/driver_qemu.go saveState(): gzip of what `migrate fd:` writes."""
    path = tmp_path / "state"
    stream = ordinary_image().file()
    path.write_bytes(gzip.compress(stream, 1))
    with Image.open(path) as image:
        assert image.complete
        assert (image.container.kind, image.container.compression) == ("bare", "gzip")
    path.write_bytes(gzip.compress(stream, 1)[:-40])
    with Image.open(path) as image:
        assert not image.complete
        assert image.container.cut_short
