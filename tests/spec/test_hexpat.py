"""spec/fixedram.hexpat finds in the samples what this library finds, and survives the rest."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, SAMPLES, unpack
from fixedram_fmt.image import Image
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.libvirt import SaveFormat
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.records import PageRun
from specification.vectors import write_vector

from .hexpat import PatternSyntaxError, parse
from .hexpat_facts import (
    HEXPAT,
    PROGRAM,
    blocks,
    head_facts,
    item_facts,
    owned,
    page_facts,
    present_pages,
    read,
)
from .hexpat_streams import (
    ADDRESSES,
    EOS,
    HEADER,
    MAPPED,
    PAGE_NAME,
    RARE,
    WORD,
    section,
    small_image,
)
from .test_kaitai import ENTRIES, HEAD, ITEMS, UNPLACED, bodies, facts, walked


def vectors(name: str) -> dict[str, Any]:
    document = json.loads((ROOT / "spec" / "vectors" / f"{name}.json").read_text())
    return {vector["name"]: vector for vector in document["vectors"]}


SOUND = vectors("sound")
VECTORS = SOUND | vectors("broken")


def sample(name: str, folder: Path) -> Path:
    packed = SAMPLES / Path(ENTRIES[name]["file"]).name
    return unpack(packed, folder / packed.stem)


def settings(image: Image) -> dict[str, int]:
    container = image.container
    return {"stream_offset": 0 if container.kind == "libvirt" else container.stream_offset}


# -- against this library -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_the_pattern_finds_the_same_fields_and_leaves_no_byte_out(
    name: str, unpacked_dir: Path
) -> None:
    path = sample(name, unpacked_dir)
    with Image.open(path, search=True) as image:
        found, machine = read(path, **settings(image))
        assert owned(found) == [(found.offset, path.stat().st_size)]
        stream, data = found["stream"], path.read_bytes()
        assert stream.offset == image.container.stream_offset
        assert list(head_facts(stream, data)) == facts(image, HEAD, placed=True)
        ours = facts(image, ITEMS | UNPLACED, placed=True)
        facts_ = list(item_facts(stream, data))
        if image.stopped:
            assert machine.warnings
            facts_ = facts_[: len(ours)]
        else:
            assert machine.warnings == []
            assert [fact for fact in facts_ if fact[0] == "body"] == bodies(image)
        assert [fact for fact in facts_ if fact[0] != "body"] == ours


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legacy-stream", "legacy-xbzrle", "libvirt-fx-raw"])
def test_the_first_pages_of_ordinary_streams_are_where_they_are(
    name: str, unpacked_dir: Path
) -> None:
    path = sample(name, unpacked_dir)
    shown = page_facts(read(path)[0])
    ours: dict[tuple[str, int], set[Any]] = {}
    with Image.open(path) as image:
        for record in walked(image):
            run = record.value
            if not isinstance(run, PageRun):
                continue
            for number in range(run.pages):
                key = text(run.block), run.address + number * image.target_page_size
                place = run.data_offset + number * run.stride
                ours.setdefault(key, set()).add(run.fill if run.fill is not None else place)
    assert shown
    assert all(shown[key] in ours[key] for key in shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc-live", "pc-once", "aarch64-virt", "avr-uno"])
def test_bitmaps_and_runs_of_present_pages_are_the_same(name: str, unpacked_dir: Path) -> None:
    path = sample(name, unpacked_dir)
    with Image.open(path) as image:
        for block, ours in zip(blocks(read(path)[0]), image.blocks, strict=True):
            assert (block["bitmap"].offset, block["bitmap"].size) == (
                ours.bitmap_offset,
                ours.bitmap_length(),
            )
            assert (block["all_pages"].offset, block["all_pages"].size) == (
                ours.pages_offset,
                ours.used_length,
            )
            bitmap = image.bitmap(ours)
            assert bitmap is not None
            present = [run for run in bitmap.runs() if run.present]
            shown = block["present"].entries
            assert [(run["first_page"].value, run["stop_page"].value) for run in shown] == [
                (run.start, run.stop) for run in present[:256]
            ]
            for run in shown:
                first = run["first_page"].value * ours.page_size
                assert run["pages"].offset == ours.pages_offset + first


# -- against the vectors --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_the_pattern_reads_the_sound_vectors(name: str, tmp_path: Path) -> None:
    vector = VECTORS[name]
    expected = vector["expected"]
    path = write_vector(vector, tmp_path / "image")
    start = vector["stream_offset"] or 0
    found, machine = read(
        path, stream_offset=start, big_endian_host=int(expected["byte_order"] == "big")
    )
    assert machine.warnings == []
    assert found["stream"].offset == expected["stream_offset"]
    assert found["stream"]["configuration"]["name"].value == expected["machine"]
    listed = list(blocks(found))
    assert [block["idstr"].value for block in listed] == [b["name"] for b in expected["blocks"]]
    for block, ours in zip(listed, expected["blocks"], strict=True):
        assert block["used_length"].value == ours["used_length"]
        if not ours["ignored"]:
            assert present_pages(block) == [int(page) for page in ours["pages"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", VECTORS)
def test_the_pattern_ends_without_an_error_on_each_vector(name: str, tmp_path: Path) -> None:
    path = write_vector(VECTORS[name], tmp_path / "image")
    if path.stat().st_size:
        found, machine = read(path, stream_offset=VECTORS[name]["stream_offset"] or 0)
        assert "stream" in found or machine.warnings


# -- hostile and rare -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_that_is_cut_anywhere_has_a_warning_and_no_error(
    tmp_path: Path, unpacked_dir: Path
) -> None:
    whole = sample("avr-uno-11.1", unpacked_dir).read_bytes()
    cut = tmp_path / "cut.img"
    # What the image holds but for padding and pages, and a few places inside those.
    places = [*range(1, 0xB0), 0x100000, 0x107FFF, *range(0x108000, 0x108050), 0x200FFF]
    places += [*range(0x301000, 0x301194, 3), 0x301199, len(whole) - 1]
    for place in places:
        cut.write_bytes(whole[:place])
        found, machine = read(cut)
        assert machine.warnings, hex(place)
        assert owned(found) in ([(0, place)], [(0, place), (0, place)], []), hex(place)


@pytest.mark.slow
def test_no_byte_makes_it_fail(tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    whole = small_image()
    path.write_bytes(whole)
    assert read(path)[1].warnings == []
    for place in (place for place in range(len(whole)) if any(whole[place : place + 8])):
        for value in (0xFF, whole[place] ^ 0x05):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            read(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", RARE)
def test_what_no_sample_holds_is_read_to_its_end_or_warned_of(name: str, tmp_path: Path) -> None:
    data, warning = RARE[name]
    path = tmp_path / "image"
    path.write_bytes(data)
    found, machine = read(path)
    if warning:
        assert any(warning in said for said in machine.warnings)
    else:
        assert machine.warnings == []
        assert "unparsed" not in found["stream"]
        assert ("trailing" in found["stream"]) == ("behind the stream" in name)
        assert owned(found) == [(0, len(data))]


def test_settings_say_what_the_file_does_not(tmp_path: Path) -> None:
    page = bytes(0x2000)
    data = b"prefix" + HEADER + section(1, 0, b"ram", WORD(0x08) + PAGE_NAME + page + EOS) + b"\0"
    path = tmp_path / "image"
    path.write_bytes(data)
    _, machine = read(path, stream_offset=6, default_page_size=0x2000)
    assert machine.warnings == []


@pytest.mark.parametrize("longs", [32, 64])
@pytest.mark.parametrize("order", ["little", "big"])
def test_bitmaps_of_other_hosts_are_read_as_the_settings_say(
    longs: int, order: str, tmp_path: Path
) -> None:
    pages = 70
    present = [0, 1, 31, 32, 33, 64, 69]
    words = bytearray()
    for start in range(0, pages, longs):
        word = sum(1 << page - start for page in present if start <= page < start + longs)
        words += word.to_bytes(longs // 8, "big" if order == "big" else "little")
    start = len(HEADER + MAPPED) + len(section(1, 0, b"ram", b"")) - 5
    listed = WORD(pages << 8 | 4) + b"\x03ram" + WORD(pages << 8)
    bitmap_offset = start + len(listed) + 28
    header = struct.pack(ADDRESSES, 1, 256, bitmap_offset, bitmap_offset + 64)
    body = listed + header + bytes(words).ljust(64, b"\0") + bytes(pages << 8) + EOS
    path = tmp_path / "image"
    path.write_bytes(HEADER + MAPPED + section(1, 0, b"ram", body) + b"\0")
    found, machine = read(
        path, big_endian_host=int(order == "big"), host_has_32_bit_longs=int(longs == 32)
    )
    (block,) = blocks(found)
    assert machine.warnings == []
    assert present_pages(block) == present
    assert block["bitmap"].size == len(words)


@pytest.mark.slow
def test_every_statement_of_the_pattern_has_been_run(tmp_path: Path, unpacked_dir: Path) -> None:
    """Names and values are looked at when they are used: what never runs was never checked."""
    reached = set()
    for name in ("avr-uno", "pc-ignore-shared-11.1", "pc-ignore-shared-none", "legacy-xbzrle",
                 "libvirt-fx-sparse", "microvm-uuid", "riscv64-virt", "aarch64-virt"):  # fmt: skip
        with Image.open(sample(name, unpacked_dir)) as image:
            reached |= read(sample(name, unpacked_dir), **settings(image))[1].reached
    for number, (data, _) in enumerate(RARE.values()):
        path = tmp_path / str(number)
        path.write_bytes(data)
        inputs = {"default_page_size": 4096, "host_has_32_bit_longs": number & 1,
                  "big_endian_host": number & 1}  # fmt: skip
        reached |= read(path, **inputs)[1].reached
    big = next(name for name in SOUND if VECTORS[name]["expected"]["byte_order"] == "big")
    path = write_vector(VECTORS[big], tmp_path / "big")
    reached |= read(path, big_endian_host=1, host_has_32_bit_longs=1)[1].reached
    reached |= read(path, stream_offset=path.stat().st_size)[1].reached
    missed = sorted(node.line for node in PROGRAM.statements if node not in reached)
    assert not missed, missed


# -- the text -------------------------------------------------------------------------------------


def test_values_are_those_of_the_library() -> None:
    for name, enum in (
        ("SectionType", SectionType),
        ("MigCmd", MigCmd),
        ("SaveFormat", SaveFormat),
    ):
        assert PROGRAM.enums[name].entries == {entry.name: entry.value for entry in enum}


def test_it_has_a_body_for_every_section_that_is_framed_by_hand() -> None:
    source = HEXPAT.read_text()
    assert all(f'"{idstr.decode()}"' in source for idstr in FRAMINGS)


def test_it_says_for_which_files_it_is() -> None:
    assert PROGRAM.pragmas["magic"] == "[ 51 45 56 4D ] @ 0x00"
    assert PROGRAM.pragmas["endian"] == "big"
    assert source_is_plain(HEXPAT.read_text())


def source_is_plain(source: str) -> bool:
    return source.isascii() and "\t" not in source and source.endswith("\n")


@pytest.mark.parametrize(
    "source",
    [
        "struct A { u8 x }",
        "struct A { u8 x; }",
        "struct A { B x; };",
        "struct A { u8 from; };",
        "struct A { u8 x [[blink]]; };",
        'struct A { str x = ""; };',
        "struct A { u8 x[while($ < 3)]; };",
        "struct A { u8 x = 08; };",
        "fn f() { break; };",
        "fn f(u8 x) { x += 1; };",
        "fn f(u8 x) { return x ? 1 : 2; };",
        "fn f(u8 x) { return -1; };",
        "u8 x;",
        "#pragma endain big",
        'u8 x = "\\n";',
    ],
)
def test_what_the_pattern_does_not_need_is_refused(source: str) -> None:
    with pytest.raises(PatternSyntaxError):
        parse(source)
