"""Memory whose bitmap is lost, and what only looks like it: the stale pages of a live save."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt.image import Image
from fixedram_fmt.io.file import FileSource
from fixedram_fmt.io.source import Extent, Source
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.memory.lost import is_read_only
from fixedram_fmt.presence import unclaimed
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.unclaimed import unclaimed_pages
from fixedram_fmt.validation import validate
from support.real_files import location_of, unpacked_case

MIB = 1 << 20
LOADER = LOADERS["qemu-11.1"]
#: Saved while the guest stood still, and while it ran.
PAUSED, LIVE = "sample/pc-once", "sample/pc-live"


def judged(path: Path | str, *, deep: bool = False) -> tuple[set[tuple[str, str]], Outcome]:
    """Rules of areas B and P with the blocks they are about, and the verdict."""
    with Image.open(str(path)) as image:
        report = validate(image, deep=deep)
        outcome = report.verdict(LOADER, multifd=False).outcome
        names = {block.path: block.name for block in image.blocks}
    found = {
        (one.rule.id, names[one.path.rpartition("/")[0]])
        for one in report.findings
        if one.rule.id[0] in "BP"
    }
    return found, outcome


def with_bitmap(path: Path, name: str, target: Path, kept: int = 0) -> Path:
    """A copy whose block name has zeros for its bitmap, but for the first bytes."""
    shutil.copyfile(path, target)
    with Image.open(str(path)) as image, target.open("r+b") as file:
        block = next(block for block in image.blocks if block.name == name)
        file.seek(block.bitmap_offset + kept)
        file.write(bytes(block.bitmap_length() - kept))
    return target


def blocks_with_pages(path: Path) -> Iterator[str]:
    with Image.open(str(path)) as image:
        for block in image.blocks:
            bitmap = image.bitmap(block)
            if bitmap is not None and bitmap.count():
                yield block.name


@pytest.mark.slow
@pytest.mark.parametrize("sample", [PAUSED, LIVE])
def test_every_block_of_a_real_image_is_judged_for_itself(
    sample: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    path = Path(location_of(sample, unpacked_dir))
    sound, outcome = judged(path)
    assert (sound, outcome) == (set(), Outcome.LOADS)
    names = list(blocks_with_pages(path))
    assert {"pc.ram", "/rom@etc/acpi/rsdp"} <= set(names)
    for name in names:
        assert sample == PAUSED or name == "pc.ram" or is_read_only(name)
        lost = with_bitmap(path, name, tmp_path / "lost")
        found, outcome = judged(lost, deep=True)
        assert {rule for rule, block in found if block == name} == {"B07"}
        assert outcome is not Outcome.LOADS


@pytest.mark.slow
def test_part_of_a_bitmap_is_missed_where_no_page_can_be_stale(
    unpacked_dir: Path, tmp_path: Path
) -> None:
    for sample, rule in ((PAUSED, "B07"), (LIVE, "P01")):
        path = Path(location_of(sample, unpacked_dir))
        with Image.open(str(path)) as image:
            bitmap = image.bitmap(image.blocks[0])
            assert bitmap is not None
            assert 0 < bitmap.count(0, 8) < bitmap.count(8)
        part = with_bitmap(path, "pc.ram", tmp_path / "part", kept=1)
        found, outcome = judged(part, deep=True)
        assert found == {(rule, "pc.ram")}
        assert outcome is (Outcome.WRONG_MEMORY if rule == "B07" else Outcome.LOADS)


@pytest.mark.slow
def test_real_case_is_found_with_holes_and_without(unpacked_dir: Path, tmp_path: Path) -> None:
    """../shared/cases/README.md: libvirt restores wrong memory, silently."""
    path = unpacked_case("main-ram-bitmap-zeroed.save", unpacked_dir)
    full = tmp_path / "full"
    full.write_bytes(path.read_bytes())
    assert full.stat().st_blocks * 512 >= full.stat().st_size
    for one in (path, full):
        for deep in (False, True):
            assert judged(one, deep=deep) == ({("B07", "pc.ram")}, Outcome.WRONG_MEMORY)


@pytest.mark.slow
def test_copy_does_not_leave_out_the_only_copy(unpacked_dir: Path, tmp_path: Path) -> None:
    path = Path(location_of(PAUSED, unpacked_dir))
    lost = with_bitmap(path, "pc.ram", tmp_path / "lost")
    out = tmp_path / "out"
    result = run_cli("copy", lost, "-o", out, "--drop-stale")
    assert result.code == 2
    assert "'pc.ram'" in result.note
    assert "only copy" in result.note
    assert not out.exists()
    assert run_cli("copy", lost, "-o", out).code == 0
    assert out.read_bytes() == lost.read_bytes()


class NoHoles(FileSource):
    """A file system that knows no holes, and how much was read."""

    read = 0

    def extents(self, start: int = 0, stop: int | None = None) -> Iterator[Extent]:
        yield Extent(start, self.size if stop is None else stop, True)

    def read_exact(self, offset: int, length: int, path: str = "") -> bytes:
        self.read += length
        return super().read_exact(offset, length, path)


def test_terabyte_of_zeros_without_holes_costs_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with Image.open(_sound(tmp_path)) as image:
        block = image.blocks[0]
    huge = replace(block, used_length=(1 << 40) - MIB, pages_offset=MIB)
    bits = PageBitmap(Source.open(path), 0, huge.pages_total)
    source = NoHoles.of_path(path)
    found = unclaimed_pages(source, huge, bits, 4 * MIB)
    assert (found.pages, found.whole) == (0, False)
    assert source.read < 4 * MIB + (unclaimed._PROBES + 1) * 4096 + MIB
    # Most of a guest's memory full of data: the probes see it.
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"x", MIB + (huge.pages_total // 2) * 4096)
    assert not unclaimed_pages(source, huge, bits, 4 * MIB).whole
    source.close()
    bits.source.close()


def _sound(folder: Path) -> str:
    from support.synthetic import made

    path = folder / "sound"
    path.write_bytes(made())
    return str(path)
