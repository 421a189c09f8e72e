"""Which bitmaps a rescue makes again, which it keeps, and what it says of them."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import fixedram_fmt as fx
from fixedram_fmt.presence.scan import scan_pages
from fixedram_fmt.recovery import BitmapState, DataImage, Purpose, Rescue
from fixedram_fmt.recovery.rebuilding import bitmap_chunks, united
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults import fault_named
from support.builders import bitmap_bytes
from support.synthetic import PAGE, image_of
from support.unfinished import PAUSED, RUNNING, memory_of, offset_of, saved, without_bitmaps

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.recovery import Rescued


def rescued(raw: bytes, folder: Path, **options: bool) -> tuple[Rescued, bytes]:
    """The result, and the bytes of the new image."""
    before = bytes(raw)
    done = fx.rescue(raw, folder / "out", force=True, **options)
    assert raw == before
    return done, (folder / "out").read_bytes()


def test_lost_bitmaps_of_a_paused_guest_are_made_again_to_the_byte(tmp_path: Path) -> None:
    whole = saved(PAUSED)
    done, data = rescued(without_bitmaps(whole), tmp_path)
    assert data == whole
    assert done.purpose is Purpose.RESTORE
    assert done.complete
    assert {one.bitmap for one in done.blocks} == {BitmapState.EMPTY}
    assert [one.pages_rebuilt for one in done.blocks] == [6, 2]
    assert done.pages_kept == 0
    assert not done.lost
    assert not done.unknown
    assert not done.warnings


@pytest.mark.parametrize("order", [fx.HostLong.BIG_64, fx.HostLong.LITTLE_32])
def test_new_bitmaps_have_the_order_of_the_host(order: fx.HostLong, tmp_path: Path) -> None:
    whole = saved(byte_order=order.label)
    with fx.open(without_bitmaps(whole, 0), host_long=order) as image:
        fx.rescue(image, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == whole


def test_bitmap_of_one_block_is_made_again_and_the_other_kept(tmp_path: Path) -> None:
    whole = saved(PAUSED)
    done, data = rescued(without_bitmaps(whole, 0), tmp_path)
    assert data == whole
    assert [one.bitmap for one in done.blocks] == [BitmapState.EMPTY, BitmapState.WHOLE]
    assert [one.pages_kept for one in done.blocks] == [0, 2]


def test_pages_of_a_guest_that_ran_are_in_doubt_but_those_of_a_rom(tmp_path: Path) -> None:
    done, _ = rescued(without_bitmaps(saved(RUNNING)), tmp_path)
    assert done.purpose is Purpose.FORENSICS
    assert [one.doubtful_pages for one in done.blocks] == [6, 0]
    (doubt,) = done.blocks[0].doubtful
    assert "may have run" in doubt.why
    assert "current" in done.unknown[0]
    assert done.would is not None
    assert done.would.outcome == "loads"
    assert any("not fit for a restore" in text for text in done.warnings)


def test_sound_image_stays_as_it_is(tmp_path: Path) -> None:
    whole = saved()
    done, data = rescued(whole, tmp_path)
    assert data == whole
    assert done.purpose is Purpose.RESTORE
    assert done.pages_rebuilt == 0
    assert not done.changed


def stale(state: dict[str, str]) -> bytes:
    return saved(state, faults=[fault_named("stale-page")])


def test_stale_pages_stay_away_unless_all_are_asked_for(tmp_path: Path) -> None:
    raw = stale(RUNNING)
    with image_of(raw) as image:
        block = image.blocks[0]
        bits = image.presence(block).count()
        stale_pages = scan_pages(image.source, block, image.presence(block)).stale_pages
    done, written = rescued(raw, tmp_path)
    assert written == raw
    assert done.blocks[0].pages_rebuilt == 0
    done, written = rescued(raw, tmp_path, all_pages=True)
    assert done.blocks[0].pages_rebuilt == done.blocks[0].doubtful_pages == stale_pages > 0
    assert done.blocks[0].pages_kept == bits
    assert done.purpose is Purpose.FORENSICS
    with image_of(written) as image:
        assert image.presence(image.blocks[0]).count() == bits + stale_pages


def test_wrong_place_of_a_bitmap_is_set_right(tmp_path: Path) -> None:
    for name in ("bitmap-past-end", "bitmap-offset-wraps", "overlapping-blocks"):
        whole = saved()
        done, data = rescued(saved(faults=[fault_named(name)]), tmp_path)
        assert BitmapState.UNREADABLE in {one.bitmap for one in done.blocks}
        assert any("bitmap_offset" in text for text in done.changed)
        with image_of(data) as image, image_of(whole) as twin:
            assert memory_of(image) == memory_of(twin)


def test_bitmaps_are_written_one_by_one_and_the_last_may_be_cut(tmp_path: Path) -> None:
    """The RAM has no END yet; the second of three blocks has the first byte of its bitmap only."""
    blocks = [
        {"name": name, "size": 64 * PAGE, "pattern": "counter", "density": 0.9} for name in "abc"
    ]
    whole = saved(blocks=blocks)
    raw = bytearray(whole[: offset_of(whole, Kind.SECTION_END)])
    with image_of(whole) as image:
        memory = memory_of(image)
        second, third = image.blocks[1:]
        raw[second.bitmap_offset + 1 : second.bitmap_offset + 8] = bytes(7)
        raw[third.bitmap_offset : third.bitmap_offset + 8] = bytes(8)
    done, data = rescued(bytes(raw), tmp_path)
    states = [BitmapState.WHOLE, BitmapState.CUT, BitmapState.EMPTY]
    assert [one.bitmap for one in done.blocks] == states
    assert done.blocks[1].pages_kept == raw[second.bitmap_offset].bit_count()
    with image_of(data) as image:
        assert memory_of(image) == memory


def test_page_map_says_why_each_page_is_present(tmp_path: Path) -> None:
    with fx.open(without_bitmaps(saved(RUNNING), 0)) as image:
        runs = list(Rescue(image).page_map())
        done = fx.rescue(image, tmp_path / "out")
    assert {(run.block, run.state) for run in runs} == {("pc.ram", "doubtful"), ("pc.rom", "kept")}
    assert sum(run.pages for run in runs) == done.pages_kept + done.pages_rebuilt
    with image_of((tmp_path / "out").read_bytes()) as new:
        for run in runs:
            block = new.block(run.block)
            assert run.offset == block.pages_offset + run.first_page * PAGE
            assert (
                new.presence(block).count(run.first_page, run.first_page + run.pages) == run.pages
            )


def test_plan_says_what_a_rescue_does(tmp_path: Path) -> None:
    with fx.open(without_bitmaps(saved())) as image:
        planned = Rescue(image).plan(image.source.name)
        done = fx.rescue(image, tmp_path / "out")
    assert planned.out is None
    assert planned.would is None
    assert planned.blocks == done.blocks
    assert planned.purpose is done.purpose


def test_data_image_has_the_pages_with_data(tmp_path: Path) -> None:
    whole = saved()
    with DataImage.open(without_bitmaps(whole)) as image, image_of(whole) as twin:
        for block in image.blocks:
            fx.extract(image, tmp_path / block.name, block=block.name)
            data = (tmp_path / block.name).read_bytes()
            assert data == memory_of(twin)[block.name]


def test_data_image_leaves_out_a_page_that_the_file_ends_in() -> None:
    whole = saved()
    with image_of(whole) as image:
        cut = image.blocks[1].pages_offset + PAGE // 2
    with DataImage.open(without_bitmaps(whole[:cut])) as image:
        assert image.presence(image.blocks[1]).count() == 0
        assert image.memory(image.blocks[1]).read(0, PAGE) == bytes(PAGE)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_are_the_bits_of_the_runs(seed: int) -> None:
    rng = random.Random(seed)
    pages = (1 << 19) * 3 + rng.randrange(64)
    edges = sorted(rng.sample(range(pages + 1), 60) + [1 << 19] * (seed % 2))
    runs = [(low, high) for low, high in list(pairwise(edges))[::2] if high > low]
    length = (pages + 63) // 64 * 8
    bits = bytearray(length)
    for start, data in bitmap_chunks(iter(runs), length):
        assert any(data)
        bits[start : start + len(data)] = data
    wanted = sum(((1 << high) - (1 << low)) for low, high in runs)
    assert bytes(bits) == wanted.to_bytes(length, "little")


def test_united_runs_are_those_of_the_pages_of_both() -> None:
    rng = random.Random(5)
    for _ in range(50):
        one, other = (sorted(rng.sample(range(40), 12)) for _ in range(2))
        rows = [list(zip(row[::2], row[1::2], strict=True)) for row in (one, other)]
        pages = {page for row in rows for low, high in row for page in range(low, high)}
        found = list(united(*rows))
        assert bitmap_bytes({p for low, high in found for p in range(low, high)}, 64) == (
            bitmap_bytes(pages, 64)
        )
        assert all(first[1] < second[0] for first, second in pairwise(found))


def test_bitmap_that_lost_some_of_its_bits_gets_them_back(tmp_path: Path) -> None:
    blocks = [{"name": "pc.ram", "size": 256 * PAGE, "pattern": "counter", "density": 0.9}]
    whole = saved(PAUSED, blocks=blocks)
    offset = offset_of(whole, Kind.BITMAP)
    raw = whole[: offset + 8] + bytes(20) + whole[offset + 28 :]
    done, data = rescued(raw, tmp_path)
    assert data == whole
    assert done.blocks[0].bitmap is BitmapState.CONTRADICTED
    assert done.blocks[0].pages_kept > 0
    assert done.blocks[0].pages_rebuilt > 64
    assert done.purpose is Purpose.RESTORE


def test_offsets_that_are_wrong_stay_wrong_and_are_told(tmp_path: Path) -> None:
    raw = saved(faults=[fault_named("offsets-shifted")])
    done, data = rescued(raw, tmp_path)
    assert data == raw
    assert done.purpose is Purpose.FORENSICS
    assert any("--rebase auto" in text for text in done.warnings)
