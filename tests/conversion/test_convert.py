"""convert: the same memory and devices at fixed offsets and in an ordinary stream."""

from __future__ import annotations

import bz2
import filecmp
import gzip
import json
import lzma
from functools import partial
from typing import TYPE_CHECKING

import pytest

from conftest import (
    SHARED,
    absent,
    run_cli,
    shared_entries,
    unpack,
    zstd_module,
)
from fixedram_fmt import Image, Source
from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.conversion import MAPPED_RAM, STREAM
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.validation import Severity, validate
from support.conversions import (
    ENTRIES,
    MIB,
    PAGE_FLAG,
    convert_file,
    converted,
    devices,
    meaning,
    sample,
    sha,
    whole_stream,
)
from support.memory import block_memory
from support.synthetic import PAGE, image_of, made, ordinary, ram_word

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SHARED_ENTRIES = {entry["name"]: entry for entry in shared_entries()}
#: Images whose memory and state are whole.
WHOLE = [name for name, entry in ENTRIES.items() if entry["migration"] == "completed"]
ORDINARY = ["legacy-stream", "legacy-xbzrle", "libvirt-fx-raw"]


# -- real images -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_real_image_means_the_same_there_and_back(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    _, location = sample(name, unpacked_dir)
    first, back = tmp_path / "first", tmp_path / "back"
    ways = ["mapped-ram", "stream"] if name in ORDINARY else ["stream", "mapped-ram"]
    for before, after, way in ((location, first, ways[0]), (first, back, ways[1])):
        convert_file(before, after, way)
        with Image.open(after) as image:
            report = validate(image)
        severities = {finding.severity for finding in report.findings}
        assert severities <= {Severity.NOTE} or "ignore" in name, report
    with Image.open(location) as image, Image.open(first) as one, Image.open(back) as two:
        if "ignore-shared-11" not in name:
            expected = meaning(image)
            assert meaning(one) == expected
            assert meaning(two) == expected
        assert devices(one) == devices(two) == devices(image)
        assert one.complete
        assert two.complete
        assert one.capabilities == [word for word in image.capabilities if word != "mapped-ram"] + [
            "mapped-ram"
        ] * (ways[0] == "mapped-ram")
        assert two.capabilities == image.capabilities
        for made_now in (one, two):
            kinds = {record.kind for record in made_now.records()}
            mapped = made_now.dialect != "ordinary"
            assert not kinds & ({Kind.PAGE, Kind.ZERO, Kind.XBZRLE, Kind.MULTIFD_FLUSH}
                                if mapped else {Kind.MAPPED_RAM_HEADER})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legacy-stream-10.0", "legacy-stream-11.1"])
