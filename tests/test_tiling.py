"""Leaves: every byte has one owner, and the owner is the one that wrote it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixedram_fmt import FixedRamError, Image
from fixedram_fmt.presence.scan import stale_runs
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.tiling import fields, layout, leaves, merged
from support.builders import (
    QEMU_ALIGNMENT,
    Block,
    StreamBuilder,
    open_bytes,
    ordinary_image,
    page,
    tiny_image,
)

if TYPE_CHECKING:
    from pathlib import Path


def tiles(records: list[Record[Any]], start: int, stop: int) -> None:
    at = start
    for record in records:
        assert record.offset == at, record
        assert record.length > 0, record
        at = record.stop
    assert at == stop


def distinct(records: list[Record[Any]]) -> None:
    """Paths are unique, and none is the beginning of another."""
    paths = sorted(record.path + "/" for record in records)
    for before, after in zip(paths, paths[1:], strict=False):
        assert not after.startswith(before), (before, after)


def whole(image: Image, **options: bool) -> list[Record[Any]]:
    found = list(leaves(image, **options))
    tiles(found, image.container.stream_offset, image.source.size)
    distinct(found)
    return found


def shape(records: list[Record[Any]]) -> list[tuple[str, int, int]]:
    return [(str(record.kind), record.offset, record.length) for record in records]


IMAGES = {
    "tiny": tiny_image,
    "at an offset": lambda: tiny_image(base=70001),
    "1 KiB pages": lambda: tiny_image(page_size=1024, align=1024),
    "as QEMU aligns": lambda: tiny_image(page_size=4096, align=QEMU_ALIGNMENT),
}


@pytest.mark.parametrize("name", IMAGES)
def test_leaves_are_the_parts_as_they_were_written(name: str) -> None:
    builder = IMAGES[name]()
    with open_bytes(builder.file(), offset=builder.base) as image:
        assert shape(whole(image)) == builder.parts


@pytest.mark.parametrize("size", [256, 1024, 4096])
def test_leaves_of_an_ordinary_stream_tile_it(size: int) -> None:
    builder = ordinary_image(size)
    with open_bytes(builder.file()) as image:
        found = shape(whole(image))
        assert shape(whole(image, deep=True)) == found
    # runs put neighbours of one kind together: their borders are among the writer's
    assert {offset for _, offset, _ in found} <= {offset for _, offset, _ in builder.parts}


def test_pages_of_a_block_can_be_one_leaf() -> None:
    builder = tiny_image()
    with open_bytes(builder.file()) as image:
        pages = [record for record in whole(image, runs=False) if record.kind is Kind.PAGES]
        assert [record.value for record in pages] == image.blocks
        assert [record.length for record in pages] == [b.used_length for b in image.blocks]


def test_libvirt_header_is_not_part_of_the_stream() -> None:
    head = b"LibvirtQemudSave\x02\0\0\0\x04\0\0\0" + bytes(68) + b"<d/>"
    assert len(head) == 96
    builder = tiny_image(base=96)
    with open_bytes(head + bytes(builder.data)) as image:
        assert shape(whole(image)) == builder.parts


def test_trailing_bytes_are_a_leaf() -> None:
    builder = tiny_image().put("trailing", b"trail")
    with open_bytes(builder.file()) as image:
        assert shape(whole(image)) == builder.parts


def test_truncated_image_ends_in_an_unparsed_leaf() -> None:
    builder = tiny_image()
    cut = builder.file()[:-300]
    with open_bytes(cut) as image:
        found = whole(image)
        assert image.stopped is not None
        assert found[-1].kind is Kind.UNPARSED


@pytest.mark.parametrize("length", [0, 100, 255, 256, 257, 1000])
def test_block_of_any_length_is_owned(length: int) -> None:
    odd, next_block = Block(b"odd", b"\x01" * length), Block(b"b", page(1, 256) * 2)
    builder = StreamBuilder().header().configuration()
    builder.start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, -(-(length + 512) // 256) * 256)
    builder.mapped(odd).mapped(next_block)
    data = builder.eos().footer(2).described().file()
    with open_bytes(data) as image:
        assert image.complete
        found = whole(image)
        assert "gap" not in {str(record.kind) for record in found}
        padding = [record.path for record in found if record.kind is Kind.PADDING]
        assert padding == [f"{block.path}/padding" for block in image.blocks]


# -- hostile layouts ------------------------------------------------------------------------------

OFFSETS = (
    st.integers(0, 6000)
    | st.sampled_from([0, 1, 512, 1 << 20, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
    | st.integers((1 << 64) - 6000, (1 << 64) - 1)
)


@st.composite
def hostile_layouts(draw: st.DrawFn) -> bytes:
    """Blocks whose bitmaps and pages lie anywhere: over each other, in the stream, outside."""
    builder = StreamBuilder().header().configuration().start(2, b"ram")
    total = 0
    blocks = []
    for _ in range(draw(st.integers(1, 4))):
        used = draw(st.integers(0, 3000) | st.sampled_from([256, 1024, 1 << 40, 1 << 63]))
        blocks.append((used, draw(OFFSETS), draw(OFFSETS), draw(st.sampled_from([256, 512, 4096]))))
        total += used
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, min(total, (1 << 64) - 1) // 256 * 256)
    for used, bitmap_offset, pages_offset, size in blocks:
        builder.put("block", b"\x01x" + used.to_bytes(8, "big"))
        builder.mapped_header(bitmap_offset, pages_offset, page_size=size)
    builder.eos().footer(2)
    builder.put("pages", draw(st.binary(max_size=500)) * 8)
    return builder.described().file()


@pytest.mark.slow
@settings(max_examples=300)
@given(hostile_layouts())
def test_hostile_layouts_are_tiled_too(data: bytes) -> None:
    with open_bytes(data) as image:
        for deep in (False, True):
            tiles(list(leaves(image, deep=deep)), 0, len(data))
        for depth in (1, 2, 3):
            tiles(list(merged(leaves(image), depth)), 0, len(data))


@pytest.mark.slow
@settings(max_examples=200)
@given(hostile_layouts())
def test_fields_and_layout_of_any_leaf_can_be_shown(data: bytes) -> None:
    """Leaves that others overlap are cut: what is left of them is no structure any more."""
    with open_bytes(data) as image:
        for record in leaves(image):
            assert isinstance(fields(record), dict)
            try:
                spans = layout(image, record)
            except FixedRamError:
                continue
            assert sum(span.length for span in spans) in (0, record.length)


@pytest.mark.parametrize("inside", [3, 9, 20, 60, 80, 100, 130])
def test_structure_that_a_bitmap_overlaps_has_no_layout_but_no_crash(inside: int) -> None:
    """A bitmap that lies across the stream's own structures."""
    builder = StreamBuilder().header().configuration().start(2, b"ram")
    block = Block(b"x", page(1, 256) * 20)
    builder.mem_size(block).entry(block).mapped_header(inside, 512)
    builder.put("padding", bytes(512 - builder.offset)).put("pages", block.memory)
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert image.complete
        found = list(leaves(image))
        tiles(found, 0, image.source.size)
        for record in found:
            assert isinstance(fields(record), dict)
            spans = layout(image, record)
            assert sum(span.length for span in spans) in (0, record.length)


