"""Where in a file the stream starts, and files that have to be unpacked first."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import open_bytes, tiny_image
from conftest import zstd_module
from fixedram_fmt import (
    FixedRamError,
    FormatError,
    Image,
    Source,
    SourceError,
    TruncatedError,
    UnsupportedError,
)
from fixedram_fmt.container import locate_stream, split_location
from fixedram_fmt.image import open_source
from fixedram_fmt.spool import compression_of, spool_pipe

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = tiny_image().file()
XML = b"<domain type='kvm'>\n  <name>a &amp; b</name>\n</domain>"


def libvirt(
    order: str = "<",
    *,
    magic: bytes = b"LibvirtQemudSave",
    version: int = 2,
    xml: bytes = XML,
    data_len: int | None = None,
    running: int = 1,
    kind: int = 0,
    cookie: int = 0,
) -> bytes:
    words = struct.pack(
        f"{order}5I", version, len(xml) if data_len is None else data_len, running, kind, cookie
    )
    return magic + words + bytes(56) + xml


def zstd(data: bytes) -> bytes:
    packed: bytes = zstd_module().compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}
EACH_PACKER = pytest.mark.parametrize("packer", PACKERS)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# -- bare and at an offset ------------------------------------------------------------------------


def test_bare_stream_starts_at_once() -> None:
    with open_bytes(STREAM) as image:
        assert (image.container.kind, image.container.stream_offset) == ("bare", 0)
        assert image.complete


@pytest.mark.parametrize("base", [1, 92, 511, 70001])
def test_stream_at_an_offset_that_is_told(base: int, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(tiny_image(base=base).file())
    for location, options in [(f"{path}@{base}", {}), (f"{path}@{base:#x}", {}),
                              (path, {"offset": base})]:  # fmt: skip
        with Image.open(location, **options) as image:
            assert (image.container.kind, image.container.stream_offset) == ("offset", base)
            assert image.complete


def test_offset_of_a_packed_file_counts_in_what_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.img.xz"
    path.write_bytes(lzma.compress(bytes(70001) + STREAM))
    with Image.open(f"{path}@70001") as image:
        assert (image.container.kind, image.container.stream_offset) == ("offset", 70001)
        assert image.container.compression == "xz"
        assert image.complete
    with pytest.raises(FormatError, match="outside the file"):
        Image.open(f"{path}@{70001 + len(STREAM)}")


def test_offset_of_a_stream_behind_something_packed_counts_in_the_file(tmp_path: Path) -> None:
    packed = lzma.compress(b"notes")
    path = tmp_path / "a.img"
    path.write_bytes(packed + STREAM)
    with Image.open(f"{path}@{len(packed)}") as image:
        assert image.container.compression is None
        assert image.complete


@pytest.mark.parametrize("offset", [len(STREAM), len(STREAM) + 1, 1 << 63, 1 << 64])
def test_offset_outside_the_file_is_refused(offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        open_bytes(STREAM, offset=offset)
    assert caught.value.offset == offset


def test_negative_offset_is_refused() -> None:
    with pytest.raises(FixedRamError):
        open_bytes(STREAM, offset=-1)


@pytest.mark.parametrize("base", [1, 4096, (1 << 20) - 7, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_search_finds_the_stream_further_in(base: int) -> None:
    data = tiny_image(base=base).file()
    with pytest.raises(FormatError, match="search"):
        open_bytes(data)
    with open_bytes(data, search=True) as image:
        assert image.container.stream_offset == base
        assert image.complete


def test_search_looks_behind_holes(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    base = (1 << 30) + 12345
    with path.open("wb") as file:
        file.truncate(base)
    with path.open("ab") as file:
        file.write(tiny_image(base=base).data)
    with Image.open(path, search=True) as image:
        assert image.container.stream_offset == base
        assert image.complete


def test_search_wants_the_version_too() -> None:
    data = b"..QEVM\0\0\0\x02..QEVM" + bytes(100)
    with pytest.raises(FormatError, match="no stream was found"):
        open_bytes(data, search=True)


@pytest.mark.parametrize("data", [b"", b"x", b"QEV", b"MZ" + bytes(100), bytes(200)])
def test_what_is_no_stream_says_so(data: bytes) -> None:
    with pytest.raises(FormatError, match="neither"):
        open_bytes(data)


# -- PATH@OFFSET ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("a.img", ("a.img", None)),
        ("a.img@0", ("a.img", 0)),
        ("a.img@4096", ("a.img", 4096)),
        ("a.img@0x10", ("a.img", 16)),
        ("a.img@64K", ("a.img", 65536)),
        ("me@home/a.img", ("me@home/a.img", None)),
        ("me@home/a.img@5", ("me@home/a.img", 5)),
        ("a@b@7", ("a@b", 7)),
        ("a.img@", ("a.img@", None)),
        ("@5", ("@5", None)),
        ("a.img@-5", ("a.img@-5", None)),
        ("a.img@x", ("a.img@x", None)),
        ("-", ("-", None)),
        ("", ("", None)),
    ],
)
def test_location_is_path_and_offset(location: str, expected: tuple[str, int | None]) -> None:
    assert split_location(location) == expected


@pytest.mark.parametrize("offset", ["5x", "0x", "1.5", "1e3", "4 K K", "\u00b2", "9" * 5000])
def test_offset_that_is_meant_and_is_none_is_refused(offset: str) -> None:
    with pytest.raises(SourceError):
        split_location(f"a.img@{offset}")


def test_file_that_is_called_so_wins(tmp_path: Path) -> None:
    path = tmp_path / "image@12"
    path.write_bytes(STREAM)
    assert split_location(str(path)) == (str(path), None)
    with Image.open(str(path)) as image:
        assert image.complete


# -- libvirt --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", [0, 6, 77])
def test_libvirt_header_of_either_byte_order(order: str, version: int, kind: int) -> None:
    head = libvirt(order, version=version, kind=kind, cookie=20, running=0)
    image = open_bytes(head + tiny_image(base=len(head)).file()[len(head) :])
    assert image.complete
    container = image.container
    assert (container.kind, container.stream_offset) == ("libvirt", len(head))
    assert container.libvirt is not None
    assert container.libvirt.describe() == {
        "version": version,
        "byte_order": "little" if order == "<" else "big",
        "format": {0: "raw", 6: "sparse", 77: "77"}[kind],
        "was_running": False,
        "partial": False,
        "data_len": len(XML),
        "cookie_offset": 20,
        "domain": "a & b",
    }


def test_save_that_never_finished_is_partial() -> None:
    head = libvirt(magic=b"LibvirtQemudPart", xml=b"")
    image = open_bytes(head + tiny_image(base=92).file()[92:])
    assert image.container.libvirt is not None
    assert image.container.libvirt.partial
    assert image.container.libvirt.domain is None
    assert image.container.stream_offset == 92


def test_padding_behind_the_xml_is_stepped_over() -> None:
    head = libvirt(xml=XML + bytes(4096 - len(XML)))
    image = open_bytes(head + tiny_image(base=len(head)).file()[len(head) :])
    assert image.complete
    assert image.container.libvirt is not None
    assert image.container.libvirt.domain == "a & b"


@pytest.mark.parametrize("length", [len(STREAM) + len(XML) + 1, 1 << 31, (1 << 32) - 1])
def test_data_len_past_the_end_is_refused(length: int) -> None:
    with pytest.raises(FormatError) as caught:
        open_bytes(libvirt(data_len=length) + STREAM)
    assert caught.value.path == "libvirt.data_len"
    assert str(length) in str(caught.value)


@pytest.mark.parametrize("version", [3, 5, 0x00030000, 0x03000000])
def test_unknown_libvirt_version_is_refused(version: int) -> None:
    with pytest.raises(FormatError) as caught:
        open_bytes(libvirt(version=version) + STREAM)
    assert caught.value.path == "libvirt.version"


@pytest.mark.parametrize("length", [16, 50, 91])
def test_libvirt_header_cut_off_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedError):
        open_bytes(libvirt()[:length])


def test_libvirt_header_without_a_stream_is_refused() -> None:
    for rest in (b"", b"QE", b"something else"):
        with pytest.raises(FormatError):
            open_bytes(libvirt() + rest)


# -- compressed -----------------------------------------------------------------------------------


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
        assert image.container.libvirt is not None
        assert image.container.libvirt.format == packer


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


@EACH_PACKER
@pytest.mark.parametrize("cut", [1, 5, 60])
def test_truncated_compressed_image_gives_what_there_was(packer: str, cut: int) -> None:
    noise = os.urandom(3 << 20)  # more than a block of bzip2
    packed = PACKERS[packer](STREAM + noise)[: -(1 << 18) - cut]
    with open_bytes(packed) as image:
        assert image.container.cut_short
        assert image.machine == "pc-i440fx-11.1"
        assert image.source.size < len(STREAM) + len(noise)


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


def test_lzop_is_refused_by_name() -> None:
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


# -- pipes ----------------------------------------------------------------------------------------


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
