"""Compressed images and pipes: unpacked with their holes, and told of where they break."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixedram_fmt import (
    FixedRamError,
    FormatError,
    Image,
    Source,
    SourceError,
    UnsupportedError,
)
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.container.opening import open_source
from fixedram_fmt.io.spool import compression_of, spool_pipe
from support.builders import open_bytes
from support.containers import PACKERS, STREAM, XML, libvirt

if TYPE_CHECKING:
    pass


EACH_PACKER = pytest.mark.parametrize("packer", PACKERS)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# -- compressed ------------------------------------------------------------------------------------


@EACH_PACKER
def test_compressed_image_is_read(packer: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(PACKERS[packer](STREAM))
    with Image.open(path) as image:
        assert image.container.compression == packer
        assert not image.container.cut_short
        assert image.complete
        assert image.source.size == len(STREAM)
        assert image.source.read_exact(0, len(STREAM)) == STREAM


@EACH_PACKER
def test_compressed_stream_in_a_libvirt_save_is_read(packer: str) -> None:
    kind = {"gzip": 1, "bzip2": 2, "xz": 3, "zstd": 5}[packer]
    with open_bytes(libvirt(kind=kind) + PACKERS[packer](STREAM)) as image:
        assert image.complete
        assert image.container.kind == "libvirt"
        assert image.container.compression == packer
        assert image.container.describe().libvirt.format == packer


@pytest.mark.slow
@EACH_PACKER
def test_holes_stay_holes_when_unpacked(packer: str, tmp_path: Path) -> None:
    data = bytes(8 << 20) + STREAM + bytes(8 << 20)
    path = tmp_path / "image"
    path.write_bytes(PACKERS[packer](data))
    with Image.open(path, search=True) as image:
        assert image.container.stream_offset == 8 << 20
        assert image.source.size == len(data)
        assert image.source.disk_size is not None
        assert image.source.disk_size < 1 << 20


@pytest.mark.slow
@EACH_PACKER
@pytest.mark.parametrize("cut", [1, 5, 60])
def test_truncated_compressed_image_gives_what_there_was(packer: str, cut: int) -> None:
    noise = os.urandom(3 << 20)  # more than a block of bzip2
    packed = PACKERS[packer](STREAM + noise)[: -(1 << 18) - cut]
    with open_bytes(packed) as image:
        assert image.container.cut_short
        assert image.machine == "pc-i440fx-11.1"
        assert image.source.size < len(STREAM) + len(noise)


@pytest.mark.slow
@EACH_PACKER
def test_damaged_compressed_image_gives_what_there_was_or_our_error(packer: str) -> None:
    packed = bytearray(PACKERS[packer](STREAM + os.urandom(1 << 20)))
    for at in (*range(20), 300, len(packed) // 2, len(packed) - 3):
        damaged = bytearray(packed)
        damaged[at] ^= 0x5A
        try:
            image = open_bytes(bytes(damaged))
        except FixedRamError:
            continue
        with image:
            assert image.source.size <= len(STREAM) + (2 << 20)


@EACH_PACKER
def test_compressed_data_in_several_pieces_is_read_to_the_end(packer: str) -> None:
    """Parallel compressors (pigz, pxz, pzstd) write several members one after the other."""
    pack = PACKERS[packer]
    with open_bytes(pack(STREAM[:1000]) + pack(STREAM[1000:2000]) + pack(STREAM[2000:])) as image:
        assert image.complete
        assert image.source.size == len(STREAM)


def test_lzop_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match="lzop") as caught:
        open_bytes(libvirt(kind=4) + b"\x89LZO\0\r\n\x1a\n" + bytes(100))
    assert "lzop -dc" in str(caught.value)
    assert caught.value.offset == 92 + len(XML)


def test_compressed_file_that_holds_no_stream_is_refused_and_leaves_no_descriptor() -> None:
    packed = gzip.compress(b"no stream at all")
    before = descriptors()
    for _ in range(5):
        with pytest.raises(FormatError):
            open_bytes(packed)
    assert descriptors() == before


def test_compressed_image_leaves_no_descriptor_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(gzip.compress(gzip.compress(STREAM)))
    before = descriptors()
    try:
        with Image.open(path):
            pass
    except FixedRamError:
        pass  # to refuse what is packed twice is as good
    assert descriptors() == before


@pytest.mark.slow
def test_packed_a_thousand_times_is_refused_without_a_crash() -> None:
    packed = STREAM
    for _ in range(1100):
        packed = gzip.compress(packed, 1)
    try:
        open_bytes(packed).close()
    except FixedRamError:
        return


def test_no_room_to_unpack_is_a_source_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SourceError, match="TMPDIR"):
        open_bytes(gzip.compress(STREAM))


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_compression_is_told_by_its_first_bytes(name: str) -> None:
    assert compression_of(PACKERS[name](b"x")[:16]) == name
    assert compression_of(STREAM[:16]) is None
    assert compression_of(b"") is None


# -- pipes -----------------------------------------------------------------------------------------


def test_pipe_is_spooled() -> None:
    with spool_pipe(io.BytesIO(STREAM), "pipe") as source:
        inner, container = locate_stream(source)
        assert inner is source
        assert container.kind == "bare"
        assert source.read_exact(0, source.size) == STREAM


class _Broken(io.RawIOBase):
    def read(self, size: int = -1) -> Any:
        raise OSError(5, "Input/output error")


def test_pipe_that_breaks_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="Input/output error"):
        spool_pipe(_Broken(), "pipe")  # type: ignore[arg-type]


def test_standard_input_may_be_a_file_or_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(STREAM)
    with path.open("rb") as file, open_source("-", stdin=file) as source:
        assert source.read_exact(0, 8) == STREAM[:8]
    read_end, write_end = os.pipe()
    os.write(write_end, STREAM)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe, open_source("-", stdin=pipe) as source:
        assert source.read_exact(0, len(STREAM)) == STREAM
    with open_source("-", stdin=io.BytesIO(STREAM)) as source:
        assert source.size == len(STREAM)


def test_failed_open_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(b"junk" * 100)
    before = descriptors()
    for _ in range(5):
        with pytest.raises(FormatError):
            Image.open(path)
        with pytest.raises(FormatError):
            Image.open(f"{path}@4")
    assert descriptors() == before


def test_buffer_is_the_source_itself() -> None:
    source = Source.from_buffer(STREAM)
    assert locate_stream(source)[0] is source
