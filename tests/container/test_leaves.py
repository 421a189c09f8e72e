"""What stands before the stream: `dump` owns it, `info --xml` prints it, sizes are the file's."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt.tiling import container_leaves, leaves
from support.builders import open_bytes
from support.containers import libvirt
from support.synthetic import PAGE, made, ordinary

if TYPE_CHECKING:
    from pathlib import Path

STREAM = ordinary(b"", length=4 * PAGE)
XML = b"<domain>\n  <name>a\x1bb</name>\n</domain>\0"
COOKIE = b"<cookie/>\0"


@pytest.mark.parametrize(
    ("area", "cookie", "kinds"),
    [
        (XML + COOKIE + bytes(70), len(XML), ["xml", "cookie", "padding"]),
        (XML + bytes(9) + COOKIE, len(XML) + 9, ["xml", "padding", "cookie"]),
        (XML[:-1], 0, ["xml"]),
        (XML + bytes(20), 0, ["xml", "padding"]),
        (XML, 1 << 20, ["xml"]),
    ],
)
def test_leaves_tile_the_file_from_its_start(area: bytes, cookie: int, kinds: list[str]) -> None:
    raw = libvirt(xml=area, cookie=cookie) + STREAM
    with open_bytes(raw) as image:
        before = list(container_leaves(image))
        end = 0
        for leaf in (*before, *leaves(image)):
            assert leaf.offset == end
            end = leaf.stop
        assert end == len(raw)
    assert [leaf.kind.removeprefix("libvirt_") for leaf in before] == ["header", *kinds]


@pytest.mark.slow
def test_dump_has_them(tmp_path: Path) -> None:
    path = tmp_path / "guest.save"
    path.write_bytes(libvirt(xml=XML) + STREAM)
    records = run_cli("dump", path, "--json").json["records"]
    assert [one["kind"] for one in records[:3]] == ["libvirt_header", "libvirt_xml", "file_header"]
    assert records[0]["fields"]["was_running"] == 1
    path.write_bytes(bytes(100) + STREAM)
    records = run_cli("dump", f"{path}@100", "--json").json["records"]
    assert (records[0]["kind"], records[0]["length"]) == ("prefix", 100)


@pytest.mark.slow
def test_xml_is_printed_and_acts_on_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "guest.save"
    path.write_bytes(libvirt(xml=XML) + STREAM)
    result = run_cli("info", path, "--xml")
    assert result.out == "<domain>\n  <name>a\\x1bb</name>\n</domain>\n"
    path.write_bytes(STREAM)
    assert run_cli("info", path, "--xml").code == 2


@pytest.mark.slow
def test_info_of_a_packed_save_has_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "guest.save"
    path.write_bytes(libvirt(kind=1) + gzip.compress(STREAM))
    told = run_cli("info", path, "--json").json
    assert (told["file_size"], told["size"]) == (path.stat().st_size, len(STREAM))
    assert f"({path.stat().st_size:,} bytes)" in run_cli("info", path).out


@pytest.mark.slow
def test_info_says_what_a_restore_does_with_the_guest(tmp_path: Path) -> None:
    path = tmp_path / "guest.save"
    for running, said in ((1, "virsh resumes the guest"), (0, "leaves the guest paused")):
        path.write_bytes(libvirt(xml=XML, running=running) + STREAM)
        assert said in run_cli("info", path).out


def test_names_are_not_cut_in_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "guest.img"
    name = "0000:00:01.0/" + "n" * 90
    path.write_bytes(made(blocks=[{"name": name, "size": PAGE, "pattern": "text"}]))
    assert name in run_cli("info", path).out


@pytest.mark.slow
def test_memory_that_is_a_part_is_exit_code_1(tmp_path: Path) -> None:
    raw = made(align=1 << 16)
    path, out = tmp_path / "cut.img", tmp_path / "ram"
    path.write_bytes(raw[:-7])
    assert run_cli("extract", path, "--block", "pc.ram", "-o", out).code == 1
    assert out.exists()
    assert run_cli("read", path, "--block", "pc.ram", "16").code == 1
    assert run_cli("digest", path).code != 0
    path.write_bytes(raw)
    assert run_cli("read", path, "--block", "pc.ram", "16").code == 0
    packed = tmp_path / "cut.img.xz"
    packed.write_bytes(lzma.compress(raw))
    assert run_cli("read", packed, "--block", "pc.ram", "16").code == 0
