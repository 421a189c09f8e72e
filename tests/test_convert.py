"""convert: the same memory and devices at fixed offsets and in an ordinary stream."""

from __future__ import annotations

import bz2
import errno
import filecmp
import gzip
import hashlib
import json
import lzma
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import (
    SAMPLES,
    SHARED,
    absent,
    run_cli,
    sample_entries,
    shared_entries,
    unpack,
    zstd_module,
)
from fixedram_fmt import Image, Source
from fixedram_fmt.build.output import BufferOutput, Output, OutputError, replacing
from fixedram_fmt.container import locate_stream
from fixedram_fmt.convert import MAPPED_RAM, STREAM, Conversion, ConvertOptions, Located, received
from fixedram_fmt.errors import FixedRamError, FormatError, UnsupportedError
from fixedram_fmt.records import Kind
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.validate import Severity, validate
from memory import block_memory
from synthetic import PAGE, image_of, made, ordinary, ram_word

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENTRIES = {entry["name"]: entry for entry in sample_entries()}
SHARED_ENTRIES = {entry["name"]: entry for entry in shared_entries()}
#: Images whose memory and state are whole.
WHOLE = [name for name, entry in ENTRIES.items() if entry["migration"] == "completed"]
ORDINARY = ["legacy-stream", "legacy-xbzrle", "libvirt-fx-raw"]
MIB = 1 << 20
#: Peak memory beyond a bare interpreter with numpy.
CEILING = 150 * MIB
PAGE_FLAG, ZERO, CONTINUE = RamSaveFlag.PAGE, RamSaveFlag.ZERO, RamSaveFlag.CONTINUE


def sample(name: str, folder: Path) -> tuple[Path, str]:
    """A sample's file, and the location that opens it."""
    entry = ENTRIES[name]
    path = unpack(SAMPLES / entry["file"], folder / f"sample-{name}")
    offset = entry["stream_offset"]
    return path, f"{path}@{offset}" if offset and not name.startswith("libvirt") else str(path)


def converted(raw: bytes, to: str = MAPPED_RAM, **options: Any) -> bytes:
    """What becomes of a file, in memory."""
    source, container = locate_stream(Source.from_buffer(raw))
    with Located(source, container) as located:
        output = BufferOutput()
        size = Conversion(located, ConvertOptions(to=to, **options)).write(output)
    assert size == len(output.data)
    return bytes(output.data)


def convert_file(before: str | Path, after: Path, to: str) -> None:
    with Located.open(before) as located, replacing(after) as output:
        Conversion(located, ConvertOptions(to=to)).write(output)


def devices(image: Image) -> list[tuple[str, int, int, bytes]]:
    return [
        (record.value.idstr, record.length, record.value.instance_id,
         image.source.read_exact(record.offset, record.length))
        for record in image.records()
        if record.kind is Kind.DEVICE
    ]  # fmt: skip


def meaning(image: Image) -> dict[str, Any]:
    """What must not change, by the most naive reading."""
    return {
        "machine": image.machine,
        "uuid": image.uuid,
        "page size": image.target_page_size,
        "memory": {block.name: sha(block_memory(image, block)) for block in image.blocks},
        "sections": [(section.name, section.version_id, section.parts)
                     for section in image.sections],
        "devices": devices(image),
        "devices described": image.vmdesc and image.vmdesc.devices,
    }  # fmt: skip


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- real images ----------------------------------------------------------------------------------


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
        assert run_cli("convert", path, "-o", bare, "--to", way, "--container", "none").code == 0
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
    assert run_cli("convert", whole, "-o", tmp_path / "out").code == 0
    assert filecmp.cmp(expected, tmp_path / "out", shallow=False)
    packed.write_bytes(packed.read_bytes()[:-5000])
    cut = run_cli("convert", packed, "-o", tmp_path / "none")
    assert cut.code == 2
    assert not (tmp_path / "none").exists()


