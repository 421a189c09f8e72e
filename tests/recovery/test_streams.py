"""Streams that stop early: where they are kept up to, how they are ended, what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import fixedram_fmt as fx
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.recovery import BitmapState, Purpose
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults import fault_named
from support.synthetic import PAGE, image_of, ordinary, ram_word
from support.unfinished import PAUSED, memory_of, offset_of, saved, without_bitmaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixedram_fmt.recovery import Rescued

WHOLE = saved(PAUSED)
EMPTY = without_bitmaps(WHOLE)


def rescued(raw: bytes, folder: Path) -> tuple[Rescued, bytes]:
    done = fx.rescue(raw, folder / "out", force=True)
    return done, (folder / "out").read_bytes()


def stops(raw: bytes) -> Iterator[int]:
    """Every fifth offset in the stream, and a few in pages."""
    with image_of(raw) as image:
        inside = [range(one.pages_offset, one.pages_stop) for one in image.blocks]
    for stop in range(0, len(raw), 5):
        if not any(stop in pages and stop % PAGE not in range(2000, 2005) for pages in inside):
            yield stop


@pytest.mark.slow
def test_save_cut_anywhere_gives_a_whole_image_of_what_is_there(tmp_path: Path) -> None:
    with image_of(WHOLE) as image:
        memory = memory_of(image)
        list_stop = image.blocks[0].pages_offset
    parts = 0
    for stop in stops(EMPTY):
        try:
            done, data = rescued(EMPTY[:stop], tmp_path)
        except fx.FixedRamError:
            assert stop < list_stop
            continue
        assert done.purpose is Purpose.FORENSICS or stop > offset_of(WHOLE, Kind.EOF)
        with image_of(data) as image:
            assert image.complete, stop
            assert not [note for note in image.notes if "footer" not in note.message], stop
            for name, found in memory_of(image).items():
                pages_offset = image.block(name).pages_offset
                there = max(0, stop - pages_offset)
                assert found == memory[name][:there].ljust(len(found), b"\0"), stop
        parts += 1
    assert parts > 20


def cut(kind: Kind, number: int = 0, *, stop: bool = False, more: int = 0) -> bytes:
    return EMPTY[: offset_of(WHOLE, kind, number, stop=stop) + more]


def test_save_that_was_cut_while_ram_was_sent(tmp_path: Path) -> None:
    done, data = rescued(cut(Kind.SECTION_PART), tmp_path)
    assert done.purpose is Purpose.FORENSICS
    assert not done.complete
    assert not done.memory_complete
    assert done.appended == ("section_end", "eos", "section_footer", "eof")
    assert {one.bitmap for one in done.blocks} == {BitmapState.EMPTY}
    assert any("was not written when the save ended" in text for text in done.unknown)
    assert any("after a reset" in text for text in done.warnings)
    with image_of(data) as image, image_of(WHOLE) as twin:
        assert image.complete
        assert memory_of(image) == memory_of(twin)


def test_save_that_was_cut_among_its_devices_has_all_its_memory(tmp_path: Path) -> None:
    raw = WHOLE[: offset_of(WHOLE, Kind.SECTION_FULL, 1) + 3]
    done, data = rescued(raw, tmp_path)
    assert done.memory_complete
    assert done.appended == ("eof",)
    assert done.devices_kept == 0
    assert done.devices_left_out == ("cpu #0",)
    assert done.pages_rebuilt == 0
    with image_of(data) as image:
        assert [section.name for section in image.sections] == ["ram"]


def test_save_that_lacks_nothing_but_its_eof_byte_keeps_its_devices(tmp_path: Path) -> None:
    done, data = rescued(WHOLE[: offset_of(WHOLE, Kind.EOF)], tmp_path)
    assert done.appended == ("eof",)
    assert done.devices_kept == 2
    assert done.purpose is Purpose.FORENSICS
    assert "plugged in" in done.warnings[0]
    assert data == WHOLE[: len(data)]


def test_save_that_was_cut_in_its_description_can_be_restored(tmp_path: Path) -> None:
    done, data = rescued(WHOLE[:-10], tmp_path)
    assert done.purpose is Purpose.RESTORE
    assert "VMDESCRIPTION" in done.lost[0]
    with image_of(data) as image:
        assert image.complete


def test_list_that_was_cut_sums_up_to_the_blocks_that_are_there(tmp_path: Path) -> None:
    done, data = rescued(cut(Kind.MAPPED_RAM_HEADER, 1, more=5), tmp_path)
    assert [one.name for one in done.blocks] == ["pc.ram"]
    assert f"{2 * PAGE:,} bytes" in done.lost[0]
    assert "pc.rom" in done.lost[0]
    with image_of(data) as image, image_of(WHOLE) as twin:
        assert not image.notes
        assert memory_of(image)["pc.ram"] == memory_of(twin)["pc.ram"]


def test_file_that_ends_before_a_bitmap(tmp_path: Path) -> None:
    done, data = rescued(cut(Kind.BITMAP, 1), tmp_path)
    assert done.blocks[1].bitmap is BitmapState.MISSING
    assert done.blocks[1].pages_in_bitmap is None
    with image_of(data) as image:
        assert image.complete
        assert image.presence(image.blocks[1]).count() == 0


def test_page_that_the_file_ends_in_is_told(tmp_path: Path) -> None:
    with image_of(WHOLE) as image:
        stop = image.blocks[1].pages_offset + PAGE + 100
    done, _ = rescued(EMPTY[:stop], tmp_path)
    assert [(one.first_page, one.pages) for one in done.blocks[1].doubtful][-1] == (1, 1)
    assert "part of the page" in done.blocks[1].doubtful[-1].why


# -- ordinary streams -----------------------------------------------------------------------------


def records(count: int) -> bytes:
    first = ram_word(0, RamSaveFlag.PAGE) + b"\6pc.ram" + b"a" * PAGE
    flags = (RamSaveFlag.PAGE, RamSaveFlag.CONTINUE)
    rest = (ram_word(n * PAGE, *flags) + bytes([65 + n]) * PAGE for n in range(1, count))
    return first + b"".join(rest)


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_ordinary_stream_is_kept_up_to_its_last_whole_page(pages: int, tmp_path: Path) -> None:
    whole = ordinary(records(8))
    stop = whole.index(b"pc.ram", 60) + 6 + PAGE + (pages - 1) * (8 + PAGE)
    for more in (0, 7, 8, 1000):
        done, data = rescued(whole[: stop + more], tmp_path)
        assert done.ends_at == stop
        assert done.blocks[0].bitmap is BitmapState.NONE
        assert done.blocks[0].pages_kept == pages
        with image_of(data) as image, image_of(whole) as twin:
            assert image.complete
            (memory,) = memory_of(image).values()
            (wanted,) = memory_of(twin).values()
            assert memory == wanted[: pages * PAGE].ljust(len(wanted), b"\0")


# -- libvirt --------------------------------------------------------------------------------------


def libvirt(**more: Any) -> bytes:
    return saved(PAUSED, container={"kind": "libvirt", **more})


def magic(data: bytes) -> bytes:
    return data[:16]


def test_magic_of_a_whole_libvirt_save_is_set_right_and_its_xml_kept(tmp_path: Path) -> None:
    done, data = rescued(without_bitmaps(libvirt(partial=True)), tmp_path)
    assert data == libvirt()
    assert done.purpose is Purpose.RESTORE
    assert done.would is not None
    assert done.would.loader.startswith("libvirt")
    assert any("LibvirtQemudSave" in text for text in done.changed)


def test_libvirt_save_that_is_only_a_part_is_marked_so_that_virsh_refuses(tmp_path: Path) -> None:
    whole = libvirt()
    done, data = rescued(whole[: offset_of(whole, Kind.SECTION_FULL) + 20], tmp_path)
    assert done.purpose is Purpose.FORENSICS
    assert magic(data) == b"LibvirtQemudPart"
    assert done.would is not None
    assert done.would.outcome == "refuses"
    with fx.open(data) as image, fx.open(whole) as twin:
        saves = [one.container.find(LibvirtSave) for one in (image, twin)]
        assert saves[0] is not None
        assert saves[1] is not None
        assert saves[0].xml == saves[1].xml


def test_libvirt_pauses_the_guest_so_that_no_page_is_stale(tmp_path: Path) -> None:
    whole = libvirt(partial=True)
    raw = without_bitmaps(whole)[: offset_of(whole, Kind.SECTION_PART)]
    done, _ = rescued(raw, tmp_path)
    assert done.pages_rebuilt == 8
    assert sum(one.doubtful_pages for one in done.blocks) == 0


def test_image_at_an_offset_stays_there(tmp_path: Path) -> None:
    raw = saved(offset=3 * PAGE)
    (tmp_path / "in").write_bytes(without_bitmaps_at(raw, 3 * PAGE))
    done = fx.rescue(f"{tmp_path / 'in'}@{3 * PAGE}", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == raw
    assert done.purpose is Purpose.RESTORE


def without_bitmaps_at(raw: bytes, offset: int) -> bytes:
    data = bytearray(raw)
    with image_of(raw, offset) as image:
        for block in image.blocks:
            data[block.bitmap_offset : block.bitmap_offset + 8] = bytes(8)
    return bytes(data)


def test_bits_of_pages_that_the_file_ends_before_are_not_kept(tmp_path: Path) -> None:
    with image_of(WHOLE) as image:
        block = image.blocks[-1]
        runs = [run for run in image.readable_bitmap(block).runs() if run.present]
    page = runs[-1].stop - 1
    there = sum(min(run.stop, page) - run.start for run in runs)
    done, data = rescued(WHOLE[: block.pages_offset + page * PAGE], tmp_path)
    assert done.blocks[-1].pages_kept == there
    assert done.blocks[-1].pages_in_bitmap == there + 1
    assert any(text.startswith(f"1 pages of {block.name}") for text in done.lost)
    again, same = rescued(data, tmp_path)
    assert (again.blocks[-1].pages_kept, same) == (there, data)


def test_image_without_devices_is_for_forensics_and_stays_as_it_is(tmp_path: Path) -> None:
    first, data = rescued(cut(Kind.SECTION_PART), tmp_path)
    again, same = rescued(data, tmp_path)
    assert same == data
    assert again.complete
    assert again.memory_complete
    assert again.purpose is first.purpose is Purpose.FORENSICS
    assert again.lost == ("the state of all devices and CPUs",)
    assert any("without device state" in text for text in again.warnings)


# -- what cannot be -------------------------------------------------------------------------------


def test_stream_without_a_list_of_blocks_has_nothing_to_rescue(tmp_path: Path) -> None:
    with pytest.raises(fx.UnsupportedError, match="no memory to rescue"):
        rescued(cut(Kind.BLOCK), tmp_path)
    assert not (tmp_path / "out").exists()


def test_loader_that_refuses_makes_it_no_image_for_a_restore(tmp_path: Path) -> None:
    raw = saved(faults=[fault_named("header-version-2")])
    done, _ = rescued(raw, tmp_path)
    assert done.purpose is Purpose.FORENSICS
    assert done.would is not None
    assert done.would.outcome == "refuses"


@pytest.mark.parametrize("tail", [bytes(5000), b"\xff" * 5000, b"QEVM" * 1000])
def test_what_power_left_of_the_end_is_left_out(tail: bytes, tmp_path: Path) -> None:
    """The file was as long as it is, and its last blocks were never written."""
    with image_of(WHOLE) as image:
        stop = image.blocks[1].pages_stop
    done, data = rescued(EMPTY[:stop] + tail, tmp_path)
    assert not done.complete
    assert done.ends_at == stop
    with image_of(data) as image, image_of(WHOLE) as twin:
        assert image.complete
        assert memory_of(image) == memory_of(twin)
