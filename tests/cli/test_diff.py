"""diff: real images, and the command."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from conftest import SAMPLES, absent, run_cli, unpack
from fixedram_fmt import Image
from fixedram_fmt.comparison import Change, diff, page_rows
from fixedram_fmt.errors import FixedRamError
from support.builders import Block, open_bytes
from support.image_pairs import (
    FIELDS,
    PAGE,
    image_of,
    memory,
    mutated,
    naive,
    pages_of,
    with_device,
)
from support.synthetic import made

# -- real images -----------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_two_saves_of_real_guests_differ_where_a_loop_says(samples: Any) -> None:
    with Image.open(samples("pc-once.img")) as a, Image.open(samples("pc-live.img")) as b:
        found = diff(a, b)
        memories = [real_naive(image) for image in (a, b)]
        for block in found.blocks:
            one, other = (side[block.name] for side in memories)
            assert pages_of(block) == naive(one, other, 4096), block.name
        assert found.state is not None
        assert found.state.differing
        for value in found.state.values:
            if value.change is Change.CHANGED and not value.note:
                found_a, found_b = (image.state.value(value.path) for image in (a, b))
                assert found_a is not None
                assert found_b is not None
                assert (found_a.value, found_b.value) == (value.a, value.b)
                assert value.a != value.b


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [["--rebase", "12345"], ["--align", "64K"], ["--container", "libvirt"],
            ["--drop-stale"], ["--byte-order", "big"]],
)  # fmt: skip
def test_a_copy_is_the_same_however_it_is_laid_out(
    how: list[str], samples: Any, tmp_path: Path
) -> None:
    source, copy = samples("pc-live.img"), tmp_path / "copy.img"
    xml = ["--xml", str(tmp_path / "d.xml")] if "libvirt" in how else []
    (tmp_path / "d.xml").write_text("<domain><name>x</name><os><type>hvm</type></os></domain>")
    made = run_cli("copy", source, "-o", copy, *how, *xml)
    assert made.code == 0, made.err
    result = run_cli("diff", source, copy, "--json", *(["--search"] if "--rebase" in how else []))
    assert (result.code, result.json["same"]) == (0, True), result.out + result.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc-live.img", "q35-dimm.img"])
def test_a_converted_image_is_the_same(name: str, samples: Any, tmp_path: Path) -> None:
    source, stream = samples(name), tmp_path / "stream"
    if run_cli("convert", "--help").code:
        pytest.skip("fixedram convert is absent")
    made = run_cli("convert", source, "-o", stream, "--to", "stream")
    assert made.code == 0, made.err
    result = run_cli("diff", source, stream, "--json")
    assert (result.code, result.json["same"]) == (0, True), result.out + result.err


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one = memory(20, 300)
    paths = (tmp_path / "a.img", tmp_path / "b.img")
    for path, content in zip(paths, (one, mutated(one, 21)), strict=True):
        path.write_bytes(image_of(Block(b"ram\x1b[31m", content)))
    return paths


@pytest.mark.slow
def test_exit_codes_are_those_of_cmp(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    assert run_cli("diff", a, a).code == 0
    assert run_cli("diff", a, b).code == 1
    assert run_cli("diff", a, tmp_path / "none").code == 2
    assert run_cli("diff", a, b, "--ram-only", "--state-only").code == 2
    assert run_cli("diff", a, b, "--block", "none").code == 2
    quiet = run_cli("diff", a, b, "--quiet")
    assert (quiet.code, quiet.out) == (1, "")


@pytest.mark.slow
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
    assert found.keys() == {"a", "b", "same", "structure", "ram", "state", "notes", "trouble",
                            "restore"}  # fmt: skip
    assert found["same"] is False
    (block,) = found["ram"]["blocks"]
    assert len(block["ranges"]) == 3
    first = block["ranges"][0]
    assert first["address"] == first["first_page"] * PAGE
    pages = found["ram"]["pages"]
    assert len(pages) == 3
    assert pages[0]["rows"][0].keys() == {"address", "a", "b"}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_part_that_is_asked_about_is_compared_alone(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("pc", "q35")]
    for image in images:
        image.write_bytes(made(machine=image.name))
    assert run_cli("diff", *images).code == 1
    for part in (["--ram-only"], ["--state-only"], ["--block", "pc.ram"]):
        done = run_cli("diff", *images, *part, "--json")
        assert (done.code, done.json["structure"]) == (0, [])


# -- where each restores ---------------------------------------------------------------------------


@pytest.mark.slow
def test_what_the_other_vm_would_refuse_is_told_both_ways(samples: Any) -> None:
    a, b = samples("q35-devices.img"), samples("q35-dimm.img")
    result = run_cli("diff", a, b, "--state-only", "--limit", "1")
    assert result.code == 1
    _, _, told = result.out.partition("\nrestore  ")
    first, _, second = told.partition("  B into a VM like A's: ")
    assert first.startswith("qemu-11.1\n  A into a VM like B's: refuses (T04) Unknown ramblock")
    assert second.startswith('refuses (T04) Unknown ramblock "ram0"')
    assert first.count("    T") == second.count("    T") == 5
    assert "more findings (--json has them)" in first
    assert "the same -m slots=" in first
    older = run_cli("diff", a, b, "--state-only", "--loader", "qemu-10.0", "--json").json
    assert older["restore"]["a_into_b"]["loader"] == "qemu-10.0"
    assert run_cli("diff", a, b, "--loader", "none").code == 2


@pytest.mark.slow
def test_nothing_is_told_of_images_that_load_both_ways(samples: Any) -> None:
    a, b = samples("pc-once.img"), samples("pc-live.img")
    assert "restore" not in run_cli("diff", a, b).out
    found = run_cli("diff", a, b, "--json").json["restore"]
    assert [one["verdict"] for one in found.values()] == ["loads", "loads"]
    for part in (["--ram-only"], ["--block", "pc.ram"]):
        assert run_cli("diff", a, b, *part, "--json").json["restore"] is None


@pytest.mark.slow
def test_without_descriptions_it_says_what_is_not_judged(samples: Any) -> None:
    out = run_cli("diff", samples("pc-no-vmdesc.img"), samples("pc-live.img"), "--state-only").out
    assert "A into a VM like B's: loads\n    not judged: " in out
    assert "what is inside the devices" in out
    out = run_cli("diff", samples("failed-ignore-shared.img"), samples("pc-live.img")).out
    assert "not judged: A cannot be read to its end" in out


@pytest.mark.slow
def test_names_of_devices_are_shown_and_do_not_act(tmp_path: Path) -> None:
    paths = tmp_path / "a.img", tmp_path / "b.img"
    for path, name in zip(paths, ("dev\x1b[31m\u202e", "other\x07\x9b"), strict=True):
        path.write_bytes(with_device(bytes(40), *FIELDS, name=name))
    result = run_cli("diff", *paths)
    assert "    T08  the destination has no 'dev" in result.out
    assert "dev\\x1b[31m" in result.out
    assert not set("\x1b\x07\x9b\u202e") & set(result.out + result.err)
