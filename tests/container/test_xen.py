"""Saves of Xen: QEMU's state in them is read, the rest is named; hostile ones are refused."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import FixedRamError, FormatError, Source, UnsupportedError
from fixedram_fmt.container.wrapper import Place
from fixedram_fmt.container.xen import xen_tiles
from fixedram_fmt.verbs import validate
from support.builders import open_bytes, ordinary_image
from support.xen import XenSaveBuilder

STREAM = ordinary_image().file()
SAVES = {
    "xl": XenSaveBuilder(STREAM),
    "libvirt": XenSaveBuilder(STREAM, writer="libvirt"),
    "libxl": XenSaveBuilder(STREAM, writer="libxl"),
    "big-endian": XenSaveBuilder(STREAM, order=">"),
    "counted": XenSaveBuilder(STREAM, record=b"DeviceModelRecord0002" + bytes(4)),
    "checkpoints": XenSaveBuilder(STREAM, checkpoints=3),
}
NAMES = {"xl": "lab one", "libvirt": "a & b", "libxl": None}


def test_what_is_cut_is_refused_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "xen.save"
    raw = XenSaveBuilder(emulator=ordinary_image().file()).build()
    for stop in (40, len(raw) * 2 // 3):
        path.write_bytes(raw[:stop])
        report = validate(path)
        assert report.verdict == "refuses"
        assert report.message.startswith("Not a migration stream")


def test_the_save_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "xen.save"
    path.write_bytes(XenSaveBuilder(emulator=ordinary_image().file()).build())
    before = path.read_bytes()
    for command in ("copy", "convert"):
        assert run_cli(command, path, "-o", path, "--force").code == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", SAVES)
def test_the_state_of_the_emulator_is_read_in_place(name: str) -> None:
    builder = SAVES[name]
    with open_bytes(builder.build()) as image:
        assert image.complete
        assert image.source.read_exact(0, image.source.size) == STREAM
        told = image.container.describe()
    assert (told.kind, told.stream_offset) == ("xen", 0)
    assert told.xen is not None
    assert (told.xen.writer, told.xen.name) == (builder.writer, NAMES[builder.writer])
    assert (told.xen.domain_type, told.xen.xen_version) == ("x86_hvm", "4.17")
    assert told.xen.byte_order == ("big" if builder.order == ">" else "little")
    assert told.xen.memory_bytes > builder.pages * 4096


def test_commands_say_what_it_is_and_take_the_stream_out(tmp_path: Path) -> None:
    path, out = tmp_path / "guest.xl", tmp_path / "out"
    path.write_bytes(gzip.compress(SAVES["xl"].build()))
    assert "save of a Xen domain by xl, domain lab one, x86_hvm of Xen 4.17" in (
        run_cli("info", path).out
    )
    assert run_cli("copy", path, "-o", out).code == 0
    assert out.read_bytes() == STREAM


@pytest.mark.parametrize("name", SAVES)
def test_parts_tile_the_file(name: str) -> None:
    raw = SAVES[name].build() + b"more"
    position = 0
    for part in xen_tiles(Place(Source.from_buffer(raw), 0)):
        assert part.offset == position
        position += part.length
    assert position == len(raw)


@pytest.mark.parametrize(
    ("builder", "what"),
    [
        (XenSaveBuilder(None), "without a state of QEMU"),
        (XenSaveBuilder(b"QEVX" + bytes(99)), "no stream of QEMU"),
        (XenSaveBuilder(STREAM, flags=1), "before 4.6"),
    ],
)
def test_what_has_no_stream_of_qemu_is_named(builder: XenSaveBuilder, what: str) -> None:
    with pytest.raises(UnsupportedError, match=what) as caught:
        open_bytes(builder.build())
    assert "xl restore" in caught.value.hint


@pytest.mark.parametrize("name", ["xl", "big-endian", "counted"])
def test_a_save_cut_anywhere_is_refused(name: str) -> None:
    raw = replace(SAVES[name], pages=1, emulator=STREAM[:300]).build()
    for length in range(1, len(raw), 7):
        with pytest.raises(FixedRamError):
            open_bytes(raw[:length])


def test_lengths_that_cannot_be_are_refused() -> None:
    raw = SAVES["xl"].build()
    start = raw.index(b"LibxlFmt")
    for offset in (44, start + 20, raw.index(b"XENF") + 36):
        with pytest.raises(FormatError):
            open_bytes(raw[:offset] + b"\xff" * 4 + raw[offset + 4 :])


def test_records_are_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fixedram_fmt.container.xenrecords._RECORDS_CEILING", 10)
    with pytest.raises(FormatError, match="too many records"):
        open_bytes(replace(SAVES["xl"], pages=20).build())
