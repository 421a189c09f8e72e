"""RAM records: block lists, fixed layouts, and the pages of ordinary streams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import FormatError, Image
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from support.builders import Block, StreamBuilder, open_bytes, ordinary_image, page

PAGE_SIZES = [256, 512, 1024, 4096, 8192, 65536]
EACH_SIZE = pytest.mark.parametrize("size", PAGE_SIZES)


def complete(image: Image) -> bool:
    assert image.stopped is None, str(image.stopped)
    return image.complete and not image.notes


# -- ordinary streams -----------------------------------------------------------------------------


def naive_pages(image: Image, size: int) -> list[tuple[str, bytes, int, bytes]]:
    """kind, block, address and payload of every page, by what the runs say of the file."""
    pages = []
    for record in image.records():
        run = record.value
        if record.kind not in (Kind.PAGE, Kind.ZERO, Kind.XBZRLE, Kind.COMPRESS_PAGE):
            continue
        length = {Kind.PAGE: size, Kind.ZERO: 1}.get(record.kind, run.stride)
        for number in range(run.pages):
            data = image.source.read_exact(run.data_offset + number * run.stride, length)
            pages.append((str(record.kind), run.block, run.address + number * size, data))
            if record.kind is Kind.ZERO:
                assert data[0] == run.fill
    return pages


def stream_of(pages: list[tuple[str, bytes, int, bytes]], size: int, cont: list[bool]) -> bytes:
    """An ordinary stream that carries pages; cont says where CONTINUE is used if it can be."""
    blocks = [Block(b"a", bytes(size * 64)), Block(b"bb", bytes(size * 64))]
    builder = StreamBuilder(page_size=size).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(*blocks).eos().footer(2).part(2, end=True)
    last = None
    for (kind, idstr, address, data), may in zip(pages, cont, strict=True):
        builder.record(kind, address, data, None if may and last == idstr else idstr)
        last = idstr
    return builder.eos().footer(2).described().file()


@st.composite
def page_lists(draw: st.DrawFn, size: int) -> list[tuple[str, bytes, int, bytes]]:
    """Bursts of pages that count on, with jumps, repetitions and changes of kind and block."""
    pages = []
    kinds = ["page", "zero", "xbzrle"] + (["compress_page"] if size > 256 else [])
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(kinds))
        idstr = draw(st.sampled_from([b"a", b"bb"]))
        first = draw(st.integers(0, 63))
        for number in range(first, min(64, first + draw(st.integers(1, 12)))):
            if kind == "page":
                data = page(draw(st.integers(0, 3)), size)
            elif kind == "zero":
                data = draw(st.sampled_from([b"\0", b"\0", b"\0", b"\x05"]))
            else:
                data = draw(st.binary(max_size=20))
            pages.append((kind, idstr, number * size, data))
    return pages


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 1024, 4096])
@settings(max_examples=60)
@given(data=st.data())
def test_every_page_of_an_ordinary_stream_can_be_read_from_the_file(
    size: int, data: st.DataObject
) -> None:
    pages = data.draw(page_lists(size))
    cont = data.draw(st.lists(st.booleans(), min_size=len(pages), max_size=len(pages)))
    with open_bytes(stream_of(pages, size, cont)) as image:
        assert complete(image)
        assert naive_pages(image, size) == pages
        for idstr in (b"a", b"bb"):
            last = {at // size: (kind, item) for kind, block, at, item in pages if block == idstr}
            expected = {number for number, sent in last.items() if sent != ("zero", b"\0")}
            block = next(block for block in image.blocks if block.idstr == idstr)
            bits = image.bitmap(block)
            assert bits is not None
            assert {number for number in range(64) if number in bits} == expected


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data())
def test_an_image_stops_where_its_records_stop(data: st.DataObject) -> None:
    pages = data.draw(page_lists(256))
    raw = stream_of(pages, 256, [True] * len(pages))
    cut = raw[: data.draw(st.integers(60, len(raw) - 1))]
    with open_bytes(cut) as image:
        with pytest.raises(FormatError) as caught:
            list(image.records())
        assert image.stopped is not None
        assert str(image.stopped) == str(caught.value)


@EACH_SIZE
def test_pages_that_count_on_are_one_run(size: int) -> None:
    with open_bytes(ordinary_image(size).file()) as image:
        assert complete(image)
        assert image.target_page_size == size
        runs = [
            (str(record.kind), record.value.block, record.value.address // size,
             record.value.pages, record.value.fill)
            for record in image.records()
            if record.kind in (Kind.PAGE, Kind.ZERO)
        ]  # fmt: skip
    assert runs == [
        ("page", b"pc.ram", 0, 4, None),
        ("page", b"pc.ram", 7, 1, None),
        ("zero", b"vga", 0, 2, 0),
        ("zero", b"vga", 2, 1, 1),
    ]


def test_long_run_is_one_record_whatever_the_window() -> None:
    size, count = 4096, 700
    builder = StreamBuilder(page_size=size).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(size * count)))
    builder.record("page", 0, page(0, size), b"a")
    for number in range(1, count):
        builder.record("page", number * size, page(number, size))
    builder.eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        (record,) = [record for record in image.records() if record.kind is Kind.PAGE]
        assert record.value.pages == count
        run = record.value
        for number in (0, 1, 4, 5, 255, 256, 500, 699):
            data = image.source.read_exact(run.data_offset + number * run.stride, size)
            assert data == page(number, size)


@pytest.mark.parametrize("size", [4096, 8192, 16384])
def test_page_size_is_told_from_the_records_where_nothing_else_tells(size: int) -> None:
    builder = StreamBuilder(page_size=size).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(size * 8)))
    builder.record("page", 0, page(1, size), b"a").record("page", size, page(2, size))
    builder.record("page", size * 5, page(3, size)).eos().footer(2).eof()
    with open_bytes(builder.file()) as image:
        assert complete(image)
        assert image.target_page_size == size
        assert [address for *_, address, _ in naive_pages(image, size)] == [0, size, size * 5]


def test_continue_without_a_block_before_it_stops_the_walk() -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    at = builder.offset
    builder.record("zero", 0, b"\0").eos().footer(2).eof()
    with open_bytes(builder.file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at
        assert "CONTINUE" in str(image.stopped)


def test_page_outside_its_block_is_noted() -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    builder.record("zero", 4096, b"\0", b"a").record("zero", 0, b"\0", b"nobody").eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert image.complete
        assert len(image.notes) == 2
        assert "nobody" in image.notes[1].message


def test_unknown_xbzrle_encoding_stops_the_walk() -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    at = builder.record("xbzrle", 0, b"\x01\x01\x01", b"a").offset
    raw = bytearray(builder.eos().file())
    raw[at - 6] = 2  # the encoding in front of the length and three bytes
    with open_bytes(bytes(raw)) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at - 6
        assert "encoding" in str(image.stopped)


@pytest.mark.parametrize("flag", ["HOOK", "FULL", "MULTIFD_FLUSH"])
def test_bare_records_are_kept(flag: str) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    builder.word(flag.lower(), RamSaveFlag[flag]).eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert complete(image)
        assert flag.lower() in [str(record.kind) for record in image.records()]


@pytest.mark.parametrize("flags", [0, 0x18, 0x0A, 0x14, 0x400, 0x20, 0xFFF])
def test_unknown_flags_stop_the_walk_where_they_are(flags: int) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    at = builder.offset
    builder.word("?", flags, 0x5000).eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at


# -- the flag mask follows the page size ----------------------------------------------------------


@EACH_SIZE
@pytest.mark.parametrize("capability", [b"mapped-ram", b"fixed-ram"])
def test_flag_mask_follows_the_page_size_of_the_header(size: int, capability: bytes) -> None:
    """3 pages: the sum in MEM_SIZE has bits that would be flags with a larger page size."""
    blocks = [Block(b"one", page(1, size)), Block(b"two", bytes(size) + page(2, size))]
    builder = StreamBuilder(page_size=size, align=size).header().configuration(b"m", (capability,))
    builder.mapped_ram(*blocks).described()
    with open_bytes(builder.file()) as image:
        assert complete(image)
        assert image.target_page_size == size
        assert [block.page_size for block in image.blocks] == [size, size]
        assert [block.used_length for block in image.blocks] == [size, 2 * size]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_target_page_bits_count_for_ordinary_streams(bits: int) -> None:
    size = 1 << bits
    builder = StreamBuilder(page_size=size).header()
    builder.configuration(capabilities=None, page_bits=bits)
    builder.start(2, b"ram").listed(Block(b"a", bytes(3 * size)))
    builder.record("page", size, page(1, size), b"a").record("zero", 2 * size, b"\0").eos()
    builder.footer(2).eof()
    with open_bytes(builder.file()) as image:
        assert complete(image)
        assert image.target_page_size == size
        assert [(kind, at) for kind, _, at, _ in naive_pages(image, size)] == [
            ("page", size),
            ("zero", 2 * size),
        ]


# -- block lists ----------------------------------------------------------------------------------


@pytest.mark.parametrize("huge", [None, 2 << 20, 1 << 30])
@pytest.mark.parametrize("address", [None, 0, 0xFFFC0000, 1 << 30, 1 << 32, 1 << 35])
@pytest.mark.parametrize("mapped", [True, False])
def test_postcopy_page_size_and_region_address_are_told_apart(
    huge: int | None, address: int | None, *, mapped: bool
) -> None:
    capabilities = (*([b"mapped-ram"] if mapped else []),
                    *([b"x-ignore-shared"] if address is not None else []))  # fmt: skip
    builder = StreamBuilder(page_size=4096, align=4096, ignore_shared=address is not None)
    builder.header().configuration(capabilities=capabilities)
    blocks = [
        Block(b"pc.ram", page(1, 4096), region_address=address, postcopy_page_size=huge),
        Block(b"pc.bios", page(2, 4096), region_address=address),
        Block(b"last", page(3, 4096), region_address=address, postcopy_page_size=huge),
    ]
    if mapped:
        builder.mapped_ram(*blocks).described()
    else:
        builder.start(2, b"ram").listed(*blocks)
        builder.record("page", 0, page(1, 4096), b"pc.ram").eos().footer(2).described()
    with open_bytes(builder.file()) as image:
        assert complete(image)
        assert [block.idstr for block in image.blocks] == [b"pc.ram", b"pc.bios", b"last"]
        assert [block.postcopy_page_size for block in image.blocks] == [huge, None, huge]
        assert {block.region_address for block in image.blocks} == {address}


def test_ignored_block_has_no_pages_and_the_next_follows_at_once() -> None:
    blocks = [
        Block(b"shared", bytes(4096 * 9), ignored=True, region_address=0),
        Block(b"rom", page(1, 4096), region_address=0xFFFC0000),
    ]
    builder = StreamBuilder(page_size=4096, align=4096, ignore_shared=True).header()
    builder.configuration(capabilities=(b"mapped-ram", b"x-ignore-shared"))
    with open_bytes(builder.mapped_ram(*blocks).described().file()) as image:
        assert complete(image)
        shared, rom = image.blocks
        assert shared.ignored
        assert image.bitmap(shared) is None
        assert not rom.ignored
        bits = image.bitmap(rom)
        assert bits is not None
        assert bits.count() == 1


@pytest.mark.parametrize(
    "name", [b"../../x", b"/etc/passwd", b"\x1b[31m", b"<b>", b"\xff\xfe", b" "]
)
def test_names_are_data(name: bytes) -> None:
    builder = StreamBuilder().header().configuration()
    with open_bytes(builder.mapped_ram(Block(name, page(1, 256))).described().file()) as image:
        assert image.complete
        assert image.blocks[0].idstr == name
        assert image.blocks[0].name.encode("utf-8", "replace")


@pytest.mark.parametrize("length", [256 * 3 + 1, 100, 0, 255, 257])
def test_block_that_is_no_whole_number_of_pages(length: int) -> None:
    """Pages are rounded down, the stream goes on behind used_length (parse_ramblock_mapped_ram)."""
    odd = Block(b"odd", b"\x01" * length)
    fill = Block(b"fill", page(1, 256) + bytes(-length % 256))
    builder = StreamBuilder().header().configuration().mapped_ram(odd, fill).described()
    with open_bytes(builder.file()) as image:
        assert image.complete, str(image.stopped)
        assert [block.pages_total for block in image.blocks] == [
            length // 256,
            len(fill.memory) // 256,
        ]


def test_sum_that_exceeds_the_list_is_noted() -> None:
    builder = StreamBuilder().header().configuration().start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, 256 * 5).mapped(Block(b"a", page(1, 256)))
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert image.complete
        assert len(image.notes) == 1
        assert "short" in image.notes[0].message


def test_sum_that_ends_inside_a_block_is_noted() -> None:
    builder = StreamBuilder().header().configuration().start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, 256).mapped(Block(b"a", page(1, 256) * 2))
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert image.complete
        assert len(image.blocks) == 1
        assert "exceeds" in image.notes[0].message


@pytest.mark.parametrize("flags", [RamSaveFlag.MEM_SIZE | RamSaveFlag.CONTINUE])
def test_mem_size_with_continue_is_taken_as_qemu_takes_it(flags: int) -> None:
    builder = StreamBuilder().header().configuration().start(2, b"ram")
    builder.word("mem_size", flags, 256).mapped(Block(b"a", page(1, 256)))
    builder.word("eos", RamSaveFlag.EOS | RamSaveFlag.CONTINUE, 0x10000).footer(2)
    with open_bytes(builder.described().file()) as image:
        assert complete(image)
        assert len(image.blocks) == 1


@pytest.mark.parametrize("header_size", [0, 1, 3, 1 << 63])
def test_header_with_an_impossible_page_size_is_kept_and_counted_by_the_targets(
    header_size: int,
) -> None:
    builder = StreamBuilder(page_size=4096, align=4096).header()
    builder.configuration(page_bits=12).start(2, b"ram")
    builder.mem_size(Block(b"a", bytes(8192))).entry(Block(b"a", bytes(8192)))
    bitmap_offset = builder.offset + 28
    builder.mapped_header(bitmap_offset, 4096, page_size=header_size).put(
        "bitmap", b"\x03" + bytes(7)
    )
    builder.put("padding", bytes(4096 - builder.offset)).put("pages", page(1, 4096) * 2)
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        (block,) = image.blocks
        assert block.header_page_size == header_size
        assert block.page_size == 4096
        bits = image.bitmap(block)
        assert bits is not None
        assert bits.count() == 2


# -- images moved without their offsets -----------------------------------------------------------


def moved(shift: int, *blocks: Block, ignore_shared: bool = False, base: int = 0) -> StreamBuilder:
    capabilities = (b"mapped-ram", *([b"x-ignore-shared"] if ignore_shared else []))
    builder = StreamBuilder(page_size=4096, align=4096, ignore_shared=ignore_shared, base=base)
    builder.header().configuration(capabilities=capabilities).start(2, b"ram").mem_size(*blocks)
    for block in blocks:
        builder.mapped(block, shift=0 if block.ignored else shift)
    return builder.eos().footer(2).described()


BLOCKS = (Block(b"a", page(1, 4096) + bytes(4096)), Block(b"b", bytes(4096) + page(2, 4096)))


@pytest.mark.parametrize("shift", [1, 92, 70001, 1 << 40, -100])
@pytest.mark.parametrize("base", [0, 5000])
def test_offsets_that_are_all_wrong_by_a_constant_are_put_right(shift: int, base: int) -> None:
    data = moved(shift, *BLOCKS, base=base).file()
    with open_bytes(data, offset=base) as image:
        assert image.complete, str(image.stopped)
        assert image.offset_bias == shift
        memory = [
            image.source.read_exact(block.pages_offset, block.used_length) for block in image.blocks
        ]
    assert memory == [block.memory for block in BLOCKS]


def test_ignored_block_in_front_does_not_hide_the_shift() -> None:
    shared = Block(b"shared", bytes(4096 * 4), ignored=True, region_address=0)
    data = moved(92, shared, *BLOCKS, ignore_shared=True).file()
    with open_bytes(data) as image:
        assert image.complete, str(image.stopped)
        assert image.offset_bias == 92
        assert image.blocks[0].ignored


def test_shift_that_leads_before_the_file_is_not_believed() -> None:
    """Only such a shift leads to an EOS, but no page lies at a negative offset."""
    builder = StreamBuilder(page_size=256).header().configuration().start(2, b"ram")
    builder.word("mem_size", RamSaveFlag.MEM_SIZE, 256)
    builder.put("block", b"\x01x" + (256).to_bytes(8, "big")).mapped_header(256, 0)
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert all(block.pages_offset >= 0 for block in image.blocks)
        assert all(block.bitmap_offset >= 0 for block in image.blocks)
        found = list(leaves(image, deep=True))
        assert sum(record.length for record in found) == image.source.size


def test_right_offsets_are_left_alone_wherever_the_bitmap_lies() -> None:
    """A bitmap that is not right behind its header is legal as long as the stream leads on."""
    builder = StreamBuilder(page_size=4096).header().configuration().start(2, b"ram")
    block = Block(b"a", page(1, 4096))
    builder.mem_size(block).entry(block)
    at = builder.offset + 28
    builder.mapped_header(at + 100, 4096).put("gap", bytes(100)).put("bitmap", b"\x01" + bytes(7))
    builder.put("padding", bytes(4096 - builder.offset)).put("pages", page(1, 4096))
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert complete(image)
        assert image.offset_bias == 0
        assert image.blocks[0].bitmap_offset == at + 100


def test_failed_save_keeps_the_blocks_it_had_begun() -> None:
    builder = StreamBuilder(page_size=4096, align=4096).header().configuration().start(2, b"ram")
    builder.mem_size(*BLOCKS)
    for block in BLOCKS:
        builder.mapped(block)
    cut = builder.file()[: builder.offset - 5000]
    with open_bytes(cut) as image:
        assert not image.complete
        assert image.stopped is not None
        assert image.stopped.offset == len(cut)
        assert [block.idstr for block in image.blocks] == [b"a", b"b"]


def kinds(image: Image) -> list[Any]:
    return [str(record.kind) for record in image.records()]


def test_records_come_in_the_order_they_were_written() -> None:
    builder = StreamBuilder(page_size=4096, align=4096).header().configuration()
    builder.mapped_ram(*BLOCKS, parts=3).described()
    with open_bytes(builder.file()) as image:
        assert [(str(r.kind), r.offset, r.length) for r in image.records()] == [
            part for part in builder.parts if part[0] not in ("bitmap", "padding", "pages")
        ]
        assert kinds(image) == kinds(image)
