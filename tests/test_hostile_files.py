"""Whatever a file says: a result or a clean error, bounded in time and memory, every byte owned."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixedram_fmt.build.faults import catalogue
from fixedram_fmt.dump import fields, layout, leaves, merged
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.summary import summarize
from synthetic import PAGE, image_of, made, ordinary, ram_word

TIME_LIMIT = 5.0
MEMORY_LIMIT = 64 << 20

SMALL = made()
STREAM = ordinary(
    ram_word(0, RamSaveFlag.PAGE) + b"\6pc.ram" + b"\1" * PAGE
    + ram_word(PAGE, RamSaveFlag.ZERO, RamSaveFlag.CONTINUE) + b"\0"
    + ram_word(PAGE, RamSaveFlag.XBZRLE, RamSaveFlag.CONTINUE) + b"\1\0\3abc"
)  # fmt: skip


def look_at(raw: bytes, *, unique: bool = False) -> Any:
    """Everything info and dump do, held to what must be true of any file; None if refused."""
    start = time.monotonic()
    try:
        image = image_of(raw)
    except FixedRamError as error:
        str(error)
        return None
    with image:
        json.dumps(summarize(image, "x", cells=64).as_dict())
        for deep in (False, True):
            at, paths = 0, []
            for leaf in leaves(image, deep=deep):
                assert leaf.offset == at, leaf
                assert leaf.length > 0
                at = leaf.stop
                paths.append(leaf.path)
                json.dumps(fields(leaf))
            assert at == len(raw)
            assert not unique or len(set(paths)) == len(paths)
        assert sum(leaf.length for leaf in merged(leaves(image), 1)) == len(raw)
    assert time.monotonic() - start < TIME_LIMIT
    return image


@pytest.mark.parametrize("raw", [SMALL, STREAM], ids=["mapped", "ordinary"])
def test_sound_images_are_read_to_their_end(raw: bytes) -> None:
    image = look_at(raw, unique=True)
    assert image.complete
    assert not image.notes


@pytest.mark.parametrize("raw", [SMALL, STREAM], ids=["mapped", "ordinary"])
def test_every_truncation_gives_a_result_or_a_clean_error(raw: bytes) -> None:
    ends = {*headers(raw), *range(0, len(raw), 257)}
    (eof,) = (leaf for leaf in leaves(image_of(raw)) if leaf.kind == "eof")
    eof_stop = eof.stop
    for end in sorted(ends):
        image = look_at(raw[:end])
        assert image is None or not image.complete or end >= eof_stop


def headers(raw: bytes) -> list[int]:
    """Offsets of all bytes that are neither pages, padding nor the description's text."""
    bulky = {"pages", "padding", "vmdescription_json", "page"}
    return [
        offset
        for leaf in leaves(image_of(raw), runs=False)
        if leaf.kind not in bulky or leaf.length < 64
        for offset in range(leaf.offset, leaf.stop)
    ]


@pytest.mark.parametrize("raw", [SMALL, STREAM], ids=["mapped", "ordinary"])
def test_every_header_byte_mutated_gives_a_result_or_a_clean_error(raw: bytes) -> None:
    for offset in headers(raw):
        for value in {0, 1, 0x7F, 0xFF, raw[offset] ^ 0x10}:
            look_at(raw[:offset] + bytes([value]) + raw[offset + 1 :])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_changes_give_a_result_or_a_clean_error(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([SMALL, STREAM])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    look_at(bytes(raw))


NUMBERS = [0, 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - PAGE, (1 << 40) + 1]


def test_hostile_numbers_in_every_field_are_bounded() -> None:
    image = image_of(SMALL)
    tracemalloc.start()
    for leaf in leaves(image, runs=False):
        for span in layout(image, leaf):
            if not isinstance(span.value, int):
                continue
            for number in NUMBERS:
                if number < 1 << 8 * span.length:
                    at = leaf.offset + span.offset
                    data = number.to_bytes(span.length, "big")
                    look_at(SMALL[:at] + data + SMALL[at + span.length :])
    assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    tracemalloc.stop()


@pytest.mark.parametrize("name", catalogue())
def test_every_fault_is_read_without_trouble(name: str) -> None:
    look_at(made(faults=[catalogue()[name]]))


def test_description_nested_without_end_is_bounded() -> None:
    raw = made(faults=[catalogue()["vmdesc-nested"]])
    image = look_at(raw)
    assert image.complete
    assert image.vmdesc is None


def test_four_gibibytes_of_description_are_not_believed() -> None:
    head = stream.VMDESCRIPTION.build(
        stream.Vmdescription(SectionType.VMDESCRIPTION, (1 << 32) - 1)
    )
    image = look_at(made(vmdesc=False) + head + b"{")
    assert not image.complete


def test_list_of_blocks_that_leads_back_to_itself_ends() -> None:
    # The first block's pages "end" where its own entry begins.
    raw = bytearray(SMALL)
    image = image_of(SMALL)
    block = image.blocks[0]
    where = block.header_offset + 20
    struct.pack_into(">Q", raw, where, (block.entry_offset - block.used_length) % (1 << 64))
    result = look_at(bytes(raw))
    assert result is None or not result.complete


def test_hundred_thousand_empty_parts_are_read_in_time() -> None:
    raw = made(vmdesc=False, devices=[])
    part = b"\2\0\0\0\1" + ram_word(0, RamSaveFlag.EOS) + b"\x7e\0\0\0\1"
    at = raw.index(b"\2\0\0\0\1", 3 * PAGE)
    image = image_of(raw[:at] + part * 100_000 + raw[at:])
    assert image.complete
    assert image.sections[0].parts == 100_002


def test_bombs_of_zeros_are_holes_not_memory(tmp_path: Any) -> None:
    import gzip

    from fixedram_fmt import Image

    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(SMALL)
        for _ in range(256):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with Image.open(path) as image:
        assert image.source.size == len(SMALL) + (256 << 20)
        assert image.source.disk_size < 8 << 20
    assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    tracemalloc.stop()
