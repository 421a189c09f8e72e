"""Files made to cost much: our error or a result, in little time and memory.

Damage of all other kinds is in test_hostile_files.py.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fixedram_fmt.schema.ram import RamSaveFlag
from support.builders import Block, StreamBuilder, device, page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.untraced

#: Generous: what is guarded against takes minutes, and CI machines are shared.
SECONDS = 10.0
MEBIBYTES = 150

_LOOK = r"""
import json, re, sys, time
from pathlib import Path
from fixedram_fmt import FixedRamError, Image
from fixedram_fmt.tiling import leaves
from fixedram_fmt.summary import summarize
import fixedram_fmt.stream.walker, numpy
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
    facts["parts"] = sum(section.parts for section in image.sections)
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


@pytest.mark.slow
def test_description_of_four_gibibytes_is_not_believed(tmp_path: Path) -> None:
    builder = begun().mapped_ram(Block(b"a", page(1, 256))).eof()
    facts = crafted(tmp_path, builder.file() + b"\x06\xff\xff\xff\xff{}")
    assert facts["opened"]
    assert not facts["complete"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_description_nested_a_hundred_thousand_deep_is_noted(tmp_path: Path, kind: str) -> None:
    opening = b"[" if kind == "[]" else b'{"a":'
    closing = kind[1].encode()
    raw = b'{"devices":[],"x":' + opening * 100_000 + b"0" + closing * 100_000 + b"}"
    facts = crafted(tmp_path, begun().full(3, b"timer", b"1234").eof().vmdesc(raw).file())
    assert facts["complete"]
    assert facts["notes"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("filler", [b"[]", b'""', b"{}", b"1.5", b'{"a":0}'])
def test_description_of_millions_of_small_values_takes_bounded_memory(
    tmp_path: Path, filler: bytes
) -> None:
    count = (24 << 20) // (len(filler) + 1)
    raw = b'{"devices":[],"x":[' + b",".join([filler] * count) + b"]}"
    facts = crafted(tmp_path, begun().full(3, b"timer", b"1234").eof().vmdesc(raw).file())
    assert facts["opened"]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_empty_parts_cost_the_same_each(tmp_path: Path) -> None:
    """A save of a day has some 800,000 of them."""
    builder = begun().mapped_ram(Block(b"a", page(1, 256)), parts=0)
    part = b"\x02" + struct.pack(">IQ", 2, RamSaveFlag.EOS) + b"\x7e" + struct.pack(">I", 2)
    facts = crafted(tmp_path, builder.file() + part * 100_000 + b"\0", seconds=30, only_open=True)
    assert facts["complete"]
    assert facts["parts"] == 100_001


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("count", [60_000, 1 << 20, (1 << 32) - 1])
def test_capabilities_without_end_are_refused(tmp_path: Path, count: int) -> None:
    builder = StreamBuilder().header().configuration(b"pc", None)
    builder.subsection(b"configuration/capabilities")
    raw = builder.file() + struct.pack(">I", count) + b"\x01c" * 70_000
    assert not crafted(tmp_path, raw)["complete"]


@pytest.mark.slow
def test_footers_without_number_cost_little(tmp_path: Path) -> None:
    """3 MiB of this section's footer, each followed by what could be EOF."""
    builder = begun().start(3, b"timer", full=True, version=1)
    builder.put("device", b"\x7e\0\0\0\x03\0\xee" * (3 << 17)).footer(3).command(11).eof()
    facts = crafted(tmp_path, builder.file())
    assert facts["complete"]


@pytest.mark.slow
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
