"""Where in a file the stream starts: bare, at an offset, after libvirt's header."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import (
    FixedRamError,
    FormatError,
    Image,
    SourceError,
    TruncatedError,
)
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.results import builtins
from support.builders import open_bytes, tiny_image
from support.containers import STREAM, XML, libvirt

if TYPE_CHECKING:
    pass


# -- bare and at an offset -------------------------------------------------------------------------


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
    with pytest.raises(FormatError, match=r"neither|empty"):
        open_bytes(data)


# -- PATH@OFFSET -----------------------------------------------------------------------------------


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
    assert split_location(location) == (*expected, None)


@pytest.mark.parametrize("offset", ["5x", "0x", "1.5", "1e3", "4 K K", "\u00b2", "9" * 5000])
def test_offset_that_is_meant_and_is_none_is_refused(offset: str) -> None:
    with pytest.raises(SourceError):
        split_location(f"a.img@{offset}")


def test_file_that_is_called_so_wins(tmp_path: Path) -> None:
    path = tmp_path / "image@12"
    path.write_bytes(STREAM)
    assert split_location(str(path)) == (str(path), None, None)
    with Image.open(str(path)) as image:
        assert image.complete


# -- libvirt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", [0, 6, 77])
def test_libvirt_header_of_either_byte_order(order: str, version: int, kind: int) -> None:
    head = libvirt(order, version=version, kind=kind, cookie=20, running=0)
    image = open_bytes(head + tiny_image(base=len(head)).file()[len(head) :])
    assert image.complete
    container = image.container
    assert (container.kind, container.stream_offset) == ("libvirt", len(head))
    assert builtins(container.describe())["libvirt"] == {
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
    save = image.container.find(LibvirtSave)
    assert save is not None
    assert save.partial
    assert save.domain is None
    assert image.container.stream_offset == 92


def test_padding_behind_the_xml_is_stepped_over() -> None:
    head = libvirt(xml=XML + bytes(4096 - len(XML)))
    image = open_bytes(head + tiny_image(base=len(head)).file()[len(head) :])
    assert image.complete
    save = image.container.find(LibvirtSave)
    assert save is not None
    assert save.domain == "a & b"


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
