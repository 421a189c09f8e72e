"""The pages of ordinary streams: runs of records, and everything that takes them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt import FormatError, Image
from fixedram_fmt.memory.block import BlockMemory
from fixedram_fmt.stream import pagerecords
from fixedram_fmt.stream.records import Kind
from support.builders import Block, StreamBuilder, complete, open_bytes, ordinary_image, page
from support.conversions import converted
from support.memory import block_memory

EACH_SIZE = pytest.mark.parametrize("size", [256, 512, 1024, 4096, 8192, 65536])


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
    with open_bytes(converted(builder.file())) as image:
        (block,) = image.blocks
        assert block.page_size == size
        sent = {0: page(1, size), 1: page(2, size), 5: page(3, size)}
        memory = b"".join(sent.get(number, bytes(size)) for number in range(8))
        assert block_memory(image, block) == memory


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


# -- everything that takes pages ------------------------------------------------------------------


def mixed(dice: random.Random, size: int, count: int) -> list[tuple[str, bytes, int, bytes]]:
    """Pages in stretches that repeat in one way or another, and now and then elsewhere."""
    pages: list[tuple[str, bytes, int, bytes]] = []
    number, idstr = 0, b"a"
    while len(pages) < count:
        pattern = dice.choice(["p", "z", "pz", "zp", "ppz", "pzzzp", "f", "x", "zx", "pzpzx"])
        for kind in pattern * dice.choice([1, 1, 2, 5, 40]):
            data = {"p": page(len(pages), size), "z": b"\0", "f": b"\5", "x": b"\1\1A"}[kind]
            name = {"p": "page", "x": "xbzrle"}.get(kind, "zero")
            pages.append((name, idstr, number * size, data))
            number = (number + 1) % 64
        if dice.random() < 0.3:
            number, idstr = dice.randrange(64), dice.choice([b"a", b"bb"])
    return pages


def memory_of(pages: list[tuple[str, bytes, int, bytes]], size: int) -> dict[bytes, bytearray]:
    """What the pages add up to."""
    memory = {b"a": bytearray(64 * size), b"bb": bytearray(64 * size)}
    for kind, idstr, address, data in pages:
        if kind == "xbzrle":
            memory[idstr][address + data[0] : address + data[0] + data[1]] = data[2:]
        else:
            memory[idstr][address : address + size] = data if kind == "page" else data * size
    return memory


@pytest.mark.parametrize(
    "window", [*(pytest.param(1 << n, marks=pytest.mark.slow) for n in (9, 13)), 1 << 21]
)
@pytest.mark.parametrize("size", [256, 1024, 4096])
def test_everything_that_takes_pages_gives_the_same_memory(
    size: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagerecords, "_FIRST_LOOK", min(window, pagerecords._FIRST_LOOK))
    monkeypatch.setattr(pagerecords, "_WINDOW", window)
    dice = random.Random(size + window)
    pages = mixed(dice, size, 1500)
    raw = stream_of(pages, size, [dice.random() < 0.98 for _ in pages])
    expected = memory_of(pages, size)
    with open_bytes(raw) as image:
        assert complete(image)
        assert naive_pages(image, size) == pages
        memory = {
            block.idstr: BlockMemory(image, block).read(0, 64 * size) for block in image.blocks
        }
        assert memory == expected
        bitmaps = {block.idstr: image.presence(block) for block in image.blocks}
    last = {(idstr, address // size): (kind, data) for kind, idstr, address, data in pages}
    for idstr, bits in bitmaps.items():
        assert {number for number in range(64) if number in bits} == {
            number for (name, number), sent in last.items()
            if name == idstr and sent != ("zero", b"\0")
        }  # fmt: skip
    with open_bytes(converted(raw)) as image:
        assert {block.idstr: block_memory(image, block) for block in image.blocks} == expected


@pytest.mark.parametrize("flag", [0x100, 0x400])
def test_flag_beside_those_of_the_lowest_byte_stops_the_walk(flag: int) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096 * 64)))
    builder.record("zero", 0, b"\0", b"a")
    for number in range(1, 40):
        builder.record("zero", number * 4096, b"\0")
    place = builder.offset
    builder.word("?", 0x22 | flag, 40 * 4096).put("?", b"\0")
    builder.record("zero", 41 * 4096, b"\0").eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert image.stopped is not None
        assert (image.stopped.code, image.stopped.offset) == ("flags", place)
        assert image.stopped.path.endswith("record[2]")


def test_run_that_leaves_its_block_counts_up_to_there() -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096 * 2)))
    builder.record("page", 4096, page(1, 4096), b"a")
    place = builder.offset
    builder.record("page", 8192, page(2, 4096)).record("page", 12288, page(3, 4096))
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        (note,) = image.notes
        assert (note.offset, note.path.rpartition("/")[2]) == (place, "record[1]")
        assert "0x2000" in note.message
        (block,) = image.blocks
        assert list(image.presence(block).runs()) == [(0, 1, False), (1, 2, True)]
        assert BlockMemory(image, block).read(0, 8192) == bytes(4096) + page(1, 4096)


def test_as_many_outside_pages_as_there_are_leave_a_bounded_number_of_notes() -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    builder.record("zero", 0, b"\0", b"a")
    for number in range(3000):
        builder.record("zero", (2 + 2 * number) * 4096, b"\0")
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        assert image.complete
        assert len(image.notes) == 1000
