"""Damaged and hostile files: our error or a result, every byte owned, in little time and memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Block, StreamBuilder, device, open_bytes, ordinary_image, page, tiny_image
from fixedram_fmt import FixedRamError
from fixedram_fmt.dump import layout, leaves
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
MEBIBYTES = 150

SOUND = {"mapped": tiny_image(), "ordinary": ordinary_image(1024), "small pages": ordinary_image()}
RAW = {name: builder.file() for name, builder in SOUND.items()}
EACH = pytest.mark.parametrize("name", ["mapped", "ordinary"])
BULKY = {"pages", "padding", "page", "vmdescription_json", "device"}


def look_at(raw: bytes, *, sound: bool = False) -> bool:
    """Open, summarize and dump; False when it is refused.  sound: the paths must be distinct."""
    begin = time.monotonic()
    try:
        image = open_bytes(raw)
    except FixedRamError:
        return False
    with image:
        json.dumps(summarize(image, "raw", cells=7).as_dict())
        for deep in (False, True):
            at = image.container.stream_offset
            paths = []
            for leaf in leaves(image, deep=deep):
                assert leaf.offset == at
                assert leaf.length > 0
                at = leaf.stop
                paths.append(leaf.path + "/")
            assert at == len(raw)
            if sound:
                paths.sort()
                assert not any(after.startswith(before) for before, after in pairwise(paths))
    assert time.monotonic() - begin < SECONDS
    return True


def structures(name: str) -> list[int]:
    """Offsets of the bytes that are neither memory nor text, and the edges of those that are."""
    offsets: set[int] = set()
    for kind, offset, length in SOUND[name].parts:
        whole = kind not in BULKY
        offsets.update(range(offset, offset + (length if whole else min(length, 12))))
    return sorted(offsets)


@pytest.mark.parametrize("name", RAW)
def test_sound_images_are_complete(name: str) -> None:
    assert look_at(RAW[name], sound=True)
    image = open_bytes(RAW[name])
    assert image.complete
    assert not image.notes


@EACH
def test_image_cut_off_anywhere_gives_what_comes_before(name: str) -> None:
    """From the end of the file header on there is always a result."""
    raw = RAW[name]
    for end in sorted({*structures(name), *range(0, len(raw), 97)}):
        assert look_at(raw[:end], sound=True) == (end >= 8), f"cut off at {end}"


@EACH
@pytest.mark.parametrize("quarter", range(4))
def test_any_byte_of_a_structure_may_have_any_value(name: str, quarter: int) -> None:
    raw = RAW[name]
    for offset in structures(name)[quarter::4]:
        byte = raw[offset]
        for value in {0, 1, 0x7F, 0x80, 0xFF, byte ^ 1} - {byte}:
            look_at(raw[:offset] + bytes([value]) + raw[offset + 1 :])


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(sorted(RAW)),
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 12), st.binary(max_size=12)),
        min_size=1,
        max_size=6,
    ),
)
def test_any_bytes_may_be_replaced_added_or_removed(
    name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    raw = bytearray(RAW[name])
    for at, removed, added in changes:
        at %= len(raw)
        raw[at : at + removed] = added
    look_at(bytes(raw))


@EACH
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_pieces_of_the_stream_may_come_in_any_order(name: str, data: st.DataObject) -> None:
    """Structures that are sound by themselves, left out, repeated and mixed."""
    raw = RAW[name]
    pieces = [raw[offset : offset + length] for _, offset, length in SOUND[name].parts]
    chosen = data.draw(st.lists(st.sampled_from(pieces), max_size=15))
    look_at(raw[:8] + b"".join(chosen))


@EACH
def test_any_number_may_be_at_any_limit(name: str) -> None:
    raw = RAW[name]
    places = [
        (leaf.offset + span.offset, span.length)
        for image in [open_bytes(raw)]
        for leaf in leaves(image)
        for span in layout(image, leaf)
        if isinstance(span.value, int)
    ]
    assert len(places) > 20
    for offset, length in places:
        top = 1 << 8 * length
        for number in {0, 1, top // 2 - 1, top // 2, top - 1, top - 256, top - 4096, 1 << 40, 4096}:
            if 0 <= number < top:
                new = number.to_bytes(length, "big")
                look_at(raw[:offset] + new + raw[offset + length :])


# -- crafted files, each in a process of its own --------------------------------------------------

_LOOK = r"""
import json, re, sys, time
from pathlib import Path
from fixedram_fmt import FixedRamError, Image
from fixedram_fmt.dump import leaves
from fixedram_fmt.summary import summarize
import fixedram_fmt.stream, numpy
# not ru_maxrss, which a process inherits from its parent
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
base, facts = peak(), {"opened": False, "tiled": [], "seconds": {}}
def timed(name, act):
    begin = time.monotonic()
    result = act()
    facts["seconds"][name] = round(time.monotonic() - begin, 2)
    return result
