"""A new container is a class and a row in WRAPPERS; containers nest, hostile ones too."""

from __future__ import annotations

import gzip
import lzma
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from conftest import run_cli
from fixedram_fmt import FixedRamError, FormatError, Image, UnsupportedError
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.container.registry import WRAPPERS
from fixedram_fmt.container.wrapper import Part, Place, Recognized
from fixedram_fmt.io.translated import Run, TranslatedSource
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.tiling import container_leaves, leaves
from fixedram_fmt.validation import validate
from support.builders import open_bytes, tiny_image
from support.containers import STREAM, XML, libvirt
from support.xen import XenSaveBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.io.unpacking import UnpackBudget

MAGIC = b"TOYBOX\0\0"
SWAPPED = b"SWAPPED\0"
HALF = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy(Recognized):
    """A magic, and then whatever it holds; it knows the byte order of the host."""

    kind: ClassVar[str] = "toy"

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return head.startswith(MAGIC)

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Toy:
        inner = Place(place.source, place.offset + len(MAGIC))
        return cls(outer=place, inner=inner, byte_order="big")

    def parts(self) -> Iterator[Part]:
        yield Part("prefix", "toy/magic", self.outer.offset, len(MAGIC), note="a toy")

    def describe(self) -> dict[str, object]:
        return {"compression": "toy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped(Recognized):
    """What it holds lies in pieces of the file, in another order: as in a disk image."""

    kind: ClassVar[str] = "swapped"

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return head.startswith(SWAPPED)

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Swapped:
        start = place.offset + len(SWAPPED)
        size = place.source.size - start
        runs = [Run(0, size - HALF, start + HALF), Run(size - HALF, size, start)]
        inside = TranslatedSource(place.source, runs, name="swapped", size=size)
        return cls(outer=place, inner=Place(inside, 0))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixedram_fmt.container.registry.WRAPPERS", [*WRAPPERS, Toy, Swapped])


def after(head: bytes) -> bytes:
    """head and an image whose offsets are those of the whole."""
    return head + tiny_image(base=len(head)).data


def swapped(data: bytes) -> bytes:
    return SWAPPED + data[-HALF:] + data[:-HALF]


def assert_tiled(image: Image) -> None:
    end = 0
    for leaf in chain(container_leaves(image), leaves(image)):
        assert leaf.offset == end
        end = leaf.stop
    assert end == image.source.size


# -- one module, one registration ------------------------------------------------------------------


def test_a_new_container_is_opened_tiled_and_judged() -> None:
    with open_bytes(after(MAGIC)) as image, open_bytes(STREAM) as plain:
        assert image.complete
        assert image.container.byte_order == "big"
        assert_tiled(image)
        judged, expected = (
            validate(one).verdict(LOADERS["qemu-11.1"], multifd=False) for one in (image, plain)
        )
        assert judged.outcome is expected.outcome


@pytest.mark.slow
def test_commands_show_a_new_container(tmp_path: Path) -> None:
    path = tmp_path / "guest.toy"
    path.write_bytes(after(MAGIC))
    shown = run_cli("info", path, "--json").json["container"]
    assert shown == {"kind": "toy", "stream_offset": len(MAGIC), "compression": "toy"}
    assert "toy, stream at 0x8" in run_cli("info", path).out
    records = run_cli("dump", path, "--json").json["records"]
    first = {"offset": 0, "length": 8, "kind": "prefix", "path": "toy/magic"}
    assert records[0] == {**first, "fields": {"note": "a toy"}}
    assert records[1]["kind"] == "file_header"
    judged = run_cli("validate", path, "--json").json["images"][0]
    plain = tmp_path / "guest.img"
    plain.write_bytes(STREAM)
    assert judged["verdict"] == run_cli("validate", plain, "--json").json["images"][0]["verdict"]


@pytest.mark.slow
def test_a_copy_keeps_it_and_takes_the_stream_out_when_asked(tmp_path: Path) -> None:
    path, again, bare = (tmp_path / name for name in ("toy", "again", "bare"))
    path.write_bytes(after(MAGIC))
    assert run_cli("copy", path, "-o", again).code == 0
    assert again.read_bytes() == path.read_bytes()
    assert run_cli("copy", path, "-o", bare, "--container", "none").code == 0
    with Image.open(bare) as image:
        assert (image.container.kind, image.complete) == ("bare", True)
    told = {run_cli("digest", one).out.split()[0] for one in (path, again, bare)}
    assert len(told) == 1


def test_bytes_that_are_not_in_order_in_the_file(tmp_path: Path) -> None:
    path, bare = tmp_path / "guest.swapped", tmp_path / "bare"
    path.write_bytes(swapped(STREAM))
    with Image.open(path) as image:
        assert (image.container.kind, image.complete) == ("swapped", True)
        assert image.source.size == len(STREAM)
        assert image.file_size == len(STREAM) + len(SWAPPED)
        assert_tiled(image)
    assert run_cli("copy", path, "-o", bare).code == 0
    assert bare.read_bytes() == STREAM


# -- one in another --------------------------------------------------------------------------------

#: What is in what, its kind, and the classes around the stream.
NESTED = [
    (lzma.compress(after(MAGIC)), "toy", "Compressed Toy"),
    (MAGIC + gzip.compress(STREAM), "toy", "Toy Compressed"),
    (after(MAGIC + libvirt()), "libvirt", "Toy LibvirtSave"),
    (after(MAGIC * 3), "toy", "Toy Toy Toy"),
    (swapped(after(libvirt())), "libvirt", "Swapped LibvirtSave"),
    (swapped(gzip.compress(STREAM + bytes(range(256)) * 8, 0)), "swapped", "Swapped Compressed"),
    (gzip.compress(swapped(STREAM)), "swapped", "Compressed Swapped"),
    (gzip.compress(XenSaveBuilder(STREAM).build()), "xen", "Compressed XenSave"),
    (MAGIC + XenSaveBuilder(STREAM, order=">").build(), "xen", "Toy XenSave"),
    (lzma.compress(libvirt(kind=1) + gzip.compress(STREAM)), "libvirt",
     "Compressed LibvirtSave Compressed"),
    (MAGIC + gzip.compress(MAGIC + lzma.compress(STREAM)), "toy",
     "Toy Compressed Toy Compressed"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "kind", "around"), NESTED, ids=[one[2] for one in NESTED])
def test_containers_nest(raw: bytes, kind: str, around: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(raw)
    before = open_files()
    with Image.open(path) as image:
        assert [type(one).__name__ for one in image.container.wrappers] == around.split()
        assert image.container.kind == kind
        assert image.machine == "pc-i440fx-11.1"
        assert not image.container.cut_short
        assert_tiled(image)
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_offsets_of_a_save_inside_another_container_are_those_of_the_file() -> None:
    with open_bytes(after(MAGIC + libvirt(cookie=20))) as image:
        save = image.container.find(LibvirtSave)
        assert save is not None
        assert (save.offset_of("magic"), save.offset_of("format")) == (8, 8 + 28)
        assert save.xml_offset == 8 + 92
        assert save.xml == XML[:20]
    with pytest.raises(FormatError) as caught:
        open_bytes(MAGIC + libvirt(version=9) + STREAM)
    assert caught.value.offset == 8 + 16


def test_a_copy_of_a_save_inside_another_container_is_the_same(tmp_path: Path) -> None:
    path, again = tmp_path / "save", tmp_path / "again"
    path.write_bytes(after(MAGIC + libvirt()))
    assert run_cli("copy", path, "-o", again).code == 0
    assert again.read_bytes() == path.read_bytes()


# -- hostile ones ----------------------------------------------------------------------------------


def test_no_more_wrappers_are_opened_than_a_few() -> None:
    with pytest.raises(FormatError):
        open_bytes(MAGIC * 100_000 + STREAM)


@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(lzma.compress(STREAM)),
        gzip.compress(gzip.compress(libvirt() + STREAM)),
        MAGIC + gzip.compress(gzip.compress(STREAM)),
    ],
    ids=["streams", "saves", "in-toy"],
)
def test_what_is_compressed_twice_at_once_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(UnsupportedError, match="more than once"):
        open_bytes(raw)