def test_shared_stream_becomes_what_qemu_dumped(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    if name not in SHARED_ENTRIES:
        absent(name)
    path = unpack(SHARED / SHARED_ENTRIES[name]["file"], unpacked_dir / f"shared-{name}")
    out = tmp_path / "out"
    assert run_cli("convert", path, "-o", out).code == 0
    with Image.open(out) as image:
        memory = block_memory(image, image.blocks[0])
        for part in SHARED_ENTRIES[name]["guest_physical_sha256"]:
            assert sha(memory[part["start"] : part["end"]]) == part["sha256"]
    assert out.stat().st_blocks * 512 < out.stat().st_size / 4, "holes"


@pytest.mark.slow
def test_layout_is_qemus_and_absent_pages_are_holes(unpacked_dir: Path, tmp_path: Path) -> None:
    """libvirt-fx-sparse and -raw are one machine: all offsets are the same."""
    _, raw = sample("libvirt-fx-raw", unpacked_dir)
    _, sparse = sample("libvirt-fx-sparse", unpacked_dir)
    made_now = run_cli("convert", raw, "-o", tmp_path / "out", "--json").json
    theirs = run_cli("info", sparse, "--json").json
    for ours, other in zip(made_now["blocks"], theirs["blocks"], strict=True):
        for key in ("name", "used_length", "page_size", "bitmap_offset", "pages_offset"):
            assert ours[key] == other[key]
    assert made_now == run_cli("info", tmp_path / "out", "--json").json


@pytest.mark.slow
def test_libvirt_header_changes_its_format_alone(unpacked_dir: Path, tmp_path: Path) -> None:
    schema = LIBVIRT_HEADER["little"]
    heads = {}
    for name, way, form in (
        ("libvirt-fx-raw", "mapped-ram", 6),
        ("libvirt-fx-sparse", "stream", 0),
    ):
        path, _ = sample(name, unpacked_dir)
        out = tmp_path / name
        assert run_cli("convert", path, "-o", out, "--to", way).code == 0
        before, after = path.read_bytes(), out.read_bytes()
        old, new = schema.parse(before)[0], schema.parse(after)[0]
        assert new.format == form
        stop = schema.size + old.data_len
        assert after[:stop] == before[: 16 + 12] + bytes([form, 0, 0, 0]) + before[32:stop]
        heads[name] = old, new
        bare = tmp_path / "bare"
        words = ("convert", path, "-o", bare, "--to", way)
        assert run_cli(*words, "--container", "none", "--force").code == 0
        assert bare.read_bytes()[:4] == b"QEVM"
        with Image.open(bare) as one, Image.open(out) as two:
            assert meaning(one) == meaning(two)
    assert len(heads) == 2


def test_big_endian_host_of_a_libvirt_save_gets_its_bitmaps() -> None:
    raw = converted(made(container={"kind": "libvirt"}, byte_order="big"), STREAM)
    out = converted(raw)
    assert out[:92] == LIBVIRT_HEADER["big"].build(LIBVIRT_HEADER["big"].parse(out)[0])
    source, container = locate_stream(Source.from_buffer(out))
    image = Image(source, container)
    block = image.blocks[0]
    bits = source.read_exact(block.bitmap_offset, 8)
    assert bits[:7] == bytes(7), "one long, most significant byte first"
    assert bits[7]


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": partial(lzma.compress, preset=0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("packing", [*COMPRESSIONS, "zstd"])
def test_compressed_stream_is_undone_bare_and_in_libvirts_header(
    packing: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    pack = zstd_module().compress if packing == "zstd" else COMPRESSIONS[packing]
    path, _ = sample("libvirt-fx-raw", unpacked_dir)
    raw = path.read_bytes()
    header, length = LIBVIRT_HEADER["little"].parse(raw)
    start = length + header.data_len
    form = {"gzip": 1, "bzip2": 2, "xz": 3, "zstd": 5}[packing]
    expected = tmp_path / "expected"
    assert run_cli("convert", path, "-o", expected).code == 0
    packed = tmp_path / "packed"
    packed.write_bytes(raw[:28] + bytes([form, 0, 0, 0]) + raw[32:start] + pack(raw[start:]))
    assert run_cli("convert", packed, "-o", tmp_path / "out").code == 0
    assert filecmp.cmp(expected, tmp_path / "out", shallow=False)
    whole = tmp_path / "whole"
    whole.write_bytes(pack(raw))
    assert run_cli("convert", whole, "-o", tmp_path / "out", "--force").code == 0
    assert filecmp.cmp(expected, tmp_path / "out", shallow=False)
    packed.write_bytes(packed.read_bytes()[:-5000])
    cut = run_cli("convert", packed, "-o", tmp_path / "none")
    assert cut.code == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_stream_comes_through_a_pipe(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = sample("legacy-stream", unpacked_dir)
    assert run_cli("convert", path, "-o", tmp_path / "file").code == 0
    piped = run_cli("convert", "-", "-o", tmp_path / "pipe", stdin=path.read_bytes())
    assert piped.code == 0, piped.err
    assert filecmp.cmp(tmp_path / "file", tmp_path / "pipe", shallow=False)


@pytest.mark.slow
def test_file_may_become_its_own_conversion(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = sample("legacy-stream", unpacked_dir)
    own = tmp_path / "own"
    own.write_bytes(path.read_bytes())
    assert run_cli("convert", path, "-o", tmp_path / "other").code == 0
    assert run_cli("convert", own, "-o", own, "--force").code == 0
    assert filecmp.cmp(own, tmp_path / "other", shallow=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), [("libvirt-fx-raw", "mapped-ram"), ("pc-live", "stream")])
def test_plan_is_the_layout_and_writes_nothing(
    name: str, way: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    path, _ = sample(name, unpacked_dir)
    out = tmp_path / "out"
    plan = run_cli("convert", path, "-o", out, "--to", way, "--plan", "--json").json["pieces"]
    assert not out.exists()
    at = 0
    for piece in plan:
        assert piece["offset"] == at
        at += piece["length"]
    assert run_cli("convert", path, "-o", out, "--to", way).code == 0
    assert out.stat().st_size == at
    assert run_cli("convert", path, "--to", way, "--plan").out.count("\n") == len(plan)


# -- dialects, capabilities ------------------------------------------------------------------------


def test_review_version_4_becomes_a_stream_and_the_merged_dialect() -> None:
    old = made(dialect="fixed-ram-v4", multifd=True, rounds=2)
    image = image_of(old)
    assert Kind.MULTIFD_FLUSH in {record.kind for record in image.records()}
    expected = meaning(image)
    for way in (STREAM, MAPPED_RAM):
        new = image_of(converted(old, way))
        assert meaning(new) == expected
        assert new.dialect == {STREAM: "ordinary", MAPPED_RAM: "mapped-ram"}[way]
        assert new.capabilities == [[], ["mapped-ram"]][way == MAPPED_RAM]
        assert Kind.MULTIFD_FLUSH not in {record.kind for record in new.records()}


def test_shared_memory_stays_out_of_the_image_both_ways() -> None:
    mapped = made(align=MIB, blocks=[
        {"name": "shared", "size": 8 * PAGE, "ignored": True, "region_address": 4 * PAGE},
        {"name": "own", "size": 4 * PAGE, "pattern": "text"},
    ])  # fmt: skip
    raw = converted(mapped, STREAM)
    image = image_of(raw)
    assert image.capabilities == ["x-ignore-shared"]
    assert [block.region_address for block in image.blocks] == [4 * PAGE, 0]
    again = image_of(converted(raw))
    assert [block.ignored for block in again.blocks] == [True, False]
    assert converted(raw) == mapped


def test_huge_page_sizes_of_postcopy_stay_in_the_list() -> None:
    entry = ram.BLOCK_ENTRY.build(ram.BlockEntry(b"pc.ram", 64 * PAGE))
    size = ram.POSTCOPY_PAGE_SIZE.build(ram.PostcopyPageSize(2 * MIB))
    records = ram_word(0, PAGE_FLAG) + b"\6pc.ram" + b"\7" * PAGE
    raw = ordinary(records).replace(entry, entry + size)
    mapped = converted(raw)
    image = image_of(mapped)
    assert image.complete
    assert image.blocks[0].postcopy_page_size == 2 * MIB
    back = image_of(converted(mapped, STREAM))
    assert back.blocks[0].postcopy_page_size == 2 * MIB
    assert block_memory(back, back.blocks[0])[:PAGE] == b"\7" * PAGE


@pytest.mark.parametrize("text", [
    b"{", b"{}", b'{"configuration": {}', b'{"configuration": []}', b"[" * 100000,
    b'{"configuration": ' + b'{"a":' * 5000, b'{"configuration": {"subsections": 5}}',
    b'{"configuration": {"subsections": [5]}}', b'{"configuration": {"a": "\xff"}}', b"",
])  # fmt: skip
def test_description_that_is_none_stays_as_it_is(text: bytes) -> None:
    described = stream.VMDESCRIPTION.build(stream.Vmdescription(6, len(text))) + text
    raw = whole_stream([b""]) + described + b"trailing"
    assert converted(raw).endswith(described + b"trailing")


def test_description_keeps_all_but_its_capabilities() -> None:
    text = json.dumps({
        "configuration": {"vmsd_name": "configuration", "version": 1, "fields": [], "subsections": [
            {"vmsd_name": "configuration/target-page-bits", "version": 1, "fields": []},
            {"vmsd_name": "configuration/uuid", "version": 1, "fields": []}]},
        "page_size": 4096, "devices": [{"name": "\u00e9\u2028"}]})  # fmt: skip
    described = stream.VMDESCRIPTION.build(stream.Vmdescription(6, len(text))) + text.encode()
    out = converted(whole_stream([b""]) + described)
    document = json.loads(out[out.rindex(b'{"configuration"') :])
    names = [entry["vmsd_name"] for entry in document["configuration"]["subsections"]]
    assert names == [
        f"configuration/{name}" for name in ("target-page-bits", "capabilities", "uuid")
    ]
    assert converted(out, STREAM).endswith(described)
