"""The list of RAM blocks, the headers after its entries, and images moved without their offsets."""

from __future__ import annotations

import pytest

from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.tiling import leaves
from support.builders import Block, StreamBuilder, complete, open_bytes, page


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
    """Pages are rounded down, the stream goes on after used_length (parse_ramblock_mapped_ram)."""
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
    """A bitmap that is not right after its header is legal as long as the stream leads on."""
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