def test_stream_comes_through_a_pipe(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = sample("legacy-stream", unpacked_dir)
    assert run_cli("convert", path, "-o", tmp_path / "file").code == 0
    piped = run_cli("convert", "-", "-o", tmp_path / "pipe", stdin=path.read_bytes())
    assert piped.code == 0, piped.err
    assert filecmp.cmp(tmp_path / "file", tmp_path / "pipe", shallow=False)


def test_file_may_become_its_own_conversion(unpacked_dir: Path, tmp_path: Path) -> None:
    path, _ = sample("legacy-stream", unpacked_dir)
    own = tmp_path / "own"
    own.write_bytes(path.read_bytes())
    assert run_cli("convert", path, "-o", tmp_path / "other").code == 0
    assert run_cli("convert", own, "-o", own).code == 0
    assert filecmp.cmp(own, tmp_path / "other", shallow=False)


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


# -- records against a naive model ----------------------------------------------------------------

NAMES = [b"pc.ram", b"a rom \x1b[2J"]
LENGTHS = [40 * PAGE, 3 * PAGE]


def delta(old: bytes, new: bytes) -> bytes:
    """migration/xbzrle.c: unchanged and changed runs in turn, their lengths as ULEB128."""
    out, at = b"", 0
    while at < len(new):
        start = at
        while at < len(new) and old[at] == new[at]:
            at += 1
        if at == len(new):
            break
        changed = at
        while at < len(new) and old[at] != new[at]:
            at += 1
        out += uleb(changed - start) + uleb(at - changed) + new[changed:at]
    return out


def uleb(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7])


