"""Sections written by hand: what is in them, added up over their parts."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from builders import StreamBuilder, open_bytes
from fixedram_fmt import Image
from fixedram_fmt.handcoded import HandCoded, summarize
from real_files import location_of


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
    assert found.facts["pages"] == 7
    assert found.facts["non_zero"] == 4
    assert found.facts["values"] == {"0x00": 3, "0x01": 2, "0x80": 2}
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
    assert found.facts == {
        "shift": 24,
        "table_size": 1 << 24,
        "chunks": 3,
        "valid": 4,
        "invalid": 12,
    }
    assert summary(b"spapr/htab", struct.pack(">i", -1)).facts == {"table_size": 0}


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
    first, second = found.facts["bitmaps"]
    assert (first["node"], first["bitmap"], first["granularity"]) == ("disk", "a", 65536)
    assert (first["enabled"], first["persistent"], first["autoload"]) == (True, True, False)
    assert (first["chunks"], first["sectors"], first["bits_set"]) == (2, 4096, 9)
    assert first["complete"]
    assert (second["bitmap"], second["autoload"], second["complete"]) == ("b", True, False)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_body_that_is_cut_off_tells_what_it_had(cut: int) -> None:
    body = be64(2, 100) + bytes(100) + be64(1)
    builder = StreamBuilder().header().configuration(b"pc")
    builder.start(5, b"s390-skeys", full=True, version=1).put("device", body[:-cut])
    assert summarize(open_bytes(builder.file())) == []


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
    assert {key: found.facts[key] for key in facts} == facts


def test_real_dirty_bitmaps_are_there(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/pc-dirty-bitmap", unpacked_dir)) as image:
        (found,) = summarize(image)
    names = {(one["node"], one["bitmap"]) for one in found.facts["bitmaps"]}
    assert names == {("disk0", "scratch"), ("disk0", "backup0")}
    assert all(one["complete"] for one in found.facts["bitmaps"])


def test_many_chunks_take_linear_time_and_no_memory() -> None:
    import time
    import tracemalloc

    body = bytes(4) + struct.pack(">IHH", 1, 0, 1) * 50_000 + bytes(8)
    raw = StreamBuilder().header().configuration(b"pc")
    raw.start(5, b"spapr/htab", full=True, version=1).put("device", body).footer(5)
    image = open_bytes(raw.eof().file())
    start = time.process_time()
    (found,) = summarize(image)
    assert time.process_time() - start < 5
    assert found.facts["chunks"] == 50_000
    tracemalloc.start()
    summarize(image)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