# -- merged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_merged_leaves_tile_and_count_what_they_hold(depth: int) -> None:
    with open_bytes(tiny_image().file()) as image:
        every = whole(image)
        put_together = list(merged(iter(every), depth))
        tiles(put_together, 0, image.source.size)
        distinct(put_together)
        assert sum(
            record.value.leaves if record.kind is Kind.GROUP else 1 for record in put_together
        ) == len(every)
        for record in put_together:
            assert len(record.path.split("/")) <= depth
            inside = [leaf for leaf in every if record.offset <= leaf.offset < record.stop]
            assert all((leaf.path + "/").startswith(record.path + "/") for leaf in inside)


def test_merged_to_any_depth_is_the_same_when_deep_enough() -> None:
    with open_bytes(tiny_image().file()) as image:
        every = whole(image)
        assert list(merged(iter(every), 99)) == every


# -- stale pages ----------------------------------------------------------------------------------


def naive_stale(data: bytes, block: Any, size: int, present: set[int]) -> set[int]:
    return {
        number
        for number in range(block.pages_total)
        if number not in present
        and any(data[block.pages_offset + number * size : block.pages_offset + (number + 1) * size])
    }


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["present", "absent", "stale", "one byte"]), min_size=1, max_size=60)
)
def test_stale_pages_are_absent_pages_with_a_byte(states: list[str]) -> None:
    size = 256
    memory = b"".join(
        page(at, size) if state == "present" else bytes(size) for at, state in enumerate(states)
    )
    stale = {at: page(at, size) for at, state in enumerate(states) if state == "stale"}
    stale |= {at: bytes(255) + b"\x01" for at, s in enumerate(states) if s == "one byte"}
    block = Block(b"ram0", memory, stale=stale)
    data = StreamBuilder().header().configuration().mapped_ram(block).described().file()
    with open_bytes(data) as image:
        found = [record for record in whole(image, deep=True) if record.kind is Kind.PAGES]
        (ram,) = image.blocks
        named: dict[int, str] = {}
        for record in found:
            run = record.value
            named |= dict.fromkeys(range(run.first_page, run.first_page + run.pages), run.state)
            assert record.offset == ram.pages_offset + run.first_page * size
        expected = naive_stale(data, ram, size, block.present(size))
        assert {at for at, state in named.items() if state == "stale"} == expected
        assert {at for at, state in named.items() if state == "present"} == block.present(size)
        assert len(named) == len(states)
        # maximal: neighbours differ
        runs = [record.value.state for record in found]
        assert all(before != after for before, after in zip(runs, runs[1:], strict=False))


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.tuples(st.integers(0, 700_000), st.integers(1, 9000)), max_size=6),
    size=st.sampled_from([256, 4096, 8192, 65536]),
    shift=st.integers(0, 3),
)
def test_stale_runs_agree_with_a_scan_whatever_the_holes(
    writes: list[tuple[int, int]], size: int, shift: int, tmp_path: Path
) -> None:
    """Holes and data do not begin at pages: the layout is not aligned to the file's blocks."""
    pages = 800_000 // size
    builder = StreamBuilder(page_size=size, align=512 + shift).header().configuration()
    builder.mapped_ram(Block(b"ram0", bytes(pages * size))).described()
    data = bytearray(builder.file())
    path = tmp_path / "sparse"
    with open_bytes(bytes(data)) as probe:
        first = probe.blocks[0].pages_offset
    for offset, length in writes:
        length = min(length, pages * size - offset)
        data[first + offset : first + offset + length] = b"\x55" * max(0, length)
    with path.open("wb") as file:
        file.truncate(len(data))
        for at in range(0, len(data), 4096):
            if any(data[at : at + 4096]):
                os.pwrite(file.fileno(), data[at : at + 4096], at)
    with Image.open(path) as image:
        (block,) = image.blocks
        naive = naive_stale(bytes(data), block, size, set())
        runs = list(stale_runs(image.source, block, 0, block.pages_total))
        assert {number for low, high in runs for number in range(low, high)} == naive
        assert all(before[1] < after[0] for before, after in zip(runs, runs[1:], strict=False))
        half = block.pages_total // 2
        cut = [
            *stale_runs(image.source, block, 0, half),
            *stale_runs(image.source, block, half, pages),
        ]
        assert {number for low, high in cut for number in range(low, high)} == naive


