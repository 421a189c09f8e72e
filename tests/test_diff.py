"""What differs between two images, against naive comparisons and real saves."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from builders import Block, StreamBuilder, bitmap_bytes, device, open_bytes, ordinary_image, uint
from conftest import SAMPLES, absent, run_cli, unpack
from fixedram_fmt import Image
from fixedram_fmt.bitmap import HostLong
from fixedram_fmt.diff import Change, Options, diff, page_rows
from fixedram_fmt.diff import ram as ram_module
from fixedram_fmt.errors import FixedRamError, FormatError
from fixedram_fmt.vmstate.paths import Pattern

PAGE = 256


def memory(seed: int, pages: int, page_size: int = PAGE) -> bytes:
    """Pages of which a third is zero, some in rows."""
    chance = random.Random(seed)
    parts: list[bytes] = []
    while len(parts) < pages:
        row = chance.choice((1, 1, 2, 9, 40))
        zero = chance.random() < 0.4
        parts += [bytes(page_size) if zero else chance.randbytes(page_size) for _ in range(row)]
    return b"".join(parts[:pages])


def mutated(content: bytes, seed: int, page_size: int = PAGE) -> bytes:
    """Some pages with another byte, some wiped, some filled."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for page in range(len(content) // page_size):
        what = chance.random()
        start = page * page_size
        if what < 0.1:
            changed[start + chance.randrange(page_size)] ^= 1 << chance.randrange(8)
        elif what < 0.2:
            changed[start : start + page_size] = bytes(page_size)
        elif what < 0.3:
            changed[start + chance.randrange(page_size)] = 7
    return bytes(changed)


def image_of(*blocks: Block, **options: Any) -> bytes:
    builder = StreamBuilder(**options).header().configuration()
    return builder.mapped_ram(*blocks).eof().file()


def naive(a: bytes, b: bytes, page_size: int) -> dict[str, list[int]]:
    """Pages that differ, by kind, as a loop."""
    length = max(len(a), len(b))
    a, b = a.ljust(length, b"\0"), b.ljust(length, b"\0")
    found: dict[str, list[int]] = {"changed": [], "only-a": [], "only-b": []}
    for page in range(length // page_size):
        one, other = (side[page * page_size : (page + 1) * page_size] for side in (a, b))
        if one != other:
            kind = "only-b" if not any(one) else "only-a" if not any(other) else "changed"
            found[kind].append(page)
    return found


def pages_of(block: Any) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"changed": [], "only-a": [], "only-b": []}
    for one in block.ranges:
        found[one.change.value] += range(one.start, one.stop)
    return found


def compared(a: bytes, b: bytes, **options: Any) -> Any:
    with open_bytes(a) as first, open_bytes(b) as second:
        return diff(first, second, Options(**options))


# -- memory ---------------------------------------------------------------------------------------


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
        assert left.stop < right.start or left.change is not right.change
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
        ((address, before, after),) = rows.rows
        assert address == at // 16 * 16
        assert before == content[address : address + 16]
        assert after == bytes(changed[address : address + 16])
        assert rows.bytes_differing == 1


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


# -- state and structure --------------------------------------------------------------------------


def with_device(body: bytes, *fields: dict[str, Any], name: str = "dev", version: int = 1) -> bytes:
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(PAGE)))
    described = {**device(name, len(body)), "fields": list(fields), "version": version}
    builder.start(3, name.encode(), full=True, version=version)
    builder.put("device", body).footer(3)
    return builder.described(described).file()


FIELDS = (uint("count"), uint("clock", 8), uint("regs", 2, array_len=4),
          {"name": "name", "type": "buffer", "size": 20})  # fmt: skip


def test_values_that_changed_are_named_with_before_and_after() -> None:
    before = bytes(range(20)) + b"abc".ljust(20, b"\0")
    after = bytearray(before)
    after[3] = 9
    after[12 + 2 * 2] ^= 0xFF
    after[20] = ord("X")
    a, b = with_device(before, *FIELDS), with_device(bytes(after), *FIELDS)
    state = compared(a, b).state
    assert state is not None
    found = {value.path: (value.a, value.b) for value in state.values}
    assert found == {
        "dev/count": (0x00010203, 0x00010209),
        "dev/regs[2]": (0x1011, 0xEF11),
        "dev/name": (bytes(before[20:]), bytes(after[20:])),
    }
    value = next(value for value in state.values if value.path == "dev/regs[2]")
    assert value.offset_a is not None
    assert a[value.offset_a : value.offset_a + 2] == b"\x10\x11"
    assert b[value.offset_b : value.offset_b + 2] == b"\xef\x11"


@pytest.mark.parametrize("glob", ["dev/clock", "**/clock", "dev/0/clock", "*/cl?ck", "dev"])
def test_state_that_is_ignored_does_not_count(glob: str) -> None:
    before = bytes(40)
    after = bytes(11) + b"\x01" + bytes(28)
    a, b = with_device(before, *FIELDS), with_device(after, *FIELDS)
    assert not compared(a, b).same
    found = compared(a, b, ignore=(Pattern(glob),))
    assert found.same
    assert found.state.ignored == 1