class Guest:
    """A guest that sends records, and keeps what its memory is: the oracle."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.memory = [bytearray(length) for length in LENGTHS]
        self.last: int | None = None

    def head(self, block: int, page: int, flag: RamSaveFlag) -> bytes:
        on = block == self.last and self.random.random() < 0.9
        self.last = block
        name = b"" if on else bytes([len(NAMES[block])]) + NAMES[block]
        return ram_word(page * PAGE, flag, *([CONTINUE] if on else [])) + name

    def records(self, kind: str, block: int, first: int, count: int) -> bytes:
        out = b""
        for page in range(first, min(first + count, LENGTHS[block] // PAGE)):
            held = memoryview(self.memory[block])[page * PAGE : (page + 1) * PAGE]
            if kind == "page":
                held[:] = self.random.randbytes(PAGE)
                out += self.head(block, page, PAGE_FLAG) + bytes(held)
            elif kind in ("zero", "ones"):
                fill = b"\0" if kind == "zero" else b"\1"
                held[:] = fill * PAGE
                out += self.head(block, page, ZERO) + fill
            elif kind == "flush":
                out += ram_word(0, RamSaveFlag.MULTIFD_FLUSH)
            else:
                old = bytes(held)
                for _ in range(self.random.randrange(1, 9)):
                    at = self.random.randrange(PAGE)
                    held[at : at + 200] = self.random.randbytes(len(held[at : at + 200]))
                change = delta(old, bytes(held))
                out += self.head(block, page, RamSaveFlag.XBZRLE)
                out += ram.XBZRLE_PAGE.build(ram.XbzrlePage(1, len(change))) + change
        return out


def whole_stream(parts: list[bytes], capabilities: list[bytes] = []) -> bytes:  # noqa: B006
    """An ordinary stream with two blocks, its records in PARTs, two devices behind them."""
    entries = b"".join(
        ram.BLOCK_ENTRY.build(ram.BlockEntry(name, length)) + (bytes(8) if capabilities else b"")
        for name, length in zip(NAMES, LENGTHS, strict=True)
    )
    eos = ram_word(0, RamSaveFlag.EOS)
    foot = stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 1))
    raw = stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3))
    raw += stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc"))
    if capabilities:
        raw += stream.SUBSECTION.build(stream.Subsection(5, b"configuration/capabilities", 1))
        raw += stream.CAPABILITIES.build(stream.Capabilities(len(capabilities)))
        raw += b"".join(stream.CAPABILITY.build(stream.Capability(word)) for word in capabilities)
    raw += stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 1, b"ram", 0, 4))
    raw += ram_word(sum(LENGTHS), RamSaveFlag.MEM_SIZE) + entries + eos + foot
    for number, records in enumerate(parts):
        kind = SectionType.SECTION_END if number + 1 == len(parts) else SectionType.SECTION_PART
        raw += stream.SECTION_PART.build(stream.SectionPart(kind, 1)) + records + eos + foot
    for number in (2, 3):
        header = stream.SectionHeader(SectionType.SECTION_FULL, number, b"timer", number, 2)
        raw += stream.SECTION.build(header) + bytes(range(9))
        raw += stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, number))
    return raw + stream.EOF.build(stream.Eof(SectionType.EOF))


ACTS = st.tuples(
    st.sampled_from(["page", "page", "zero", "ones", "delta", "flush"]),
    st.integers(0, 1),
    st.integers(0, 39),
    st.one_of(st.just(1), st.integers(1, 30)),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.lists(ACTS, max_size=8), min_size=1, max_size=5))
def test_records_add_up_to_the_guests_memory(
    seed: int, rounds: list[list[tuple[str, int, int, int]]]
) -> None:
    guest = Guest(seed)
    parts = [b"".join(guest.records(*act) for act in acts) for acts in rounds]
    mapped = converted(whole_stream(parts))
    image = image_of(mapped)
    assert image.complete
    assert [block_memory(image, block) for block in image.blocks] == guest.memory
    assert len(devices(image)) == 2
    for block in image.blocks:
        region = image.source.read_exact(block.pages_offset, block.used_length)
        assert region == block_memory(image, block), "no old memory in pages that are zero now"
    again = image_of(converted(mapped, STREAM))
    assert [block_memory(again, block) for block in again.blocks] == guest.memory
    assert devices(again) == devices(image)
    assert image_of(converted(converted(mapped, STREAM))).source.size == len(mapped)


def test_presence_of_a_very_large_guest_is_kept_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(6)
    acts = [("page", 0, 1, 20), ("zero", 0, 5, 9), ("page", 1, 0, 3), ("zero", 1, 1, 1)]
    raw = whole_stream([b"".join(guest.records(*act) for act in acts)])
    expected = converted(raw)
    monkeypatch.setattr(received, "_IN_MEMORY", 0)
    monkeypatch.setattr(received, "_RESIDENT", 3)
    assert converted(raw) == expected
    assert block_memory(image_of(expected), image_of(expected).blocks[0]) == guest.memory[0]

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="TMPDIR"):
        converted(raw)


@pytest.mark.parametrize("size", [256, 1024, 8192, 65536])
def test_page_sizes_of_all_targets(size: int) -> None:
    mapped = made(page_size=size, target_page_bits=True, align=65536, blocks=[
        {"name": "ram", "size": size * 300, "pattern": "random", "density": 0.4}])  # fmt: skip
    raw = converted(mapped, STREAM)
    image, again = image_of(raw), image_of(converted(raw))
    expected = meaning(image_of(mapped))
    assert meaning(image) == expected
    assert meaning(again) == expected
    assert expected["page size"] == size


def test_page_size_is_found_where_nothing_tells_it() -> None:
    pages = b"".join(
        ram_word(page * 8192, PAGE_FLAG, *([CONTINUE] if page else []))
        + (b"" if page else b"\6pc.ram")
        + bytes([page + 1]) * 8192
        for page in range(4)
    )
    image = image_of(converted(ordinary(pages)))
    assert image.blocks[0].page_size == 8192
    assert block_memory(image, image.blocks[0])[: 4 * 8192 : 8192] == b"\1\2\3\4"


def test_every_page_is_sent_once_and_absent_ones_as_zero() -> None:
    """A destination has blocks that are not zero before the load: firmware, tables."""
    image = image_of(converted(made(), STREAM))
    sent: dict[bytes, list[int]] = {}
    for record in image.records():
        if record.kind in (Kind.PAGE, Kind.ZERO):
            first = record.value.address // PAGE
            sent.setdefault(record.value.block, []).extend(range(first, first + record.value.pages))
    assert {name: sorted(pages) for name, pages in sent.items()} == {
        block.idstr: list(range(block.pages_total)) for block in image.blocks
    }


@pytest.mark.parametrize("count", [1, 7, 1023, 1025, 5000])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 0.97, 1.0])
def test_any_mix_of_present_and_absent_pages(count: int, density: float) -> None:
    mapped = made(align=MIB, blocks=[{"name": "ram", "size": count * PAGE, "pattern": "random",
                           "density": density}])  # fmt: skip
    raw = converted(mapped, STREAM)
    assert meaning(image_of(raw)) == meaning(image_of(mapped))
    assert converted(raw) == mapped


# -- dialects, capabilities -----------------------------------------------------------------------


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


# -- refusals -------------------------------------------------------------------------------------

FIRST = ram_word(0, PAGE_FLAG) + b"\6pc.ram" + b"\1" * PAGE


@pytest.mark.parametrize(("records", "message"), [
    (ram_word(0, RamSaveFlag.HOOK), "RDMA"),
    (ram_word(0, RamSaveFlag.COMPRESS_PAGE) + b"\6pc.ram" + bytes(4), "compressed pages"),
    (ram_word(0, RamSaveFlag.FULL), "0.11"),
    (FIRST + ram_word(PAGE, PAGE_FLAG, ZERO, CONTINUE), "no RAM record"),
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
            Conversion(Located(source, container)).write(Output(file.fileno(), "broken"))


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


# -- size and speed -------------------------------------------------------------------------------

_PEAK = """
import re, sys
from pathlib import Path
import numpy, fixedram_cli.app, fixedram_fmt.convert
from fixedram_cli.main import main
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
before = peak()
try:
    main()
