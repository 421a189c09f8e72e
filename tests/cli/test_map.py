"""Page maps: counts against loops, pictures against an independent decoder, the command."""

from __future__ import annotations

import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import SAMPLES, absent, run_cli, unpack
from fixedram_fmt.pagemap.cells import page_cells
from fixedram_fmt.pagemap.picture import (
    ABSENT,
    LEVELS,
    NOTHING,
    PALETTE,
    PRESENT,
    STALE,
    ZERO,
    Order,
    colours_of,
    draw,
    png,
    square_cells,
    svg,
)
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.results import builtins
from support.builders import Block, StreamBuilder, open_bytes, ordinary_image, page

PAGE = 256
TIB = 1 << 40


def random_block(seed: int, pages: int) -> tuple[Block, set[int], set[int]]:
    """A block with present and stale pages at random, and which these are."""
    chance = random.Random(seed)
    present = {number for number in range(pages) if chance.random() < 0.4}
    memory = b"".join(page(n, PAGE) if n in present else bytes(PAGE) for n in range(pages))
    stale = {n for n in range(pages) if n not in present and chance.random() < 0.2}
    block = Block(b"ram", memory, stale=dict.fromkeys(stale, b"old!" * (PAGE // 4)))
    return block, present, stale


def image_of(*blocks: Block, **options: Any) -> bytes:
    return StreamBuilder(**options).header().configuration().mapped_ram(*blocks).eof().file()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cells", [1, 7, 64, 100, 999, 5000])
@pytest.mark.parametrize("order", [HostLong.LITTLE_64, HostLong.BIG_64, HostLong.BIG_32])
def test_cells_count_what_a_loop_counts(seed: int, cells: int, order: HostLong) -> None:
    pages = (999, 64, 1, 777)[seed]
    block, present, stale = random_block(seed, pages)
    with open_bytes(image_of(block, host_long=order), host_long=order) as image:
        told = builtins(page_cells(image, image.blocks[0], cells, deep=True).listed())
    number = min(cells, pages)
    assert len(told["cells"]) == number
    for index, cell in enumerate(told["cells"]):
        part = set(range(pages * index // number, pages * (index + 1) // number))
        assert cell == {
            "first_page": min(part),
            "pages": len(part),
            "present": len(part & present),
            "zero": 0,
            "stale": len(part & stale),
        }


def test_stored_zero_pages_are_told_when_pages_are_read() -> None:
    block, present, _ = random_block(9, 200)
    data = bytearray(image_of(block))
    with open_bytes(bytes(data)) as image:
        at = image.blocks[0].pages_offset
    wiped = sorted(present)[:10]
    for number in wiped:
        data[at + number * PAGE : at + (number + 1) * PAGE] = bytes(PAGE)
    with open_bytes(bytes(data)) as image:
        deep = page_cells(image, image.blocks[0], 200, deep=True)
        shallow = page_cells(image, image.blocks[0], 200)
    assert deep.zero is not None
    assert deep.zero.nonzero()[0].tolist() == wiped
    assert shallow.zero is None
    assert shallow.stale is None


def test_bits_past_the_last_page_are_no_pages() -> None:
    block = Block(b"ram", page(1, PAGE) * 3, tail=frozenset({3, 5, 63}))
    with open_bytes(image_of(block)) as image:
        cells = page_cells(image, image.blocks[0], 10)
    assert cells.present is not None
    assert cells.present.tolist() == [1, 1, 1]


def test_pages_of_an_ordinary_stream_and_ignored_blocks_have_maps() -> None:
    with open_bytes(ordinary_image().file()) as image:
        cells = page_cells(image, image.blocks[0], 16, deep=True)
        assert cells.present is not None
        assert cells.present.nonzero()[0].tolist() == [0, 1, 2, 3, 7]
        assert cells.stale is None
    builder = StreamBuilder(ignore_shared=True).header().configuration()
    data = builder.mapped_ram(Block(b"ram", bytes(PAGE * 4), ignored=True)).eof().file()
    with open_bytes(data) as image:
        cells = page_cells(image, image.blocks[0], 16)
    assert cells.ignored
    assert cells.present is None
    assert png(draw(cells)).startswith(b"\x89PNG")


# -- pictures -------------------------------------------------------------------------------------


def decoded(data: bytes) -> tuple[int, int, list[bytes], list[tuple[int, ...]]]:
    """A palette PNG by the book: chunks with their sums, rows without filters."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[y * (width + 1) : (y + 1) * (width + 1)] for y in range(height)]
    assert not any(row[0] for row in rows)
    palette = [tuple(chunks[b"PLTE"][n : n + 3]) for n in range(0, len(chunks[b"PLTE"]), 3)]
    assert max(max(row) for row in rows) < len(palette)
    return width, height, [row[1:] for row in rows], palette


def test_a_png_shows_each_cell_in_its_colour() -> None:
    block, present, stale = random_block(5, 256)
    with open_bytes(image_of(block)) as image:
        picture = draw(page_cells(image, image.blocks[0], 256, deep=True), width=16)
    assert (picture.width, picture.height) == (16, 16)
    _, _, rows, palette = decoded(png(picture))
    assert palette == PALETTE
    # The grid is found by its first cell; each one is a square of equal dots.
    colours = [
        PRESENT + LEVELS - 1 if n in present else STALE + LEVELS - 1 if n in stale else ABSENT
        for n in range(256)
    ]
    assert picture.pixels.ravel().tolist() == colours
    scale = 16
    top = next(y for y, row in enumerate(rows) if bytes([colours[0]]) * scale in row)
    left = rows[top].index(bytes([colours[0]]) * scale)
    for number, colour in enumerate(colours):
        y, x = top + number // 16 * scale, left + number % 16 * scale
        for dy in (0, scale - 1):
            assert rows[y + dy][x : x + scale] == bytes([colour]) * scale


def test_colours_grow_with_what_is_present_and_stale_wins() -> None:
    block, _, _ = random_block(1, 1000)
    with open_bytes(image_of(block)) as image:
        cells = page_cells(image, image.blocks[0], 10)
    assert cells.present is not None
    for colour, present, total in zip(
        colours_of(cells).tolist(), cells.present.tolist(), cells.totals.tolist(), strict=True
    ):
        assert colour == PRESENT + -(-present * LEVELS // total) - 1
    assert STALE > ZERO > PRESENT > ABSENT > NOTHING


def naive_hilbert(side: int, distance: int) -> tuple[int, int]:
    """The curve step by step, as Wikipedia's d2xy has it."""
    x = y = 0
    size, rest = 1, distance
    while size < side:
        right = 1 & rest // 2
        down = 1 & (rest ^ right)
        if down == 0:
            if right == 1:
                x, y = size - 1 - x, size - 1 - y
            x, y = y, x
        x, y = x + size * right, y + size * down
        rest //= 4
        size *= 2
    return x, y


@pytest.mark.parametrize("side", [1, 2, 4, 16, 32])
def test_a_hilbert_curve_lays_neighbours_next_to_each_other(side: int) -> None:
    block, present, _ = random_block(side, side * side)
    with open_bytes(image_of(block)) as image:
        cells = page_cells(image, image.blocks[0], side * side)
    picture = draw(cells, order=Order.HILBERT)
    assert picture.pixels.shape == (side, side)
    for number in range(side * side):
        x, y = naive_hilbert(side, number)
        colour = PRESENT + LEVELS - 1 if number in present else ABSENT
        assert picture.pixels[y, x] == colour


def test_square_cells_are_powers_of_four() -> None:
    assert [square_cells(n) for n in (1, 3, 4, 15, 16, 17, 65536, 100_000)] == [
        1, 1, 4, 4, 16, 16, 65536, 65536,
    ]  # fmt: skip


def test_svg_is_xml_and_hostile_names_are_text_in_it() -> None:
    name = b'<script>alert(1)</script>"]]>&\x00\x1b'
    block = Block(name, page(1, PAGE) * 20)
    with open_bytes(image_of(block)) as image:
        picture = draw(page_cells(image, image.blocks[0], 16))
    root = ElementTree.fromstring(svg(picture))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "rect", "text", "g", "path"}
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert any("<script>alert(1)</script>" in text for text in texts)
    assert png(picture).startswith(b"\x89PNG")


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(unpacked_dir: Path) -> Path:
    packed = SAMPLES / "pc-live.img.xz"
    if not packed.exists():
        absent(str(packed))
    return unpack(packed, unpacked_dir / "sample-pc-live")


@pytest.mark.slow
def test_text_is_plain_narrow_and_ascii_where_it_must_be(live: Path) -> None:
    result = run_cli("map", live, "--deep")
    assert result.code == 0
    assert "\x1b" not in result.out
    assert max(map(len, result.out.splitlines()[1:])) <= 100
    assert "stale" in result.out
    ascii_ = run_cli("map", live, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ascii_.out.isascii()
    assert max(map(len, run_cli("map", live, COLUMNS="40").out.splitlines()[3:])) <= 60


def test_json_has_every_block_and_counts_that_add_up(live: Path) -> None:
    told = run_cli("map", live, "--json", "--cells", "100").json
    info = run_cli("info", live, "--json").json
    assert [block["name"] for block in told["blocks"]] == [b["name"] for b in info["blocks"]]
    for block, expected in zip(told["blocks"], info["blocks"], strict=True):
        assert block["pages_present"] == expected["pages_present"]
        assert sum(cell["present"] for cell in block["cells"]) == expected["pages_present"]
        assert sum(cell["pages"] for cell in block["cells"]) == expected["pages_total"]


@pytest.mark.slow
def test_pictures_are_written_and_errors_leave_nothing(live: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.SVG"):
        for order in ("rows", "hilbert"):
            out = tmp_path / name
            assert run_cli("map", live, "-o", out, "--order", order, "--force").code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(tmp_path / "b.SVG")
    before = sorted(tmp_path.iterdir())
    assert run_cli("map", live, "-o", tmp_path / "c.gif").code == 2
    assert run_cli("map", live, "-o", tmp_path / "none" / "c.png").code == 2
    assert run_cli("map", live, "-o", tmp_path / "d.png", "--block", "none").code == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_an_error_and_leaves_nothing(live: Path) -> None:
    if not Path("/dev/full").exists():
        absent("/dev/full")
    result = run_cli("map", live, "-o", "/dev/full/x.png")
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_a_guest_of_1_tib_takes_well_under_a_second(tmp_path: Path) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration()
    data = bytearray(builder.mapped_ram(Block(b"pc.ram", bytes(4096))).eof().file())
    with open_bytes(bytes(data)) as image:
        block = image.blocks[0]
    name = data.index(b"pc.ram")
    data[name + 6 : name + 14] = TIB.to_bytes(8, "big")
    data[name - 9 : name - 1] = (TIB | 4).to_bytes(8, "big")
    data[block.bitmap_offset - 8 : block.bitmap_offset] = (1 << 26).to_bytes(8, "big")
    path = tmp_path / "huge.img"
    try:
        with path.open("wb") as file:
            file.write(data[: block.bitmap_offset])
            file.write((b"\x01" + bytes(8191)) * (TIB // 4096 // 65536))
            file.truncate((1 << 26) + TIB)
    except OSError as error:
        pytest.skip(f"this file system has no file of 1 TiB: {error}")
    with open_path(path) as image:
        start = time.monotonic()
        cells = page_cells(image, image.blocks[0], 1 << 16)
        assert time.monotonic() - start < 1
    assert cells.present is not None
    assert cells.present.tolist() == [1 if n % 16 == 0 else 0 for n in range(1 << 16)]


def open_path(path: Path) -> Any:
    from fixedram_fmt import Image

    return Image.open(path)
