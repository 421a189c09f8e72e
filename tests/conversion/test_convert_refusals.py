"""convert: what is refused, and that nothing is left of it."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from conftest import (
    run_cli,
)
from fixedram_fmt import Source
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.container.opening import OpenedStream
from fixedram_fmt.conversion import STREAM, Conversion
from fixedram_fmt.errors import FixedRamError, FormatError, UnsupportedError
from fixedram_fmt.io.output import Output
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from support.conversions import (
    CONTINUE,
    PAGE_FLAG,
    ZERO,
    Guest,
    converted,
    whole_stream,
)
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

if TYPE_CHECKING:
    from pathlib import Path


FIRST = ram_word(0, PAGE_FLAG) + b"\6pc.ram" + b"\1" * PAGE


@pytest.mark.parametrize(("records", "message"), [
    (ram_word(0, RamSaveFlag.HOOK), "RDMA"),
    (ram_word(0, RamSaveFlag.COMPRESS_PAGE) + b"\6pc.ram" + bytes(4), "compressed pages"),
    (ram_word(0, RamSaveFlag.FULL), "0.11"),
    (FIRST + ram_word(PAGE, PAGE_FLAG, ZERO, CONTINUE), "unknown combination"),
    (ram_word(0, PAGE_FLAG, CONTINUE) + bytes(PAGE), "CONTINUE without"),
    (ram_word(64 * PAGE, PAGE_FLAG) + b"\6pc.ram" + bytes(PAGE), "outside its block"),
    (ram_word((1 << 64) - PAGE, ZERO) + b"\6pc.ram" + b"\0", "outside its block"),
    (ram_word(0, PAGE_FLAG) + b"\6pc.rom" + bytes(PAGE), "not in the list"),
    (ram_word(PAGE, RamSaveFlag.MEM_SIZE), "second list"),
    (ram_word(0, RamSaveFlag.XBZRLE) + b"\6pc.ram" + b"\2\0\1a", "encoding"),
    (ram_word(0, RamSaveFlag.XBZRLE) + b"\6pc.ram" + b"\1\0\3\0\7a", "delta"),
    (ram_word(0, RamSaveFlag.XBZRLE) + b"\6pc.ram" + b"\1\xff\xff", "ends inside"),
])  # fmt: skip
def test_what_cannot_be_converted_is_named(records: bytes, message: str) -> None:
    with pytest.raises((FormatError, UnsupportedError), match=message) as caught:
        converted(ordinary(records))
    assert caught.value.offset is not None


@pytest.mark.parametrize("change", [
    b"", b"\0", b"\5", b"\0\0", b"\3\1", b"\3\5abc", b"\xff\xff\1a", b"\x80\x20\1a", b"\3\1a\0\1b",
    b"\xff\x1f\2ab", bytes([1, 1, 65]) * 1366,
])  # fmt: skip
def test_delta_that_qemu_refuses_is_refused(change: bytes) -> None:
    """xbzrle_decode_buffer(): overflow, empty runs, a last run of unchanged bytes."""
    records = ram_word(0, RamSaveFlag.XBZRLE) + b"\6pc.ram"
    records += ram.XBZRLE_PAGE.build(ram.XbzrlePage(1, len(change))) + change
    if not change:
        converted(ordinary(records))
        return
    with pytest.raises(FormatError, match="delta"):
        converted(ordinary(records))


@pytest.mark.slow
def test_file_cut_off_anywhere_is_refused() -> None:
    guest = Guest(1)
    acts = [("page", 0, 0, 3), ("zero", 0, 3, 5), ("delta", 0, 0, 2), ("page", 1, 1, 1)]
    raw = whole_stream([b"".join(guest.records(*act) for act in acts)])
    ends = [*range(0, 400), *range(400, len(raw), 97), *range(len(raw) - 200, len(raw))]
    for end in ends:
        with pytest.raises(FixedRamError):
            converted(raw[:end])
    mapped = made()
    for end in [*range(0, 300), *range(300, len(mapped), 331)]:
        with pytest.raises(FixedRamError):
            converted(mapped[:end], STREAM)


@pytest.mark.slow
def test_no_byte_of_a_stream_leads_to_more_than_an_error() -> None:
    guest = Guest(2)
    acts = [("page", 0, 0, 1), ("zero", 0, 1, 12), ("delta", 0, 0, 1)]
    raw = whole_stream([b"".join(guest.records(*act) for act in acts)])
    dice = random.Random(3)
    places = [at for at in range(len(raw)) if not 300 < at < 4200]
    for at in places:
        broken = bytearray(raw)
        broken[at] ^= 1 << dice.randrange(8)
        if dice.random() < 0.3:
            broken[at : at + 8] = b"\xff" * 8
        with tempfile.TemporaryFile() as file, suppress(FixedRamError):
            source, container = locate_stream(Source.from_buffer(broken))
            Conversion(OpenedStream(source, container)).write(Output(file.fileno(), "broken"))


@pytest.mark.parametrize(("raw", "way", "hint"), [
    (made(), "mapped-ram", "--to stream"), (whole_stream([b""]), "stream", "without --to"),
])  # fmt: skip
def test_file_of_that_kind_already_is_refused(
    raw: bytes, way: str, hint: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    path.write_bytes(raw)
    result = run_cli("convert", path, "-o", out, "--to", way)
    assert result.code == 2
    assert "already" in result.err
    assert hint in result.err
    assert not out.exists()


def test_two_blocks_on_the_same_bytes_are_refused() -> None:
    mapped = bytearray(made())
    image = image_of(bytes(mapped))
    first, second = image.blocks
    at = (second.header_offset or 0) + 20
    mapped[at : at + 8] = first.pages_offset.to_bytes(8, "big")
    with pytest.raises(FixedRamError):
        converted(bytes(mapped), STREAM)


def test_stream_without_configuration_is_refused() -> None:
    raw = whole_stream([b""])
    machine = stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc"))
    with pytest.raises(UnsupportedError, match="configuration"):
        converted(raw.replace(machine, b""))


def test_multifd_stream_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(whole_stream([ram_word(0, RamSaveFlag.MULTIFD_FLUSH)]))
    result = run_cli("convert", path, "-o", tmp_path / "out")
    assert result.code == 0
    assert "other connections" in result.err


@pytest.mark.slow
def test_nothing_is_left_where_the_disk_is_full(tmp_path: Path) -> None:
    path, folder = tmp_path / "image", tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    for raw, way in ((made(), "stream"), (converted(made(), STREAM), "mapped-ram")):
        path.write_bytes(raw)
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "convert", path, "-o", folder / "old",
             "--to", way],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert (folder / "old").read_bytes() == b"old"
        assert [entry.name for entry in folder.iterdir()] == ["old"]


@pytest.mark.parametrize("words", [
    ["missing", "-o", "out"], ["image"], ["image", "-o", "-"],
    ["image", "-o", "out", "--to", "zip"],
    ["image", "-o", "out", "--container", "libvirt"], ["image", "-o", "no/such/folder/out"],
])  # fmt: skip
def test_usage_errors_and_missing_files_give_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image").write_bytes(whole_stream([b""]))
    result = run_cli("convert", *words)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["image"]


def test_names_in_a_stream_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(whole_stream([ram_word(0, PAGE_FLAG) + b"\6\x1b]0;a\7" + bytes(PAGE)]))
    result = run_cli("convert", path, "-o", tmp_path / "out")
    assert result.code == 2
    assert "\x1b" not in result.err + result.out
