"""Rescues of huge and of hostile files: the cost is that of the data, not that of the memory."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING

import pytest

import fixedram_fmt as fx
from fixedram_fmt.recovery import Purpose, Rescue
from fixedram_fmt.schema import ram
from fixedram_fmt.stream.records import Kind
from support.synthetic import PAGE
from support.unfinished import offset_of, saved, without_bitmaps

if TYPE_CHECKING:
    from pathlib import Path

_TIB = 1 << 40


@pytest.mark.slow
@pytest.mark.untraced
def test_tebibyte_that_is_nearly_all_hole_costs_what_its_data_does(tmp_path: Path) -> None:
    path, out = tmp_path / "in", tmp_path / "out"
    blocks = [{"name": "pc.ram", "size": "1T", "density": 0}]
    fx.synth({"machine": "pc", "blocks": blocks}, path)
    with fx.open(path) as image:
        block = image.blocks[0]
        cut = block.pages_stop + 8
    pages = [0, 5, (1 << 28) - 1, *range(1 << 20, (1 << 20) + 200)]
    with path.open("r+b") as file:
        for page in pages:
            os.pwrite(file.fileno(), b"\1" * PAGE, block.pages_offset + page * PAGE)
        file.truncate(cut)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    done = fx.rescue(path, out)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10
    assert done.pages_rebuilt == len(pages)
    assert out.stat().st_blocks * 512 < 4 << 20
    with fx.open(out) as image:
        bitmap = image.presence(image.blocks[0])
        assert all(page in bitmap for page in pages)


def test_block_whose_pages_are_those_of_another_is_left_as_it_is(tmp_path: Path) -> None:
    raw = bytearray(without_bitmaps(saved()))
    offset = offset_of(bytes(raw), Kind.MAPPED_RAM_HEADER, 1)
    with fx.open(bytes(raw)) as image:
        first, second = image.blocks
        at = first.pages_offset
        header = ram.MappedRamHeader(1, PAGE, second.bitmap_offset, at)
    raw[offset : offset + ram.MAPPED_RAM_HEADER.size] = ram.MAPPED_RAM_HEADER.build(header)
    done = fx.rescue(bytes(raw), tmp_path / "out")
    assert done.purpose is Purpose.FORENSICS
    assert [one.name for one in done.blocks] == ["pc.ram"]
    assert done.pages_rebuilt == 6


@pytest.mark.slow
def test_no_byte_of_the_head_leads_to_more_than_an_error(tmp_path: Path) -> None:
    raw = without_bitmaps(saved())
    stop = offset_of(raw, Kind.PAGES)
    for offset in range(0, stop, 7):
        for value in (0x00, 0xFF):
            broken = raw[:offset] + bytes([value]) + raw[offset + 1 :]
            try:
                with fx.open(broken) as image:
                    Rescue(image).plan("")
                fx.rescue(broken, tmp_path / "out", force=True)
            except fx.FixedRamError:
                continue
            assert (tmp_path / "out").stat().st_blocks * 512 <= 2 * len(raw)


@pytest.mark.parametrize("offset", [0, 8, 60])
def test_header_that_lies_under_something_else_is_not_changed(offset: int, tmp_path: Path) -> None:
    """The bitmap, and with it the block's own header, are where others are."""
    raw = bytearray(saved())
    place = offset_of(bytes(raw), Kind.MAPPED_RAM_HEADER)
    with fx.open(bytes(raw)) as image:
        pages_offset = image.blocks[0].pages_offset
    header = ram.MappedRamHeader(1, PAGE, place - 8 + offset // 8, pages_offset)
    raw[place : place + ram.MAPPED_RAM_HEADER.size] = ram.MAPPED_RAM_HEADER.build(header)
    done = fx.rescue(bytes(raw), tmp_path / "out")
    with fx.open(tmp_path / "out") as image:
        assert image.complete is done.complete
