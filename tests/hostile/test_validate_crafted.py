"""validate on files made to cost much: every finding counted, in little time and memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import run_cli
from fixedram_fmt.schema.ram import RamSaveFlag
from support.builders import Block, StreamBuilder, device, page
from support.synthetic import PAGE

pytestmark = pytest.mark.untraced
#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
MEBIBYTES = 150
FINDINGS_CEILING = 100


# -- crafted files, each in a process of its own ---------------------------------------------------

_RUN = r"""
import re, sys, time
from pathlib import Path
# Not ru_maxrss, which a process inherits from its parent.
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
base, begin = peak(), time.monotonic()
from fixedram_cli.main import main
try:
    main()
finally:
    print(f"\n{(peak() - base) // 1024} {time.monotonic() - begin:.2f}", file=sys.stderr)
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")


def measured(*arguments: str | Path, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """`fixedram ARGUMENTS`, held to its time and its memory above a bare interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    *told, figures = done.stderr.splitlines()
    assert not any(told), done.stderr
    mebibytes, took = map(float, figures.split())
    assert mebibytes < MEBIBYTES
    assert took < seconds
    return done


def crafted(tmp_path: Path, raw: bytes, *, seconds: float = SECONDS) -> dict[str, Any]:
    """What `validate --deep` tells of the file, as JSON and, where that is quick, as text."""
    path = tmp_path / "crafted.img"
    path.write_bytes(raw)
    command = ("validate", path, "--deep", "--loader", "qemu-10.0")
    done = measured(*command, "--json", seconds=seconds)
    assert done.returncode != 2
    if seconds == SECONDS:
        text = measured(*command, seconds=seconds)
        assert text.returncode == done.returncode
        assert all(char == "\n" or char.isprintable() for char in text.stdout)
        assert len(text.stdout) < 1 << 18
    (report,) = json.loads(done.stdout)["images"]
    told = Counter(finding["rule"] for finding in report["findings"])
    assert max(told.values(), default=0) <= FINDINGS_CEILING
    return {**report, "told": set(told)}


def begun(**options: Any) -> StreamBuilder:
    builder = StreamBuilder(**{"page_size": PAGE, "align": PAGE, **options}).header()
    return builder.configuration(b"pc-i440fx-10.0")


def entry(builder: StreamBuilder, name: bytes, used: int) -> None:
    builder.put("block", bytes([len(name)]) + name + struct.pack(">Q", used))


def listed(count: int) -> StreamBuilder:
    builder = begun(page_size=256).start(2, b"ram")
    return builder.word("mem_size", RamSaveFlag.MEM_SIZE, count * PAGE)


@pytest.mark.slow
@needs_proc
def test_65536_blocks_that_all_overlap(tmp_path: Path) -> None:
    """The same bitmap and 4 KiB of pages that end where the next entry begins."""
    count = 65_536
    builder = listed(count)
    entry(builder, b"first", PAGE)
    at = builder.offset + 28
    builder.mapped_header(at, at + 256).put("bitmap", b"\xff" * 256).put("pages", b"x" * PAGE)
    for number in range(count - 1):
        entry(builder, b"%05x" % number, PAGE)
        builder.mapped_header(at, builder.offset + 28 - PAGE)
    raw = builder.eos().footer(2).eof().file()
    report = crafted(tmp_path, raw, seconds=120)
    assert {"L09", "L10"} <= report["told"]
    assert report["unlisted"]["L09"] > 60_000
    assert report["verdict"] != "loads"


@pytest.mark.slow
@needs_proc
def test_twenty_thousand_sound_blocks(tmp_path: Path) -> None:
    count = 20_000
    builder = begun(page_size=256).start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, count * 256)
    for number in range(count):
        entry(builder, b"%05x" % number, 256)
        # Pages at a multiple of their size, after some padding.
        at = builder.offset + 28
        pages = -(-(at + 8) // 256) * 256
        builder.mapped_header(at, pages).put("bitmap", b"\1" + bytes(7))
        builder.put("padding", bytes(pages - builder.offset)).put("pages", b"x" * 256)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file(), seconds=40)
    assert report["verdict"] == "loads"
    assert report["told"] <= {"L14", "D01", "D10", "S16", "R22"}


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("back", ["entry", "section", "header"])
def test_block_list_in_circles(back: str, tmp_path: Path) -> None:
    builder = begun()
    places = {"header": 8, "section": builder.offset}
    builder.start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, 1 << 40)
    places["entry"] = builder.offset
    entry(builder, b"pc.ram", PAGE)
    bitmap = builder.offset + 28
    builder.mapped_header(bitmap, (places[back] - PAGE) % (1 << 64))
    builder.put("bitmap", b"\xff" * 8).put("pages", bytes(2 * PAGE))
    report = crafted(tmp_path, builder.eos().footer(2).eof().file())
    assert report["verdict"] == "refuses"


LENGTHS = [1 << 63, (1 << 64) - PAGE, (1 << 63) - PAGE, 1 << 62, 1 << 52, (1 << 64) - 1]


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("length", LENGTHS, ids=hex)
@pytest.mark.parametrize("ends", [True, False], ids=["wrapping", "past the end"])
def test_lengths_beyond_any_memory(length: int, ends: bool, tmp_path: Path) -> None:
    """Their bitmaps would take exabytes; wrapping, the pages "end" where the stream goes on."""
    builder = begun().start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, length // PAGE * PAGE % (1 << 64))
    entry(builder, b"pc.ram", length)
    at = builder.offset + 28
    pages = (at + 64 - length) % (1 << 64) if ends else at + 64
    builder.mapped_header(at, pages).put("bitmap", b"\xff" * 64)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file())
    assert "R18" in report["told"]
    assert report["verdict"] in ("refuses", "crashes")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("bitmap", [0, 1 << 63, (1 << 64) - 8, (1 << 64) - 1, 1 << 40])
@pytest.mark.parametrize("pages", [0, 1 << 63, (1 << 64) - PAGE, (1 << 64) - 1, 1 << 40])
def test_offsets_that_wrap(bitmap: int, pages: int, tmp_path: Path) -> None:
    builder = begun().start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, PAGE)
    entry(builder, b"pc.ram", PAGE)
    builder.mapped_header(bitmap, pages).put("pages", page(1, PAGE) * 3)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file())
    assert report["verdict"] in ("refuses", "crashes")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_names_of_255_escapes(form: str, tmp_path: Path) -> None:
    builder = listed(2000)
    for number in range(2000):
        entry(builder, b"\x1b]0;%04d\x07".ljust(255, b"\x1b") % number, PAGE)
        at = builder.offset + 28
        builder.mapped_header(at, at + 8).put("bitmap", b"\1" + bytes(7))
        builder.put("pages", b"x" * PAGE)
    path = tmp_path / "\x1b[2J.img"
    path.write_bytes(builder.eos().footer(2).eof().file())
    done = measured("validate", path, "--output", form)
    assert done.returncode == 1
    assert "R15" in done.stdout
    assert all(char == "\n" or 0x20 <= ord(char) < 0x7F or ord(char) > 0x9F for char in done.stdout)
    assert len(done.stdout) < 1 << 20


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("flush", [False, True], ids=["empty", "flush"])
def test_hundred_thousand_parts(flush: bool, tmp_path: Path) -> None:
    builder = begun(align=1 << 20).start(2, b"ram")
    block = Block(b"pc.ram", page(1, PAGE))
    builder.mem_size(block).mapped(block).eos().footer(2)
    words = [RamSaveFlag.MULTIFD_FLUSH] * flush + [RamSaveFlag.EOS]
    body = struct.pack(f">BI{len(words)}Q", 2, 2, *words) + b"\x7e" + struct.pack(">I", 2)
    end = b"\3" + body[1:]
    report = crafted(tmp_path, builder.file() + body * 100_000 + end + b"\0", seconds=60)
    assert "R23" in report["told"]
    assert report["verdict"] == ("refuses" if flush else "loads")
    assert report["unlisted"] == ({"Y01": report["unlisted"]["Y01"]} if flush else {})


def vmdesc_of(text: bytes) -> bytes:
    builder = begun(page_size=256).mapped_ram(Block(b"a", page(1, 256)))
    return builder.full(3, b"timer", b"1234").eof().vmdesc(text).file()


_STRUCT = b'{"name":"s","size":1,"type":"struct","struct":{"fields":['

_DEEP = 100_000


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    "text",
    [
        b'{"page_size":256,"devices":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
        b'{"page_size":256,"devices":[],"x":' + b'{"a":' * _DEEP + b"0" + b"}" * (_DEEP + 1),
        b'{"page_size":256,"devices":[{"name":"timer","instance_id":0,"fields":['
        + _STRUCT * _DEEP + b"]}}" * _DEEP + b"]}]}",
    ],
    ids=["lists", "objects", "fields"],
)  # fmt: skip
def test_description_nested_without_end(text: bytes, tmp_path: Path) -> None:
    report = crafted(tmp_path, vmdesc_of(text))
    assert "D02" in report["told"]
    assert report["verdict"] == "loads", "QEMU does not look at it"


@pytest.mark.slow
@needs_proc
def test_thirty_thousand_devices_of_other_sizes(tmp_path: Path) -> None:
    count = 30_000
    builder = begun(page_size=256).mapped_ram(Block(b"a", page(1, 256)))
    for number in range(count):
        builder.full(number + 3, b"dev", b"\xee\xee", instance_id=number)
    described = (device("dev", 5, instance_id=number + 7) for number in range(count))
    report = crafted(tmp_path, builder.described(*described).file(), seconds=60)
    assert {"D06", "D07"} <= report["told"]


@pytest.mark.slow
@needs_proc
def test_commands_lists_and_footers_without_end(tmp_path: Path) -> None:
    head = begun(page_size=256).mapped_ram(Block(b"a", page(1, 256))).file()
    report = crafted(tmp_path, head + b"\x08\0\2\0\1x" * 30_000 + b"\0", seconds=60)
    assert report["unlisted"]["S07"] == 30_000 - FINDINGS_CEILING
    mem_size = struct.pack(">Q", RamSaveFlag.MEM_SIZE)
    builder = begun().start(2, b"ram").put("lists", mem_size * 30_000)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file(), seconds=60)
    assert report["unlisted"]["R03"] == 30_000 - 1 - FINDINGS_CEILING


@pytest.mark.slow
@needs_proc
def test_pages_outside_of_ten_thousand_blocks(tmp_path: Path) -> None:
    """Each page's block is looked up; in all it is no product of blocks and pages."""
    names = [b"%06d" % number for number in range(10_000)]
    builder = StreamBuilder(page_size=PAGE).header().configuration(capabilities=None)
    builder.start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, len(names) * PAGE)
    for name in names:
        entry(builder, name, PAGE)
    for name in names:
        builder.record("zero", 1 << 30, b"\0", name)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file(), seconds=60)
    assert report["unlisted"] == {"R24": len(names) - FINDINGS_CEILING}


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("moved", [False, True], ids=["in place", "moved"])
def test_blocks_that_share_one_large_bitmap_are_read_a_bounded_number_of_times(
    moved: bool, tmp_path: Path
) -> None:
    """200 blocks of 4 GiB each say that their bits are the same 128 KiB: half of all pages."""
    count, used, size = 200, 4 << 30, 42
    bitmap = (1 << 20) + (64 if moved else 0)
    first = 2 << 20
    header = begun().start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, count * used)
    path = tmp_path / "shared.img"
    at = header.offset
    with path.open("wb") as file:
        file.write(header.file())
        for number in range(count):
            pages = first if number == 0 else at + size - used
            fields = struct.pack(">QIQQQ", used, 1, PAGE, bitmap, pages)
            file.seek(at)
            file.write(b"\5%05d" % number + fields)
            at = first + used if number == 0 else at + size
        file.seek(at)
        file.write(struct.pack(">Q", RamSaveFlag.EOS) + b"\x7e\0\0\0\2\0")
        file.seek(1 << 20)
        file.write(b"\x55" * (256 << 10))
    done = measured("validate", path, "--json", seconds=60)
    (report,) = json.loads(done.stdout)["images"]
    assert report["verdict"] == "refuses"


# -- size ------------------------------------------------------------------------------------------

TIB = 1 << 40


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    "options",
    [(), ("--byte-order", "big", "--machine", "s390-ccw-virtio-10.0")],
    ids=["little", "big"],
)
def test_a_tebibyte_takes_seconds_and_little_memory(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "huge.img"
    block = f"pc.ram={TIB}:counter:0.0001"
    made = run_cli("synth", "--block", block, *options, "-o", path)
    if "File too large" in made.err:
        pytest.skip("this file system has no file of 1 TiB")
    assert made.code == 0, made.err
    assert path.stat().st_size > TIB
    for deep in ((), ("--deep",)):
        done = measured("validate", path, "--json", "--fail-on", "never", *deep)
        (report,) = json.loads(done.stdout)["images"]
        rules = {finding["rule"] for finding in report["findings"]}
        assert rules == ({"D10", "B02"} if options else {"D10"})
        assert report["verdict"] == ("wrong-memory" if options else "loads")