def tile(image, deep):
    at = image.container.stream_offset
    for leaf in leaves(image, deep=deep):
        if leaf.offset != at or leaf.length <= 0:
            return False
        at = leaf.stop
    return at == image.source.size
try:
    image = timed("open", lambda: Image.open(sys.argv[1]))
    facts["opened"] = True
    facts["complete"] = image.complete
    facts["stopped"] = str(image.stopped or "")
    facts["notes"] = len(image.notes)
    if sys.argv[2] == "open":
        raise FixedRamError("that is all")
    timed("summarize", lambda: summarize(image, "x"))
    for deep in (False, True):
        facts["tiled"].append(timed(f"leaves, deep={deep}", lambda: tile(image, deep)))
except FixedRamError as error:
    facts["error"] = f"{type(error).__name__}: {error}"
facts["mebibytes"] = round(peak() - base)
print(json.dumps(facts))
"""


def crafted(
    tmp_path: Path, raw: bytes, *, seconds: float = SECONDS, only_open: bool = False
) -> dict[str, Any]:
    """What a fresh process says of the file; its time and memory are within bounds."""
    path = tmp_path / "crafted"
    path.write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, path, "open" if only_open else "all"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["mebibytes"] < MEBIBYTES, facts
    assert max(facts["seconds"].values()) < seconds, facts
    if facts["opened"] and "error" not in facts:
        assert facts["tiled"] == [True, True], facts
    return facts


def begun() -> StreamBuilder:
    return StreamBuilder().header().configuration()


def test_description_of_four_gibibytes_is_not_believed(tmp_path: Path) -> None:
    builder = begun().mapped_ram(Block(b"a", page(1, 256))).eof()
    facts = crafted(tmp_path, builder.file() + b"\x06\xff\xff\xff\xff{}")
    assert facts["opened"]
    assert not facts["complete"]


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_description_nested_a_hundred_thousand_deep_is_noted(tmp_path: Path, kind: str) -> None:
    opening = b"[" if kind == "[]" else b'{"a":'
    closing = kind[1].encode()
    raw = b'{"devices":[],"x":' + opening * 100_000 + b"0" + closing * 100_000 + b"}"
    facts = crafted(tmp_path, begun().full(3, b"timer", b"1234").eof().vmdesc(raw).file())
    assert facts["complete"]
    assert facts["notes"] == 1


@pytest.mark.parametrize("filler", [b"[]", b'""', b"{}", b"1.5", b'{"a":0}'])
def test_description_of_millions_of_small_values_takes_bounded_memory(
    tmp_path: Path, filler: bytes
) -> None:
    count = (24 << 20) // (len(filler) + 1)
    raw = b'{"devices":[],"x":[' + b",".join([filler] * count) + b"]}"
    facts = crafted(tmp_path, begun().full(3, b"timer", b"1234").eof().vmdesc(raw).file())
    assert facts["opened"]


@pytest.mark.parametrize("copies", [1, 20, 300])
def test_false_descriptions_without_number_cost_little(tmp_path: Path, copies: int) -> None:
    """Each candidate leads to a } at the end of 8 MiB."""
    total = 8 << 20
    head = begun().full(3, b"timer", b"1234").full(4, b"rtc", b"12").eof().file()
    fakes = b"".join(
        b"\x06" + (total - number * 12 - 5).to_bytes(4, "big") + b'{"dev":' for number in
        range(copies)
    )  # fmt: skip
    raw = head + fakes + b" " * (total - len(fakes) - 1) + b"}"
    assert crafted(tmp_path, raw)["complete"]


def test_devices_of_negative_size_do_not_turn_the_walk_back(tmp_path: Path) -> None:
    """`size` is what an old-style entry has; minus the header it would lead to itself."""
    builder = begun()
    at = builder.offset
    builder.start(3, b"timer", full=True, version=1)
    back = at - builder.offset
    builder.put("device", b"12345678").footer(3)
    entry = {"name": "timer", "instance_id": 0, "version": 1, "size": back}
    raw = builder.eof().vmdesc({"devices": [entry] * 10_000}).file()
    facts = crafted(tmp_path, raw)
    assert facts["complete"]
    assert facts["notes"] <= 1


def looping(target: Callable[[int, int, int], int], *, total: int, used: int) -> bytes:
    """A block whose pages "end" at the offset that target picks: section, MEM_SIZE or entry.

    Offsets below used wrap around 2^64.
    """
    builder = StreamBuilder().header().configuration(b"m" * 600)
    section = builder.offset
    builder.start(2, b"ram")
    mem_size = builder.offset
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, total)
    entry = builder.offset
    builder.put("block", b"\x01x" + used.to_bytes(8, "big"))
    stop = target(section, mem_size, entry)
    builder.mapped_header(builder.offset + 28, (stop - used) % (1 << 64))
    builder.put("bitmap", bytes(8)).put("pages", bytes(2000))
    return builder.eos().footer(2).eof().file()


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(lambda section, mem_size, entry: entry, id="entry"),
        pytest.param(lambda section, mem_size, entry: mem_size, id="MEM_SIZE"),
        pytest.param(lambda section, mem_size, entry: section, id="section"),
        pytest.param(lambda section, mem_size, entry: 8, id="configuration"),
        pytest.param(lambda section, mem_size, entry: 0, id="header"),
        pytest.param(lambda section, mem_size, entry: -1, id="before the file"),
        pytest.param(lambda section, mem_size, entry: 1 << 63, id="2^63"),
    ],
)
@pytest.mark.parametrize(("used", "total"), [(0, 256), (256, 256), (1, 1 << 60), (256, 1 << 60)])
def test_pages_that_lead_back_into_the_stream_end_the_walk(
    tmp_path: Path, target: Callable[[int, int, int], int], used: int, total: int
) -> None:
    facts = crafted(tmp_path, looping(target, total=total, used=used), seconds=2)
    assert not facts.get("complete")
    assert facts["opened"], facts


def test_empty_parts_cost_the_same_each(tmp_path: Path) -> None:
    """A save of a day has some 800,000 of them."""
    builder = begun().mapped_ram(Block(b"a", page(1, 256)), parts=0)
    part = b"\x02" + struct.pack(">IQ", 2, RamSaveFlag.EOS) + b"\x7e" + struct.pack(">I", 2)
    facts = crafted(tmp_path, builder.file() + part * 50_000 + b"\0", seconds=30, only_open=True)
    assert facts["complete"]


@pytest.mark.parametrize("described", [True, False])
def test_cost_of_many_sections_grows_with_their_number_only(
    tmp_path: Path, *, described: bool
) -> None:
    count = 30_000
    builder = begun()
    for number in range(count):
        builder.full(number, b"d", b"\xee\xee", instance_id=number)
    if described:
        builder.described(*(device("d", 2, instance_id=number) for number in range(count)))
    else:
        builder.eof()
    assert crafted(tmp_path, builder.file(), seconds=30, only_open=True)["complete"]


def test_sections_without_end_are_refused(tmp_path: Path) -> None:
    raw = (
        b"\x04"
        + struct.pack(">IB", number, 1)
        + b"d"
        + bytes(8)
        + b"\x7e"
        + struct.pack(">I", number)
        for number in range(70_000)
    )
    facts = crafted(tmp_path, begun().file() + b"".join(raw), seconds=60, only_open=True)
    assert not facts["complete"]


@pytest.mark.parametrize("count", [60_000, 1 << 20, (1 << 32) - 1])
def test_capabilities_without_end_are_refused(tmp_path: Path, count: int) -> None:
    builder = StreamBuilder().header().configuration(b"pc", None)
    builder.subsection(b"configuration/capabilities")
    raw = builder.file() + struct.pack(">I", count) + b"\x01c" * 70_000
    assert not crafted(tmp_path, raw)["complete"]


def test_footers_without_number_cost_little(tmp_path: Path) -> None:
    """3 MiB of this section's footer, each followed by what could be EOF."""
    builder = begun().start(3, b"timer", full=True, version=1)
    builder.put("device", b"\x7e\0\0\0\x03\0\xee" * (3 << 17)).footer(3).command(11).eof()
    facts = crafted(tmp_path, builder.file())
    assert facts["complete"]