def test_without_a_description_the_bytes_are_compared() -> None:
    def image(body: bytes) -> bytes:
        builder = StreamBuilder().header().configuration().mapped_ram(Block(b"r", bytes(PAGE)))
        return builder.full(3, b"dev", body).eof().file()

    state = compared(image(bytes(9)), image(bytes(5) + b"\x01\x02" + bytes(2))).state
    (value,) = state.values
    assert value.path == "dev"
    assert "2 bytes differ, from byte 0x5" in value.note


def test_an_image_without_a_description_is_read_by_the_others() -> None:
    body = bytes(40)
    described = with_device(bytes(3) + b"\x05" + body[4:], *FIELDS)
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(PAGE)))
    bare = builder.start(3, b"dev", full=True, version=1).put("device", body).footer(3).eof().file()
    for pair in ((described, bare), (bare, described)):
        (value,) = compared(*pair).state.values
        assert value.path == "dev/count"
        assert {value.a, value.b} == {0, 5}


def test_structure_names_machine_capabilities_devices_and_versions() -> None:
    def image(machine: bytes, capability: bytes, *names: bytes, version: int = 1) -> bytes:
        builder = StreamBuilder().header().configuration(machine, (b"mapped-ram", capability))
        builder.mapped_ram(Block(b"ram", bytes(PAGE)))
        for number, name in enumerate(names, 3):
            builder.start(number, name, full=True, version=version).put("device", bytes(4))
            builder.footer(number)
        return builder.eof().file()

    found = compared(
        image(b"pc-1", b"x-ignore-shared-not", b"timer", b"gone"),
        image(b"pc-2", b"other", b"timer", b"new", version=2),
    )
    assert {(one.what, one.name, one.a, one.b) for one in found.structure} == {
        ("machine", "", "pc-1", "pc-2"),
        ("capability", "x-ignore-shared-not", "on", None),
        ("capability", "other", None, "on"),
        ("device", "timer", "version 1", "version 2"),
        ("device", "gone", "version 1", None),
        ("device", "new", None, "version 2"),
    }


def test_the_layouts_capability_is_a_note_and_no_difference() -> None:
    content = memory(17, 20)

    def image(layout: bytes) -> bytes:
        builder = StreamBuilder().header().configuration(capabilities=(layout,))
        return builder.mapped_ram(Block(b"ram", content)).eof().file()

    found = compared(image(b"mapped-ram"), image(b"fixed-ram"))
    assert found.same
    assert any(note.startswith("dialect") for note in found.notes)


def test_long_arrays_are_compared_by_their_bytes() -> None:
    size = 900_000
    field = {**uint("table", 1), "array_len": size}
    before, after = bytes(size), bytearray(size)
    after[777_777] = 5
    (value,) = compared(with_device(before, field), with_device(bytes(after), field)).state.values
    assert (value.path, value.a, value.b) == ("dev/table[777777]", 0, 5)


# -- real images ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(unpacked_dir: Path) -> Any:
    def sample(name: str) -> Path:
        packed = SAMPLES / f"{name}.xz"
        if not packed.exists():
            absent(str(packed))
        return unpack(packed, unpacked_dir / f"sample-{name.partition('.')[0]}")

    return sample