except SystemExit as end:
    assert not end.code
print(peak() - before)
"""


def peak(*words: str | Path) -> int:
    done = subprocess.run([sys.executable, "-c", _PEAK, *map(str, words)], capture_output=True,
                          text=True, timeout=110, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.limit
def test_memory_does_not_grow_with_the_guest(tmp_path: Path) -> None:
    mapped, raw, back = tmp_path / "mapped", tmp_path / "raw", tmp_path / "back"
    made_now = run_cli("synth", "-o", mapped, "--block", "pc.ram=200M:random",
                       "--block", "sparse=600M:text:0.001")  # fmt: skip
    assert made_now.code == 0
    assert peak("convert", mapped, "-o", raw, "--to", "stream") < CEILING
    assert peak("convert", raw, "-o", back) < CEILING
    assert filecmp.cmp(mapped, back, shallow=False)
    assert back.stat().st_blocks <= mapped.stat().st_blocks + 256


@pytest.mark.limit
def test_alternating_records_are_read_at_speed(tmp_path: Path) -> None:
    """60,000 runs of one page each; looked at one object a record they take many seconds."""
    page = b"\5" * PAGE
    count = 60_000
    records = b"".join(
        ram_word(number * PAGE, PAGE_FLAG if number & 1 else ZERO, *([CONTINUE] if number else []))
        + (b"" if number else b"\6pc.ram")
        + (page if number & 1 else b"\0")
        for number in range(count)
    )
    path = tmp_path / "stream"
    path.write_bytes(ordinary(records, length=count * PAGE))
    start = time.monotonic()
    assert run_cli("convert", path, "-o", tmp_path / "mapped").code == 0
    assert (
        run_cli("convert", tmp_path / "mapped", "-o", tmp_path / "raw", "--to", "stream").code == 0
    )
    assert time.monotonic() - start < 10
    assert filecmp.cmp(path, tmp_path / "raw", shallow=False)
    with Image.open(tmp_path / "mapped") as image:
        bitmap = image.bitmap(image.blocks[0])
        assert bitmap is not None
        assert bitmap.count() == count // 2