def test_blocks_whose_pages_overlap_cost_little(tmp_path: Path) -> None:
    """1,000 blocks with the same 3 MiB of pages but for 37 bytes, every other page present."""
    blocks, used, memory = 1000, 3 << 20, 4 << 20
    builder = begun().start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, blocks * 8 * used)
    builder.entry(Block(b"m", bytes(256)))
    at = builder.offset + 28
    builder.mapped_header(at, at + memory - 256).put("pages", b"\x55" * memory)
    for _ in range(blocks):
        builder.put("block", b"\x01x" + used.to_bytes(8, "big"))
        builder.mapped_header(at, builder.offset + 28 - used)
    facts = crafted(tmp_path, builder.eos().footer(2).eof().file())
    assert facts["opened"]


NAMES = [
    b"a/b", b"../../etc/passwd", b"\x1b]0;owned\x07", b"<script>", b"[bold red]", b"\n\r\0",
    b"\xff\xfe\xed\xa0\x80", "\u202e".encode(), b"x" * 255, b"/", b"header",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_get_into_paths(name: bytes) -> None:
    builder = begun().mapped_ram(Block(name, page(1, 256) + bytes(256)))
    builder.full(3, name, b"\xee" * 4).eof()
    raw = builder.file()
    # A name of a device must be printable to be told from damage; a block's need not be.
    assert look_at(raw, sound=True)
    with open_bytes(raw) as image:
        assert image.blocks[0].idstr == name
        for leaf in leaves(image):
            assert leaf.path.isascii()
            assert leaf.path.isprintable()
            assert leaf.path.count("/") <= 3
