"""validate on damaged and hostile files: an answer, in every form, in little time and memory."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from builders import Block, StreamBuilder, device, page
from conftest import SAMPLES, run_cli, sample_entries, unpack
from fixedram_cli.render.findings import print_report, print_summary
from fixedram_cli.render.github import annotations
from fixedram_cli.render.junit import junit
from fixedram_cli.render.sarif import sarif
from fixedram_fmt.build.faults import catalogue
from fixedram_fmt.container import locate_stream
from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.source import Source
from fixedram_fmt.strategies import broken_images, mutated_images
from fixedram_fmt.validate import Destination, Report, Severity, all_rules, unopened, validate
from fixedram_fmt.validate.report import Question, ask
from synthetic import PAGE, made

#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
MEBIBYTES = 150
FINDINGS_CEILING = 100

#: A VM that nothing fits.
OTHER = Destination(
    machine="none", capabilities=[], target_page_size=8192,
    blocks={"pc.ram": PAGE, "more": "1M"}, sections={"timer": 0, "ram": 4, "more": 1},
    instances={"timer": [7]},
)  # fmt: skip


def check(report: Report) -> None:
    """What must be true of any report; asked while the image is open, verdicts look at bitmaps."""
    told = Counter(finding.rule.id for finding in report.findings)
    assert max(told.values(), default=0) <= FINDINGS_CEILING
    assert all(told[rule_id] == FINDINGS_CEILING for rule_id in report.unlisted)
    for loader in LOADERS.values():
        for multifd, property_on in ((False, False), (True, False), (True, True)):
            question = {"multifd": multifd, "property_on": property_on}
            verdict = report.verdict(loader, **question)
            judged = report.judged_by(loader, **question)
            json.dumps([finding.as_dict() for finding in judged])
            errors = [finding for finding in judged if finding.severity is Severity.ERROR]
            assert (verdict.decided_by is None) == (verdict.outcome is Outcome.LOADS)
            assert errors or verdict.outcome is Outcome.LOADS


def show(raw: bytes) -> None:
    """What the command prints of the file, in every form."""
    with NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        report = ask(file.name, Question("qemu-10.0", multifd=True, deep=True, destination=OTHER))
    json.dumps(report.as_dict())
    held = io.StringIO()
    console = Console(file=held, markup=False, emoji=False, highlight=False, width=100)
    print_report(console, report)
    print_summary(console, report)
    text = held.getvalue() + "\n".join(annotations([report]))
    assert all(char == "\n" or char.isprintable() for char in text)
    junit([report], Severity.NOTE)
    json.dumps(sarif([report], all_rules(), "1"))


def look_at(raw: bytes) -> list[Report]:
    """Reports on a file, deep and not, for a VM that fits and one that does not, all checked."""
    begin = time.monotonic()
    show(raw)
    told = []
    try:
        inner, container = locate_stream(Source.from_buffer(raw))
        with Image(inner, container) as image:
            fitting = Destination.of_image(image)
            for deep, vm in ((False, None), (True, fitting), (False, OTHER)):
                told.append(validate(image, vm, deep=deep))
                check(told[-1])
    except UnsupportedError:
        pass
    except FormatError as error:
        told = [unopened(error)]
        check(told[-1])
    assert time.monotonic() - begin < SECONDS
    return told


# -- any bytes ------------------------------------------------------------------------------------

relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(broken_images())
def test_broken_image_gets_an_answer(broken: tuple[str, bytes]) -> None:
    assert look_at(broken[1])


@relaxed
@given(mutated_images())
def test_mutated_image_gets_an_answer(raw: bytes) -> None:
    look_at(raw)


@relaxed
@given(st.binary(max_size=300), st.sampled_from([b"", b"QEVM\0\0\0\3", b"LibvirtQemudSave"]))
def test_any_bytes_get_an_answer(raw: bytes, start: bytes) -> None:
    # There is none where it looks like something compressed that cannot be unpacked here.
    assert all(report.findings for report in look_at(start + raw))


@pytest.mark.parametrize("name", catalogue())
def test_broken_image_before_another_gets_an_answer(name: str) -> None:
    for other in ("escaping-block", "page-size-zero"):
        look_at(made(faults=[catalogue()[name]]) + made(faults=[catalogue()[other]]))


#: Few enough bytes to be held in memory.
_SMALL = 4 << 20
SMALL = [entry for entry in sample_entries() if entry["size"] < _SMALL]
LARGE = {entry["name"]: entry for entry in sample_entries() if entry["size"] >= _SMALL}
NAMES = st.sampled_from([entry["name"] for entry in SMALL])
#: Of the length of the file; most structures are near its ends.
PLACES = st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.floats(0.99, 1))


@pytest.fixture(scope="module")
def small(unpacked_dir: Path) -> dict[str, bytes]:
    return {entry["name"]: unpacked(entry, unpacked_dir).read_bytes() for entry in SMALL}


def unpacked(entry: dict[str, Any], folder: Path) -> Path:
    return unpack(SAMPLES / entry["file"], folder / f"sample-{entry['name']}")


@settings(relaxed, max_examples=60)
@given(
    name=NAMES,
    splices=st.lists(
        st.tuples(PLACES, st.integers(0, 64), st.binary(max_size=64)), min_size=1, max_size=8
    ),
)
def test_sample_with_other_bytes_gets_an_answer(
    small: dict[str, bytes], name: str, splices: list[tuple[float, int, bytes]]
) -> None:
    raw = bytearray(small[name])
    for place, removed, added in splices:
        at = int(place * len(raw))
        raw[at : at + removed] = added
    look_at(bytes(raw))


@settings(relaxed, max_examples=40)
@given(name=NAMES, other=NAMES, cut=PLACES, start=PLACES)
def test_halves_of_two_samples_get_an_answer(
    small: dict[str, bytes], name: str, other: str, cut: float, start: float
) -> None:
    first, second = small[name], small[other]
    look_at(first[: int(cut * len(first))] + second[int(start * len(second)) :])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@settings(relaxed, max_examples=80)
@given(
    name=st.sampled_from(sorted(LARGE)),
    number=st.integers(0, 1 << 16),
    changes=st.dictionaries(
        st.integers(0, 40), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, None]), min_size=1, max_size=4
    ),
)
def test_large_sample_with_damaged_headers_gets_an_answer(
    scratch: Path, name: str, number: int, changes: dict[int, int | None]
) -> None:
    """Bytes around a block's entry are set, or counted up, in a copy that has the holes."""
    entry = LARGE[name]
    path = unpacked(entry, scratch)
    told = f"@{entry['stream_offset']}" if entry["stream_offset"] and "libvirt" not in name else ""
    with Image.open(f"{path}{told}") as image:
        blocks = image.blocks
    at = blocks[number % len(blocks)].entry_offset
    with path.open("r+b") as file:
        kept = os.pread(file.fileno(), 64, at)
        try:
            for place, value in changes.items():
                new = (kept[place] + 1) % 256 if value is None else value
                os.pwrite(file.fileno(), bytes([new]), at + place)
            report = ask(f"{path}{told}", Question("qemu-10.0", multifd=True))
        finally:
            os.pwrite(file.fileno(), kept, at)
    assert not report.error
    assert report.verdict is not None
    assert len(report.verdicts) == 4


