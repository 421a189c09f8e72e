"""What compressed data may unpack to: legitimate saves pass, bombs end early and say why."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import SourceError, UnsupportedError
from fixedram_fmt.io import unpacking
from fixedram_fmt.io.unpacking import UNPACK_LIMIT, UnpackBudget
from support.builders import open_bytes
from support.containers import PACKERS, STREAM, libvirt

EACH_PACKER = pytest.mark.parametrize("packer", PACKERS)


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ratios over floors that take no time."""
    monkeypatch.setattr(unpacking, "_BYTES", 4 << 20)
    monkeypatch.setattr(unpacking, "_DATA", 1 << 20)
    monkeypatch.setattr(unpacking, "_BYTES_RATIO", 16)
    monkeypatch.setattr(unpacking, "_DATA_RATIO", 4)


@pytest.mark.slow
@EACH_PACKER
def test_zeros_beyond_the_ceiling_are_refused(packer: str) -> None:
    with pytest.raises(UnsupportedError, match=r"more than .* of bytes") as caught:
        open_bytes(PACKERS[packer](STREAM + bytes(8 << 20)))
    assert caught.value.code == "unpack-limit"
    assert "--unpack-limit" in caught.value.hint


@EACH_PACKER
def test_repeated_data_beyond_the_ceiling_is_refused(packer: str) -> None:
    with pytest.raises(UnsupportedError, match="no zeros"):
        open_bytes(PACKERS[packer](STREAM + b"\xa5" * (3 << 20)))


@pytest.mark.slow
@EACH_PACKER
def test_what_does_not_shrink_is_no_bomb_however_long(packer: str) -> None:
    with open_bytes(PACKERS[packer](STREAM + os.urandom(3 << 19))) as image:
        assert not image.container.cut_short


@pytest.mark.slow
def test_layers_share_one_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """xz around a libvirt save around gzip: each layer alone would be within it."""
    inner = libvirt(kind=1) + gzip.compress(STREAM + bytes(3 << 20), 0)
    with pytest.raises(UnsupportedError) as caught:
        open_bytes(lzma.compress(inner))
    assert caught.value.code == "unpack-limit"
    monkeypatch.setenv(UNPACK_LIMIT, "16M")
    with open_bytes(lzma.compress(inner)) as image:
        assert image.complete


def test_nothing_is_left_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(UnsupportedError):
        open_bytes(bz2.compress(STREAM + b"\xa5" * (8 << 20)))
    assert not list(tmp_path.iterdir())


def test_limit_is_raised_and_lowered_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(STREAM + bytes(8 << 20))
    monkeypatch.setenv(UNPACK_LIMIT, "9M")
    with open_bytes(packed) as image:
        assert image.complete
    monkeypatch.setenv(UNPACK_LIMIT, "1")
    with pytest.raises(UnsupportedError):
        open_bytes(packed)
    monkeypatch.setenv(UNPACK_LIMIT, "plenty")
    with pytest.raises(SourceError, match=UNPACK_LIMIT):
        open_bytes(packed)


@pytest.mark.slow
def test_option_limits_every_command(tmp_path: Path) -> None:
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(STREAM))
    assert run_cli("info", str(path)).code == 0
    for words in (["--unpack-limit", "10"], ["--unpack-limit=10"]):
        done = run_cli(*words, "info", str(path))
        assert (done.code, done.out) == (2, "")
        assert "unpack to more than 10 B" in done.err
    assert run_cli("--unpack-limit", "1T", "info", str(path)).code == 0
    assert run_cli("--unpack-limit", "much", "info", str(path)).code == 2
    assert run_cli("--unpack-limit").code == 2


def test_real_ceilings_let_an_idle_guest_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse TiB of zeros in gzip, and the most that xz makes of a 64 GiB guest."""
    monkeypatch.undo()
    for packed, size in ((1 << 30, 1 << 40), (16 << 20, 64 << 30)):
        budget = UnpackBudget.of(packed)
        budget.take(size)
        budget.take_data(min(size, 20 * packed))
    with pytest.raises(UnsupportedError):
        UnpackBudget.of(10 << 10).take(1 << 32)
    with pytest.raises(UnsupportedError):
        UnpackBudget.of(10 << 10).take_data(1 << 31)


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz"])
def test_thousands_of_short_members_are_read_in_linear_time(
    packer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after a member's end is not copied once a member."""
    monkeypatch.setenv(UNPACK_LIMIT, "64G")
    empty = PACKERS[packer](b"")
    packed = PACKERS[packer](STREAM) + empty * ((1 << 17) // len(empty))
    begun = time.process_time()
    with open_bytes(packed) as image:
        assert image.complete
        assert not image.container.cut_short
    assert time.process_time() - begun < 1


@EACH_PACKER
def test_members_without_content_count_too(packer: str) -> None:
    with pytest.raises(UnsupportedError, match="unpack to more"):
        open_bytes(PACKERS[packer](STREAM) + PACKERS[packer](b"") * 200)


@pytest.mark.parametrize("junk", [b"\x1f", b"\x1f\x8b", b"tail", bytes(100)])
def test_what_follows_the_last_member_is_no_part_of_it(junk: bytes) -> None:
    if junk.startswith(b"\x1f\x8b"):
        with open_bytes(gzip.compress(STREAM) + junk) as image:
            assert image.container.cut_short
        return
    with open_bytes(gzip.compress(STREAM) + junk) as image:
        assert image.complete
        assert not image.container.cut_short
