"""Sections written by hand: what is in them, added up over their parts."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import Image
from fixedram_fmt.results import builtins, dumps
from fixedram_fmt.vmstate.handcoded import HandCoded, PageChunk, summarize
from support.builders import StreamBuilder, open_bytes
from support.real_files import location_of


def be64(*words: int) -> bytes:
    return struct.pack(f">{len(words)}Q", *words)


def summary(idstr: bytes, *bodies: bytes) -> HandCoded:
    """The summary of a section with these bodies: START, PARTs, END."""
    builder = StreamBuilder().header().configuration(b"pc")
    builder.start(5, idstr, full=False, version=1).put("device", bodies[0]).footer(5)
    for number, body in enumerate(bodies[1:], 2):
        builder.part(5, end=number == len(bodies)).put("device", body).footer(5)
    (found,) = summarize(open_bytes(builder.eof().file()))
    assert found.parts == len(bodies)
    return found


def test_storage_attributes_count_pages_and_values_over_all_parts() -> None:
    found = summary(
        b"s390-storage_attributes",
        be64(1),
        be64(2, 4) + b"\0\x01\x01\x80" + be64(1),
        be64(0x4002, 3) + b"\0\0\x80" + be64(8, 1),
    )
    assert found.pages == 7
    assert found.non_zero == 4
    assert found.values == {"0x00": 3, "0x01": 2, "0x80": 2}
    assert str(found) == "7 pages, 4 of them not 0, 3 different values"


def test_a_hash_table_has_its_size_from_the_start_and_entries_from_the_parts() -> None:
    def chunk(index: int, valid: int, invalid: int) -> bytes:
        return struct.pack(">IHH", index, valid, invalid) + bytes(16 * valid)

    found = summary(
        b"spapr/htab",
        struct.pack(">I", 24),
        bytes(4) + chunk(0, 3, 5) + chunk(8, 1, 0) + bytes(8),
        bytes(4) + chunk(99, 0, 7) + bytes(8),
    )
    assert (found.shift, found.table_size) == (24, 1 << 24)
    assert (found.chunks, found.valid, found.invalid) == (3, 4, 12)
    radix = summary(b"spapr/htab", struct.pack(">i", -1))
    assert builtins(radix).keys() == {"offset", "path", "parts", "table_size"}
    assert radix.table_size == 0


def test_dirty_bitmaps_are_told_apart_by_node_and_name() -> None:
    def name(value: bytes) -> bytes:
        return bytes([len(value)]) + value

    start = b"\x1c" + name(b"disk") + name(b"a") + struct.pack(">IB", 65536, 3)
    # the same node, another bitmap
    other = b"\x14" + name(b"b") + struct.pack(">IB", 4096, 4)
    bits = b"\x44" + name(b"a") + struct.pack(">QIQ", 0, 2048, 2) + b"\xff\x01"
    zeroes = b"\x42" + struct.pack(">QI", 2048, 2048)
    complete = b"\x20"
    found = summary(b"dirty-bitmap", start + other + b"\x01", bits + zeroes + complete + b"\x01")
    first, second = found.bitmaps
    assert (first.node, first.bitmap, first.granularity) == ("disk", "a", 65536)
    assert (first.enabled, first.persistent, first.autoload) == (True, True, False)
    assert (first.chunks, first.sectors, first.bits_set) == (2, 4096, 9)
    assert first.complete
    assert (second.bitmap, second.autoload, second.complete) == ("b", True, False)


def test_ranges_of_pages_are_merged_over_chunks_and_parts() -> None:
    found = summary(
        b"s390-skeys",
        be64(2, 4) + bytes(4) + be64(0x4002, 2) + bytes(2) + be64(1),
        be64(0x6002, 1) + b"\x06" + be64(0x10002, 2) + b"\x06\0" + be64(1),
    )
    assert found.ranges == (PageChunk(0, 7), PageChunk(0x10000, 2))
    assert found.ranges_total == 2
    assert found.values == {"0x00": 7, "0x06": 2}


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.binary(max_size=40) | st.just(bytes(range(256)) * 3)),
        max_size=8,
    )
)
def test_page_counts_are_those_of_a_loop_over_all_pages(chunks: list[tuple[int, bytes]]) -> None:
    found = summary(
        b"s390-skeys",
        b"".join(be64(page << 12 | 2, len(keys)) + keys for page, keys in chunks) + be64(1),
    )
    pages = [(page + n, key) for page, keys in chunks for n, key in enumerate(keys)]
    runs: list[list[int]] = []
    for number, _ in pages:
        if runs and runs[-1][0] + runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    assert found.pages == len(pages)
    assert found.non_zero == len([key for _, key in pages if key])
    assert {int(key, 16): n for key, n in found.values.items()} == Counter(key for _, key in pages)
    assert [(one.address >> 12, one.pages) for one in found.ranges] == [tuple(run) for run in runs]


@pytest.mark.slow
def test_no_more_ranges_and_bitmaps_are_kept_than_anyone_reads() -> None:
    keys = b"".join(be64(n << 13 | 2, 1) + b"\1" for n in range(3000)) + be64(1)
    found = summary(b"s390-skeys", keys)
    assert found.ranges_total == found.pages == 3000
    assert found.ranges == tuple(PageChunk(n << 13, 1) for n in range(256))
    names = (b"\x14\x04%04d" % n + struct.pack(">IB", 512, 0) for n in range(2000))
    found = summary(b"dirty-bitmap", b"".join(names) + b"\1")
    assert len(found.bitmaps) == 1024
    assert "1024" in found.problem


def test_bytes_that_are_no_bits_of_a_bitmap_are_not_counted() -> None:
    """A chunk with four bytes of flags has one that nobody reads, after a chunk with bits."""
    bits = b"\x40" + struct.pack(">QIQ", 0, 16, 1) + b"\x03"
    found = summary(b"dirty-bitmap", bits + b"\x80\x80\xff\x01")
    (one,) = found.bitmaps
    assert (one.bits_set, one.bitmap_bytes) == (2, 1)


@pytest.mark.slow
def test_a_body_that_the_file_ends_in_tells_what_it_had() -> None:
    body = be64(2, 3) + b"\0\1\2" + be64(0x3002, 100) + bytes(100) + be64(1)
    for cut in range(1, len(body)):
        for full in (True, False):
            builder = StreamBuilder().header().configuration(b"pc")
            builder.start(5, b"s390-skeys", full=full, version=1)
            at = builder.offset
            raw = builder.put("device", body[:-cut]).file()
            (found,) = summarize(open_bytes(raw))
            left = len(body) - cut
            assert found.pages == 3 * (left >= 19) + 100 * (left >= 135)
            assert found.problem.startswith("at 0x")
            assert found.path in found.problem
            assert (found.offset, builtins(found)["offset"]) == (at, at)


def test_a_part_that_the_file_ends_in_counts_too() -> None:
    builder = StreamBuilder().header().configuration(b"ppc")
    builder.start(5, b"spapr/htab", version=1).put("device", struct.pack(">I", 24)).footer(5)
    builder.part(5).put("device", bytes(4) + struct.pack(">IHH", 0, 1, 2) + bytes(16))
    (found,) = summarize(open_bytes(builder.file()))
    assert (found.parts, found.valid, found.invalid) == (2, 1, 2)
    assert found.path == "section[0]/body"
    assert "section[1]/body" in found.problem


def test_unknown_flags_and_sizes_that_no_table_has_are_told() -> None:
    builder = StreamBuilder().header().configuration(b"pc")
    builder.start(5, b"s390-skeys", full=True, version=1).put(
        "device", be64(2, 1) + b"\1" + be64(3)
    )
    (found,) = summarize(open_bytes(builder.file()))
    assert found.pages == 1
    assert "flags" in found.problem
    for shift in (1, 17, 47, 0xFFFFFFFE):
        found = summary(b"spapr/htab", struct.pack(">I", shift))
        assert str(shift) in found.problem
        assert found.table_size is None


def test_sections_of_one_name_are_kept_apart() -> None:
    builder = StreamBuilder().header().configuration(b"pc")
    for number in (5, 6):
        body = be64(2, number) + bytes(number) + be64(1)
        builder.full(number, b"s390-skeys", body, instance_id=number)
    found = summarize(open_bytes(builder.eof().file()))
    assert [(one.section_id, one.pages) for one in found] == [(5, 5), (6, 6)]


def test_control_characters_in_names_stay_for_the_caller_to_show() -> None:
    """The line for people is escaped where it is printed; JSON escapes by itself."""
    start = b"\x1c\x03n\x1b[\x02\xff\n" + struct.pack(">IB", 1 << 31, 7)
    found = summary(b"dirty-bitmap", start + b"\x20\x01")
    (one,) = found.bitmaps
    assert (one.node, one.bitmap) == ("n\x1b[", "\\xff\n")
    assert json.loads(dumps(found)) == builtins(found)


@pytest.mark.parametrize(
    ("sample", "name", "facts"),
    [
        # hw/s390x/s390-skeys.c: a key for each page of 8 MiB
        ("s390x-virtio", "s390-skeys", {"pages": 2048}),
        ("ppc64-pseries", "spapr/htab", {"table_size": 2 << 20}),
    ],
)
def test_real_sections_hold_what_their_machine_has(
    sample: str, name: str, facts: dict[str, int], unpacked_dir: Path
) -> None:
    with Image.open(location_of(f"sample/{sample}", unpacked_dir)) as image:
        found = next(one for one in summarize(image) if one.name == name)
    assert {key: getattr(found, key) for key in facts} == facts


def test_real_dirty_bitmaps_are_there(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/pc-dirty-bitmap", unpacked_dir)) as image:
        (found,) = summarize(image)
    names = {(one.node, one.bitmap) for one in found.bitmaps}
    assert names == {("disk0", "scratch"), ("disk0", "backup0")}
    assert all(one.complete for one in found.bitmaps)


CHUNKS = 30_000
MANY = {
    b"spapr/htab": bytes(4) + struct.pack(">IHH", 1, 0, 1) * CHUNKS + bytes(8),
    b"s390-skeys": b"".join(be64(n << 13 | 2, 1) + bytes([n & 255]) for n in range(CHUNKS))
    + be64(1),
    b"dirty-bitmap": (b"\x42" + struct.pack(">QI", 0, 128)) * CHUNKS + b"\1",
}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("idstr", MANY)
def test_many_chunks_take_linear_time_and_no_memory(idstr: bytes) -> None:
    raw = StreamBuilder().header().configuration(b"pc")
    raw.start(5, idstr, full=True, version=1).put("device", MANY[idstr]).footer(5)
    image = open_bytes(raw.eof().file())
    start = time.process_time()
    (found,) = summarize(image)
    assert time.process_time() - start < 3
    assert CHUNKS in (found.chunks, found.pages) or (found.bitmaps[0].chunks == CHUNKS)


@pytest.mark.slow
@pytest.mark.untraced
def test_a_body_of_many_mebibytes_is_read_in_steps() -> None:
    size = 24 << 20
    body = be64(2, size) + b"\0\6\6\1" * (size // 4) + be64(1)
    builder = StreamBuilder().header().configuration(b"pc")
    image = open_bytes(builder.full(5, b"s390-skeys", body).eof().file())
    summarize(image)
    tracemalloc.start()
    start = time.process_time()
    (found,) = summarize(image)
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 24 << 20
    tracemalloc.stop()
    assert found.values == {"0x00": size // 4, "0x01": size // 4, "0x06": size // 2}