FUZZER = Path(__file__).parent / "fuzz" / "fuzz_validate.py"


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FUZZER, *options],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_fuzzer_runs_without_atheris_and_finds_nothing() -> None:
    done = fuzz("--plain", "2", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[0]) > 10


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is installed")
def test_fuzzer_says_what_it_needs() -> None:
    done = fuzz("-runs=1")
    assert done.returncode == 1
    assert "pip install atheris" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- crafted files, each in a process of its own --------------------------------------------------

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
    return StreamBuilder(**{"page_size": PAGE, "align": PAGE, **options}).header().configuration()


def entry(builder: StreamBuilder, name: bytes, used: int) -> None:
    builder.put("block", bytes([len(name)]) + name + struct.pack(">Q", used))


def listed(count: int) -> StreamBuilder:
    builder = begun(page_size=256).start(2, b"ram")
    return builder.word("mem_size", RamSaveFlag.MEM_SIZE, count * PAGE)


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


@needs_proc
def test_twenty_thousand_sound_blocks(tmp_path: Path) -> None:
    count = 20_000
    builder = begun(page_size=256).start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, count * 256)
    for number in range(count):
        entry(builder, b"%05x" % number, 256)
        # Pages at a multiple of their size, behind some padding.
        at = builder.offset + 28
        pages = -(-(at + 8) // 256) * 256
        builder.mapped_header(at, pages).put("bitmap", b"\1" + bytes(7))
        builder.put("padding", bytes(pages - builder.offset)).put("pages", b"x" * 256)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file(), seconds=40)
    assert report["verdict"] == "loads"
    assert report["told"] <= {"L14", "D01", "D10", "S16", "R22"}


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


@needs_proc
@pytest.mark.parametrize("bitmap", [0, 1 << 63, (1 << 64) - 8, (1 << 64) - 1, 1 << 40])
@pytest.mark.parametrize("pages", [0, 1 << 63, (1 << 64) - PAGE, (1 << 64) - 1, 1 << 40])
def test_offsets_that_wrap(bitmap: int, pages: int, tmp_path: Path) -> None:
    builder = begun().start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, PAGE)
    entry(builder, b"pc.ram", PAGE)
    builder.mapped_header(bitmap, pages).put("pages", page(1, PAGE) * 3)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file())
    assert report["verdict"] in ("refuses", "crashes")


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


@needs_proc
def test_thirty_thousand_devices_of_other_sizes(tmp_path: Path) -> None:
    count = 30_000
    builder = begun(page_size=256).mapped_ram(Block(b"a", page(1, 256)))
    for number in range(count):
        builder.full(number + 3, b"dev", b"\xee\xee", instance_id=number)
    described = (device("dev", 5, instance_id=number + 7) for number in range(count))
    report = crafted(tmp_path, builder.described(*described).file(), seconds=60)
    assert {"D06", "D07"} <= report["told"]


@needs_proc
def test_commands_lists_and_footers_without_end(tmp_path: Path) -> None:
    head = begun(page_size=256).mapped_ram(Block(b"a", page(1, 256))).file()
    report = crafted(tmp_path, head + b"\x08\0\2\0\1x" * 30_000 + b"\0", seconds=60)
    assert report["unlisted"]["S07"] == 30_000 - FINDINGS_CEILING
    mem_size = struct.pack(">Q", RamSaveFlag.MEM_SIZE)
    builder = begun().start(2, b"ram").put("lists", mem_size * 30_000)
    report = crafted(tmp_path, builder.eos().footer(2).eof().file(), seconds=60)
    assert report["unlisted"]["R03"] == 30_000 - 1 - FINDINGS_CEILING


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


# -- size -----------------------------------------------------------------------------------------

TIB = 1 << 40


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