@pytest.mark.parametrize(
    "raw",
    [
        libvirt(kind=1) + gzip.compress(gzip.compress(STREAM)),
        libvirt() + libvirt() + STREAM,
        libvirt(kind=1) + gzip.compress(libvirt() + STREAM),
        libvirt() + MAGIC + STREAM,
    ],
    ids=["packed-twice", "save", "packed-save", "toy"],
)
def test_a_save_holds_a_stream_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"magic|header"):
        open_bytes(raw)


@pytest.mark.parametrize(
    "head",
    [MAGIC, SWAPPED, libvirt(), gzip.compress(MAGIC)],
    ids=["toy", "swapped", "libvirt", "gzip"],
)
def test_a_container_that_is_cut_off_is_an_error_of_ours(head: bytes) -> None:
    before = open_files()
    for stop in range(1, len(head) + 1):
        with pytest.raises(FixedRamError):
            open_bytes(head[:stop])
    assert open_files() == before


def test_one_budget_is_for_all_compressions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = lzma.compress(MAGIC + gzip.compress(STREAM))
    size = len(STREAM) + len(MAGIC) + len(gzip.compress(STREAM))
    monkeypatch.setenv("FIXEDRAM_UNPACK_LIMIT", str(size))
    open_bytes(outer).close()
    monkeypatch.setenv("FIXEDRAM_UNPACK_LIMIT", str(size - 1))
    with pytest.raises(UnsupportedError, match="unpack to more"):
        open_bytes(outer)