# -- what leaves say ------------------------------------------------------------------------------


def test_fields_have_qemus_names() -> None:
    with open_bytes(tiny_image().file()) as image:
        said = {record.path: fields(record) for record in whole(image)}
    assert said["configuration/machine"]["name"] == "pc-i440fx-11.1"
    header = said["section[0]/ram/block[0]/header"]
    assert header["version"] == 1
    assert header["page_size"] == 256
    assert said["section[0]/ram/block[0]/entry"] == {"idstr": "pc.ram", "used_length": 1536}
    assert said["command[0]/header"]["name"] == "SWITCHOVER_START"


@pytest.mark.parametrize("size", [256, 512, 1024, 4096])
@pytest.mark.parametrize("pages", [1, 2, 3, 4, 5])
def test_sum_in_mem_size_is_shown_whatever_the_page_size(size: int, pages: int) -> None:
    """With 256-byte pages, bits 8 and 9 of the word belong to the sum, not to the flags."""
    block = Block(b"ram0", bytes(size * pages))
    builder = StreamBuilder(page_size=size, align=size).header()
    builder.configuration(page_bits=size.bit_length() - 1).mapped_ram(block)
    with open_bytes(builder.described().file()) as image:
        (mem_size,) = [record for record in whole(image) if record.kind is Kind.MEM_SIZE]
        assert fields(mem_size) == {"flags": ["MEM_SIZE"], "size": size * pages}


def test_layout_names_the_bytes_of_every_structure() -> None:
    builder = tiny_image()
    with open_bytes(builder.file()) as image:
        for record in whole(image):
            spans = layout(image, record)
            if spans:
                assert spans[0].offset == 0
                assert sum(span.length for span in spans) == record.length
            else:
                assert record.kind in {
                    Kind.BITMAP, Kind.PADDING, Kind.PAGES, Kind.DEVICE, Kind.VMDESCRIPTION_JSON
                }  # fmt: skip
