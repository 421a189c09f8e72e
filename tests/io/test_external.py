"""Saves that a program unpacks: zstd without Python's module, lzop."""

from __future__ import annotations

import lzma
import shlex
import shutil
import subprocess
from random import Random
from typing import TYPE_CHECKING

import pytest

from conftest import SHARED, absent
from fixedram_fmt import Image, UnsupportedError
from fixedram_fmt.io import spool
from fixedram_fmt.io.unpacking import UNPACK_LIMIT
from support.builders import open_bytes
from support.containers import STREAM, libvirt

if TYPE_CHECKING:
    from pathlib import Path

EACH = pytest.mark.parametrize("name", ["zstd", "lzop"])
KINDS = {"lzop": 4, "zstd": 5}


@pytest.fixture(autouse=True)
def without_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "zstd_module", lambda: None)


def packed(name: str, data: bytes) -> bytes:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([program, "-c"], input=data, capture_output=True, check=True).stdout


@EACH
def test_program_unpacks_files_and_saves(name: str, tmp_path: Path) -> None:
    data = packed(name, STREAM)
    path = tmp_path / "it's; a name"
    for raw in (data, libvirt(kind=KINDS[name]) + data):
        path.write_bytes(raw)
        for image in (Image.open(path), open_bytes(raw)):
            with image:
                assert image.complete
                assert image.container.compression == name
                assert image.source.read_exact(0, image.source.size) == STREAM


@EACH
def test_data_that_is_cut_says_so(name: str) -> None:
    with open_bytes(
        libvirt(kind=KINDS[name]) + packed(name, STREAM + Random(1).randbytes(1 << 20))[:-12]
    ) as image:
        assert name in image.container.cut_short


@EACH
def test_ceiling_holds_for_programs_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = packed(name, bytes(8 << 20))
    monkeypatch.setenv(UNPACK_LIMIT, "4M")
    with pytest.raises(UnsupportedError, match="unpack to more than"):
        open_bytes(raw)


@EACH
def test_what_just_fits_under_the_ceiling_is_counted_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(UNPACK_LIMIT, str(len(STREAM)))
    with open_bytes(packed(name, STREAM)) as image:
        assert image.source.size == len(STREAM)


@EACH
def test_hint_is_a_command_that_works_on_that_very_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a save"
    path.write_bytes(libvirt(kind=KINDS[name]) + packed(name, STREAM))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UnsupportedError) as caught:
        Image.open(path)
    command = caught.value.hint.partition("where it is: ")[2].removesuffix("IMAGE")
    out = tmp_path / "out"
    subprocess.run(["sh", "-c", command + shlex.quote(str(out))], check=True)
    assert out.read_bytes() == STREAM


def test_real_zstd_save_is_read(tmp_path: Path) -> None:
    source = SHARED.parent / "cases" / "libvirt-zstd.save.xz"
    if not source.exists():
        absent("the folder of shared cases")
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    path = tmp_path / "guest.save"
    path.write_bytes(lzma.decompress(source.read_bytes()))
    with Image.open(path) as image:
        assert image.complete
        assert image.machine