def real_naive(image: Image) -> dict[str, bytes]:
    """The memory of all blocks, read bit by bit from the bitmap."""
    memories = {}
    data = Path(image.source.name).read_bytes()
    for block in image.blocks:
        content = bytearray(block.used_length)
        size = block.page_size
        for page in range(block.pages_total):
            if data[block.bitmap_offset + page // 8] >> page % 8 & 1:
                at = block.pages_offset + page * size
                content[page * size : (page + 1) * size] = data[at : at + size]
        memories[block.name] = bytes(content)
    return memories


def test_two_saves_of_real_guests_differ_where_a_loop_says(samples: Any) -> None:
    with Image.open(samples("pc-once.img")) as a, Image.open(samples("pc-live.img")) as b:
        found = diff(a, b)
        memories = [real_naive(image) for image in (a, b)]
        for block in found.blocks:
            one, other = (side[block.name] for side in memories)
            assert pages_of(block) == naive(one, other, 4096), block.name
        assert found.state is not None
        assert found.state.total
        for value in found.state.values:
            if value.change is Change.CHANGED and not value.note:
                found_a, found_b = (image.state.value(value.path) for image in (a, b))
                assert found_a is not None
                assert found_b is not None
                assert (found_a.value, found_b.value) == (value.a, value.b)
                assert value.a != value.b


@pytest.mark.parametrize(
    "how", [["--rebase", "12345"], ["--align", "64K"], ["--container", "libvirt"],
            ["--drop-stale"], ["--byte-order", "big"]],
)  # fmt: skip
def test_a_copy_is_the_same_however_it_is_laid_out(
    how: list[str], samples: Any, tmp_path: Path
) -> None:
    source, copy = samples("pc-live.img"), tmp_path / "copy.img"
    xml = ["--xml", str(tmp_path / "d.xml")] if "libvirt" in how else []
    (tmp_path / "d.xml").write_text("<domain><name>x</name></domain>")
    made = run_cli("copy", source, "-o", copy, *how, *xml)
    assert made.code == 0, made.err
    result = run_cli("diff", source, copy, "--json", *(["--search"] if "--rebase" in how else []))
    assert (result.code, result.json["same"]) == (0, True), result.out + result.err


@pytest.mark.parametrize("name", ["pc-live.img", "q35-dimm.img"])
def test_a_converted_image_is_the_same(name: str, samples: Any, tmp_path: Path) -> None:
    source, stream = samples(name), tmp_path / "stream"
    if run_cli("convert", "--help").code:
        pytest.skip("fixedram convert is absent")
    made = run_cli("convert", source, "-o", stream, "--to", "stream")
    assert made.code == 0, made.err
    result = run_cli("diff", source, stream, "--json")
    assert (result.code, result.json["same"]) == (0, True), result.out + result.err


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one = memory(20, 300)
    paths = (tmp_path / "a.img", tmp_path / "b.img")
    for path, content in zip(paths, (one, mutated(one, 21)), strict=True):
        path.write_bytes(image_of(Block(b"ram\x1b[31m", content)))
    return paths


def test_exit_codes_are_those_of_cmp(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    assert run_cli("diff", a, a).code == 0
    assert run_cli("diff", a, b).code == 1
    assert run_cli("diff", a, tmp_path / "none").code == 2
    assert run_cli("diff", a, b, "--ram-only", "--state-only").code == 2
    assert run_cli("diff", a, b, "--block", "none").code == 2
    quiet = run_cli("diff", a, b, "--quiet")
    assert (quiet.code, quiet.out) == (1, "")


def test_compare_is_diff(pair: tuple[Path, Path]) -> None:
    a, b = pair
    assert run_cli("compare", a, b).out == run_cli("diff", a, b).out


def test_text_is_plain_and_shows_nothing_that_acts(pair: tuple[Path, Path]) -> None:
    result = run_cli("diff", *pair, "--pages")
    assert "\x1b" not in result.out + result.err
    assert "ram\\x1b[31m" in result.out
    body = [line for line in result.out.splitlines() if not line.startswith(("A ", "B "))]
    assert max(map(len, body)) <= 80


def test_json_has_the_keys_that_programs_rely_on(pair: tuple[Path, Path]) -> None:
    found = run_cli("diff", *pair, "--json", "--pages", "--limit", "3").json
    assert found.keys() == {"a", "b", "same", "structure", "ram", "state", "notes", "trouble"}
    assert found["same"] is False
    (block,) = found["ram"]["blocks"]
    assert len(block["ranges"]) == 3
    first = block["ranges"][0]
    assert first["address"] == first["first_page"] * PAGE
    pages = found["ram"]["pages"]
    assert len(pages) == 3
    assert pages[0]["rows"][0].keys() == {"address", "a", "b"}


def test_ignored_clocks_leave_registers(samples: Any) -> None:
    a, b = samples("pc-once.img"), samples("pc-live.img")
    paths = {
        value["path"]
        for value in run_cli("diff", a, b, "--state-only", "--ignore-clocks", "--json").json[
            "state"
        ]["values"]
    }
    assert "cpu/env.eip" in paths
    assert not any("timer/" in path or "last_update" in path for path in paths)


def test_standard_input_is_one_side(pair: tuple[Path, Path]) -> None:
    a, _ = pair
    assert run_cli("diff", "-", a, stdin=a.read_bytes()).code == 0
    assert run_cli("diff", "-", "-", stdin=b"").code == 2


def test_hostile_images_end_in_a_result_or_in_our_error(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = with_device(bytes(range(40)), *FIELDS)
    chance = random.Random(5)
    for number in range(400):
        data = bytearray(whole)
        if number % 2:
            del data[chance.randrange(len(data)) :]
        for _ in range(3):
            if data:
                data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF))
        try:
            with open_bytes(whole) as first, open_bytes(bytes(data)) as second:
                found = diff(first, second)
                for block in found.blocks:
                    list(page_rows(first, second, block, 3))
        except FixedRamError:
            pass
    broken = tmp_path / "broken"
    broken.write_bytes(pair[0].read_bytes()[:3000])
    result = run_cli("diff", pair[0], broken)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert "the stream stops early" in result.err


def test_bitmaps_of_a_hostile_length_are_not_believed() -> None:
    """Lengths of 2^62 in the headers: an answer, at once."""
    data = bytearray(image_of(Block(b"ram", memory(1, 8))))
    length = (8 * PAGE).to_bytes(8, "big")
    at = data.index(b"\x03ram" + length) + 4
    data[at : at + 8] = (1 << 62).to_bytes(8, "big")
    with open_bytes(image_of(Block(b"ram", memory(1, 8)))) as first, open_bytes(bytes(data)) as b:
        found = diff(first, b)
    assert found.structure or found.trouble
    assert bitmap_bytes({0}, 1)[0] == 1
