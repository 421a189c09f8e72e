"""`fixedram read` as a user runs it: hex view, raw bytes, files, JSON, what it refuses."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conftest import SAMPLES, run_cli, unpack
from fixedram_fmt import Image
from fixedram_fmt.memory import PhysicalMemory
from support.builders import Block, StreamBuilder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pc(unpacked_dir: Path) -> Path:
    return unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "sample-pc-once")


def memory_of(path: Path, start: int, length: int) -> bytes:
    with Image.open(path) as image:
        return PhysicalMemory(image, fill=0).read(start, length)


def parsed(text: str) -> dict[int, int]:
    """Bytes of a hex view by address; folded lines filled in."""
    seen: dict[int, int] = {}
    line: list[str] = []
    last = None
    for row in text.splitlines():
        if row == "*":
            last = "fold"
            continue
        address, cells = row[:8], row[10:58]
        if not re.match(r"[0-9a-f]{8}  ", row):
            continue
        start = int(address, 16)
        if last == "fold":
            at = max(seen) + 1
            while at < start:
                for number, cell in enumerate(line):
                    seen[at + number] = int(cell, 16)
                at += 16
        columns = [cells[n * 3 + (n > 7) : n * 3 + (n > 7) + 2] for n in range(16)]
        for number, cell in enumerate(columns):
            if cell.strip():
                seen[start + number] = int(cell, 16)
        line, last = columns, None
    return seen


@pytest.mark.parametrize(
    ("start", "length"), [(0x101003, 1000), (0x101000, 16), (0x17B000, 0x5000), (0xF0000, 0x10000)]
)
def test_hex_view_shows_every_byte_where_it_is(pc: Path, start: int, length: int) -> None:
    result = run_cli("read", pc, "--phys", hex(start), str(length))
    assert result.code == 0
    truth = memory_of(pc, start, length)
    shown = parsed(result.out)
    assert all(shown[at] == truth[at - start] for at in shown)
    left = {at for at in range(start, start + length) if at not in shown}
    assert not any(truth[at - start] for at in left)
    for row in result.out.splitlines():
        if match := re.match(r"([0-9a-f]{8})-([0-9a-f]{8})  absent", row):
            left -= set(range(int(match[1], 16), int(match[2], 16) + 1))
    assert left == set()


def test_absent_pages_and_holes_are_told_apart(pc: Path) -> None:
    out = run_cli("read", pc, "--phys", "0x17fffe8").out
    assert out.splitlines() == [
        "017fffe8-017fffff  absent (zero)",
        "01800000-018000e7  not RAM",
    ]


def test_text_column_is_plain_ascii(tmp_path: Path) -> None:
    memory = bytes(range(256))
    builder = StreamBuilder().header().configuration()
    path = tmp_path / "image"
    path.write_bytes(builder.mapped_ram(Block(b"pc.ram", memory)).described().file())
    out = run_cli("read", path, "--block", "pc.ram").out
    assert len(out.splitlines()) == 16
    assert out.isascii()
    assert out.isprintable() or all(c.isprintable() or c == "\n" for c in out)
    assert "|0123456789:;<=>?|" in out


@pytest.mark.slow
@pytest.mark.parametrize("where", [("--phys", "1M"), ("--block", "pc.ram+0x100000")])
def test_raw_bytes_are_the_memory(pc: Path, where: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fixedram_cli", "read", str(pc), *where, "3M", "--raw"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == memory_of(pc, 1 << 20, 3 << 20)


@pytest.mark.slow
@pytest.mark.parametrize("where", [("--phys", "0x100123"), ("--block", "pc.ram+0x100123")])
def test_a_file_gets_the_memory_and_keeps_holes(
    pc: Path, where: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_cli("read", pc, *where, "20M", "-o", out).code == 0
    assert out.read_bytes() == memory_of(pc, 0x100123, 20 << 20)
    assert out.stat().st_blocks * 512 < 8 << 20


def test_an_error_leaves_the_file_as_it_was(pc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    result = run_cli("read", pc, "--phys", "0x1700000", "4M", "--force", "-o", out)
    assert result.code == 2
    assert "no guest-physical memory at 0x1800000" in result.err
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_holes_are_filled_on_request(pc: Path, tmp_path: Path) -> None:
    for byte in (0, 255):
        out = tmp_path / f"out{byte}"
        arguments = ("--phys", "0x17ffff0", "0x100", "--fill", str(byte), "-o", out)
        assert run_cli("read", pc, *arguments).code == 0
        assert out.read_bytes() == bytes(16) + bytes([byte]) * 0xF0


def test_a_terabyte_hole_in_a_file_costs_nothing(pc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_cli("read", pc, "--phys", "0", "1T", "--fill", "0", "-o", out).code == 0
    assert out.stat().st_size == 1 << 40


@pytest.mark.slow
def test_json_has_the_bytes_and_where_they_lie(pc: Path) -> None:
    document = run_cli("read", pc, "--phys", "0xfffffff0", "16", "--json").json
    data = bytes.fromhex(document["data"])
    assert data == memory_of(pc, 0xFFFFFFF0, 16)
    assert document["block"] == "pc.bios"
    assert document["offset"] == 0xFFF0
    assert document["present"] is True
    with pc.open("rb") as file:
        file.seek(document["file_offset"])
        assert file.read(16) == data
    absent = run_cli("read", pc, "--phys", "0x17fff00", "--output", "json").json
    assert absent["present"] is False
    assert absent["file_offset"] is None
    assert absent["data"] == "00" * 256


@pytest.mark.slow
def test_without_an_address_it_is_the_map(pc: Path) -> None:
    assert run_cli("read", pc).out == run_cli("read", pc, "--list").out
    lines = run_cli("read", pc).out.splitlines()
    assert lines[0].split()[:5] == ["00000000-000bffff", "768", "KiB", "ram", "pc.ram"]
    ranges = run_cli("read", pc, "--json").json["memory_map"]
    assert len(ranges) == len(lines)
    assert set(ranges[0]) == {"start", "stop", "block", "offset", "kind", "source"}


@pytest.mark.slow
def test_explain_says_where_the_fact_comes_from(pc: Path) -> None:
    out = run_cli("read", pc, "--virt", "0x100000", "16", "--explain").out
    assert "paging off" in out
    assert "physical 0x100000" in out
    assert "CMOS" in out
    steps = run_cli("read", pc, "--virt", "0x100000", "--explain", "--json").json["translation"]
    assert steps["physical"] == 0x100000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--phys", "2G"), "there is 0x0-0xbffff"),
        (("--block", "nope+4"), "there is no block 'nope'; blocks are pc.ram"),
        (("--block", "pc.bios+64K"), "outside the block"),
        (("--block", "pc.bios", "1G"), "outside the block"),
        (("--virt", "0", "--cpu", "7"), "no state of CPU 7"),
        (("--phys", "pear"), "no size or offset"),
        (("--phys", "99999999999999999999999"), "64 bits"),
        (("--phys", "0", "--block", "pc.ram"), "give one of"),
        (("--phys", "0", "--raw", "--json"), "give one of"),
        (("--phys", "0", "1G", "--json"), "too much for JSON"),
        (("--raw",), "what is to be read"),
        (("--phys", "0", "--fill", "256"), "a byte is 0 to 255"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    pc: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = run_cli("read", pc, *arguments)
    assert result.code == 2
    assert result.out == ""
    assert told in " ".join(re.sub(r"[│╭╰╮╯─]", " ", result.err).split())
    assert "Traceback" not in result.err


def test_raw_bytes_are_not_for_a_terminal(pc: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "read", str(pc), "--phys", "0", "--raw"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(pc: Path) -> None:
    command = f"{sys.executable} -m fixedram_cli read {pc} --block pc.ram 24M | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_leaves_nothing(pc: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "read", str(pc), "--phys", "0", "--raw"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_names_of_blocks_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    builder = StreamBuilder().header().configuration()
    block = Block(b"pc.ram\x1b[2J", b"A" * 512)
    path = tmp_path / "image"
    path.write_bytes(builder.mapped_ram(block).described().file())
    for arguments in ((), ("--block", "x"), ("--phys", "9G")):
        result = run_cli("read", path, *arguments)
        assert "\x1b" not in result.out + result.err
    assert run_cli("read", path, "--block", "pc.ram\x1b[2J+1", "4").out.endswith("| AAAA|\n")


@pytest.mark.slow
def test_a_shared_block_that_is_not_in_the_image_is_said_so(unpacked_dir: Path) -> None:
    name = "pc-ignore-shared-11.1"
    path = unpack(SAMPLES / f"{name}.img.xz", unpacked_dir / f"sample-{name}")
    result = run_cli("read", path, "--phys", "0")
    assert result.code == 2
    assert "not in the image" in result.err
    assert "x-ignore-shared" in run_cli("read", path, "--phys", "0xbfff0").out
