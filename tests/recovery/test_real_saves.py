"""Rescues of real saves: sound ones stay as they are, those that lost their bitmaps come back."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fixedram_fmt as fx
from conftest import SAMPLES, absent, unpack
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.memory.lost import stood_still
from fixedram_fmt.recovery import BitmapState, Purpose
from support.real_files import MAPPED, location_of, unpacked_case
from support.sparse import copy_with_holes, same_bytes

if TYPE_CHECKING:
    from fixedram_fmt import Image

pytestmark = pytest.mark.slow


def spoiled(image: Image, path: Path, target: Path) -> Path:
    """A copy of path whose bitmaps are all zero."""
    copy_with_holes(path, target)
    with target.open("r+b") as file:
        for block in image.blocks:
            if block.has_pages:
                zeros = bytes(image.bitmap_length(block))
                os.pwrite(file.fileno(), zeros, block.bitmap_offset)
    return target


@pytest.mark.parametrize("name", MAPPED)
def test_sound_save_stays_and_a_spoiled_one_comes_back(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of(name, unpacked_dir)
    path, offset, _ = split_location(location)
    with fx.open(location) as image:
        done = fx.rescue(image, tmp_path / "same")
        assert done.purpose is Purpose.RESTORE
        assert done.pages_rebuilt == 0
        assert same_bytes(Path(path), tmp_path / "same")
        lost = spoiled(image, Path(path), tmp_path / "lost")
        again = fx.rescue(f"{lost}@{offset}" if offset else lost, tmp_path / "again")
        if stood_still(image):
            assert again.purpose is Purpose.RESTORE
            assert same_bytes(Path(path), tmp_path / "again")
            return
    assert again.purpose is Purpose.FORENSICS or not again.pages_rebuilt
    # Nothing that was present is missing; what is more of it is told as doubtful.
    assert again.pages_rebuilt >= done.pages_kept
    doubtful = sum(one.doubtful_pages for one in again.blocks)
    assert again.pages_rebuilt - done.pages_kept <= doubtful


def test_cases_of_the_field(unpacked_dir: Path, tmp_path: Path) -> None:
    """main-ram-bitmap-zeroed is part-but-complete with another magic and without a bitmap."""
    zeroed = unpacked_case("main-ram-bitmap-zeroed.save", unpacked_dir)
    partial = unpacked_case("part-but-complete.save", unpacked_dir)
    for path in (zeroed, partial):
        done = fx.rescue(path, tmp_path / path.name)
        assert done.purpose is Purpose.RESTORE
    assert same_bytes(tmp_path / zeroed.name, tmp_path / partial.name)


def test_save_that_failed_is_saved_as_far_as_it_went(unpacked_dir: Path, tmp_path: Path) -> None:
    packed = SAMPLES / "failed-ignore-shared.img.xz"
    if not packed.exists():
        absent(str(packed))
    path = unpack(packed, unpacked_dir / "failed-ignore-shared")
    done = fx.rescue(path, tmp_path / "out")
    assert done.purpose is Purpose.FORENSICS
    assert {one.bitmap for one in done.blocks} == {BitmapState.EMPTY}
    assert done.pages_rebuilt == 6


def test_compressed_libvirt_save_that_was_cut(unpacked_dir: Path, tmp_path: Path) -> None:
    path = Path(location_of("sample/libvirt-fx-raw", unpacked_dir))
    data = path.read_bytes()
    with fx.open(path) as image:
        start = image.container.stream_offset
        memory = image.memory(image.block("pc.ram")).read(0, 32 << 20)
    head = bytearray(data[:start])
    head[28:32] = (1).to_bytes(4, "little")  # format: gzip
    packed = gzip.compress(data[start:], 1)
    done = fx.rescue(bytes(head) + packed[: len(packed) // 2], tmp_path / "out")
    assert done.purpose is Purpose.FORENSICS
    with fx.open(tmp_path / "out") as image:
        assert image.complete
        assert image.container.compression is None
        block = image.block("pc.ram")
        kept = image.presence(block).count()
        found = image.memory(block).read(0, 32 << 20)
    assert kept
    for start in range(0, len(memory), 4096):
        assert found[start : start + 4096] in (memory[start : start + 4096], bytes(4096))
