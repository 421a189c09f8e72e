"""diff: the pages that differ are those a loop finds, however images are stored."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from fixedram_fmt import Image
from fixedram_fmt.comparison import Options, diff, page_rows
from fixedram_fmt.comparison import ram as ram_module
from fixedram_fmt.errors import FormatError
from fixedram_fmt.presence.hostlong import HostLong
from support.builders import Block, StreamBuilder, open_bytes, ordinary_image
from support.image_pairs import PAGE, compared, image_of, memory, mutated, naive, pages_of


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [1 << 20, 192, 64])
def test_pages_that_differ_are_those_a_loop_finds(
    seed: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ram_module, "_STEP", step)
    monkeypatch.setattr(ram_module, "_WINDOW", 8 * PAGE)
    one = memory(seed, 700)
    other = mutated(one, seed + 100)
    found = compared(image_of(Block(b"ram", one)), image_of(Block(b"ram", other)))
    (block,) = found.blocks
    expected = naive(one, other, PAGE)
    assert pages_of(block) == expected
    counts = [len(expected[kind]) for kind in ("changed", "only-a", "only-b")]
    assert [block.changed, block.only_a, block.only_b] == counts
    first = next(at for at, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
    assert block.first_byte == first
    assert block.ranges_total == len(block.ranges)
    # Ranges are as long as they can be.
    for left, right in pairwise(block.ranges):
        assert left.first_page + left.pages < right.first_page or left.change is not right.change
    assert sum(number for number, _ in block.cells) == sum(counts)
    assert sum(total for _, total in block.cells) == block.pages


@pytest.mark.parametrize("cells", [1, 3, 64, 512])
def test_the_map_counts_what_differs_in_equal_parts(cells: int) -> None:
    one = memory(3, 321)
    other = mutated(one, 4)
    found = compared(image_of(Block(b"r", one)), image_of(Block(b"r", other)), cells=cells)
    (block,) = found.blocks
    differing = {page for pages in naive(one, other, PAGE).values() for page in pages}
    number = min(cells, 321)
    expected = []
    for cell in range(number):
        part = range(321 * cell // number, 321 * (cell + 1) // number)
        expected.append((len(differing & set(part)), len(part)))
    assert list(block.cells) == expected


def test_stale_bytes_and_stored_zero_pages_do_not_count() -> None:
    content = memory(1, 40)
    zero = next(p for p in range(40) if not any(content[p * PAGE : (p + 1) * PAGE]))
    plain = image_of(Block(b"ram", content))
    stale = image_of(Block(b"ram", content, stale={zero: b"old!" * (PAGE // 4)}))
    assert compared(plain, stale).same
    # The page is present in one image, as zeros.
    data = bytearray(plain)
    with open_bytes(plain) as image:
        at = image.blocks[0].bitmap_offset
    data[at + zero // 8] |= 1 << zero % 8
    assert compared(plain, bytes(data)).same


@pytest.mark.parametrize("order", list(HostLong))
@pytest.mark.parametrize("base", [0, 4097])
def test_how_it_is_stored_is_no_difference(order: HostLong, base: int) -> None:
    content = memory(2, 300)
    a = image_of(Block(b"ram", content))
    b = image_of(Block(b"ram", content), host_long=order, base=base, align=4096)
    with open_bytes(a) as first, open_bytes(b, host_long=order, offset=base) as second:
        found = diff(first, second)
    assert found.same
    assert bool(found.notes) == (order is not HostLong.LITTLE_64 or base > 0)


@pytest.mark.parametrize("sizes", [(256, 1024), (4096, 256), (512, 512)])
def test_images_of_different_page_sizes_are_compared_in_the_smaller(sizes: tuple[int, int]) -> None:
    one = memory(5, 64, 1024)
    other = mutated(one, 6, 256)
    a, b = (
        image_of(Block(b"ram", content), page_size=size, align=4096)
        for content, size in zip((one, other), sizes, strict=True)
    )
    found = compared(a, b)
    (block,) = found.blocks
    assert block.page_size == min(sizes)
    assert pages_of(block) == naive(one, other, min(sizes))
    assert ("block.page_size" in {one.what for one in found.structure}) == (sizes[0] != sizes[1])
    assert not any(b.differing for b in compared(a, image_of(
        Block(b"ram", one), page_size=sizes[1], align=4096)).blocks)  # fmt: skip


def test_blocks_that_one_image_lacks_or_that_grew_are_compared_with_zeros() -> None:
    one, more = memory(7, 30), memory(8, 20)
    found = compared(
        image_of(Block(b"ram", one), Block(b"dimm", more)), image_of(Block(b"ram", one + more))
    )
    by_name = {block.name: block for block in found.blocks}
    assert pages_of(by_name["ram"]) == naive(one, one + more, PAGE)
    assert pages_of(by_name["dimm"]) == naive(more, b"", PAGE)
    told = {(one.what, one.name, one.a, one.b) for one in found.structure}
    assert ("block", "dimm", str(20 * PAGE), None) in told
    assert ("block.used_length", "ram", str(30 * PAGE), str(50 * PAGE)) in told


def test_an_ordinary_stream_is_compared_by_what_its_records_add_up_to() -> None:
    size = 1024
    stream = ordinary_image(size).file()
    # Two ZERO records with 0, one with 1; the last page was never sent.
    vga = bytes(2 * size) + b"\x01" * size + bytes(size)
    mapped = image_of(Block(b"pc.ram", bytes(16 * size)), Block(b"vga", vga), page_size=size)
    found = compared(stream, mapped, state=False, blocks=frozenset({"vga"}))
    assert not found.trouble
    assert not any(block.differing for block in found.blocks)
    # In pc.ram lies a compressed page that is none: trouble, and no traceback.
    assert "compressed page" in compared(stream, mapped, state=False).trouble[0]


def test_a_page_outside_the_file_is_trouble_and_the_rest_is_compared() -> None:
    content = memory(9, 200)
    whole = image_of(Block(b"ram", content))
    with open_bytes(whole) as image:
        start = image.blocks[0].pages_offset
    cut = whole[: start + 100 * PAGE]
    found = compared(whole, cut)
    (block,) = found.blocks
    expected = [p for p in range(100, 200) if any(content[p * PAGE : (p + 1) * PAGE])]
    assert block.unreadable == len(expected)
    assert not block.differing
    assert any("outside the file" in text for text in found.trouble)


def test_limit_keeps_so_many_ranges_and_counts_all() -> None:
    one = memory(11, 400)
    other = mutated(one, 12)
    a, b = (
        image_of(Block(b"x", one), Block(b"y", one)),
        image_of(Block(b"x", other), Block(b"y", other)),
    )
    everything = compared(a, b)
    few = compared(a, b, limit=5)
    assert sum(len(block.ranges) for block in few.blocks) == 5
    assert few.blocks[0].ranges == everything.blocks[0].ranges[:5]
    assert [block.ranges_total for block in few.blocks] == [
        block.ranges_total for block in everything.blocks
    ]


@pytest.mark.slow
def test_one_flipped_bit_is_found_at_its_place(tmp_path: Path) -> None:
    content = memory(13, 500)
    chance = random.Random(1)
    for _ in range(20):
        page = chance.choice([p for p in range(500) if any(content[p * PAGE : (p + 1) * PAGE])])
        at = page * PAGE + chance.randrange(PAGE)
        changed = bytearray(content)
        changed[at] ^= 1 << chance.randrange(8)
        a, b = image_of(Block(b"ram", content)), image_of(Block(b"ram", bytes(changed)))
        with open_bytes(a) as first, open_bytes(b) as second:
            (block,) = diff(first, second).blocks
            (rows,) = page_rows(first, second, block)
        assert block.first_byte == at
        assert block.differing == 1
        (row,) = rows.rows
        assert row.address == at // 16 * 16
        assert row.a == content[row.address : row.address + 16]
        assert row.b == bytes(changed[row.address : row.address + 16])
        assert rows.bytes_differing == 1


@pytest.mark.slow
def test_holes_of_present_pages_are_zero_and_cost_nothing(tmp_path: Path) -> None:
    """A block of 1 TiB, all of it present, nothing of it stored."""
    pages = (1 << 40) // 4096
    paths = []
    for name, page in (("a", None), ("b", 123_456_789)):
        head = image_of(Block(b"ram", bytes(4096)), page_size=4096)
        with open_bytes(head) as image:
            block = image.blocks[0]
        data = bytearray(head[: block.pages_offset])
        small = (4096).to_bytes(8, "big")
        while small in data[: block.bitmap_offset]:
            at = data.index(small)
            if at == block.bitmap_offset - 24:
                break
            data[at : at + 8] = (1 << 40).to_bytes(8, "big")
        start = 1 << 26
        data[block.bitmap_offset - 8 : block.bitmap_offset] = start.to_bytes(8, "big")
        mem_size = data.index((4096 | 4).to_bytes(8, "big"))
        data[mem_size : mem_size + 8] = (1 << 40 | 4).to_bytes(8, "big")
        path = tmp_path / name
        try:
            with path.open("wb") as file:
                file.write(data[: block.bitmap_offset])
                file.write(b"\xff" * (pages // 8))
                if page is not None:
                    file.seek(start + page * 4096 + 17)
                    file.write(b"!")
                file.truncate(start + (1 << 40) + 64)
        except OSError as error:
            pytest.skip(f"this file system has no file of 1 TiB: {error}")
        paths.append(path)
    with Image.open(paths[0]) as first, Image.open(paths[1]) as second:
        (found,) = diff(first, second, Options(state=False)).blocks
    assert found.pages == pages
    assert (found.only_b, found.first_byte) == (1, 123_456_789 * 4096 + 17)


def test_the_same_file_is_the_same_however_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(image_of(Block(b"ram", memory(14, 100))))
    (tmp_path / "b.img").symlink_to(path)
    with Image.open(path) as first, Image.open(tmp_path / "b.img") as second:
        assert diff(first, second).same
    # Read with another byte order the same file is another memory.
    with Image.open(path) as first, Image.open(path, host_long=HostLong.BIG_64) as second:
        assert not diff(first, second).same


def test_a_block_that_neither_has_is_an_error() -> None:
    data = image_of(Block(b"ram", memory(15, 10)))
    with pytest.raises(FormatError, match="neither image has a block"):
        compared(data, data, blocks=frozenset({"rom"}))


def test_ignored_blocks_are_told_and_are_no_trouble() -> None:
    content = memory(16, 10)
    saved = image_of(Block(b"ram", content))
    builder = StreamBuilder(ignore_shared=True).header()
    builder.configuration(capabilities=(b"x-ignore-shared", b"mapped-ram"))
    left_out = builder.mapped_ram(Block(b"ram", content, ignored=True)).eof().file()
    found = compared(saved, left_out)
    assert "x-ignore-shared" in found.blocks[0].not_compared
    assert not found.trouble
    assert {(one.what, one.name) for one in found.structure} >= {("block.memory", "ram")}
