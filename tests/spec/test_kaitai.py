"""spec/fixedram.ksy, compiled by Kaitai's own compiler, reads the samples as this library does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SAMPLES, sample_entries, unpack
from fixedram_fmt.errors import FormatError
from fixedram_fmt.image import Image
from fixedram_fmt.schema.base import text
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.records import Kind, PageRun, Record

from .kaitai import compiled, head_facts, item_facts, page_facts

ENTRIES = {entry["name"]: entry for entry in sample_entries()}

#: Kinds whose values are compared, with the names of the values.
HEAD = {
    Kind.FILE_HEADER: ("version",),
    Kind.CONFIGURATION: ("name",),
    Kind.SUBSECTION: ("idstr", "version_id"),
    Kind.CAPABILITIES: ("caps_count",),
    Kind.CAPABILITY: ("capability",),
    Kind.TARGET_PAGE_BITS: ("target_page_bits",),
    Kind.UUID: ("uuid",),
}
NAMED = ("section_id", "idstr", "instance_id", "version_id")
ITEMS = {
    Kind.COMMAND: ("command", "data"),
    Kind.EOF: (),
    Kind.SECTION_START: NAMED,
    Kind.SECTION_FULL: NAMED,
    Kind.SECTION_PART: ("section_id",),
    Kind.SECTION_END: ("section_id",),
    Kind.SECTION_FOOTER: ("section_id",),
    Kind.MEM_SIZE: ("word",),
    Kind.EOS: ("word",),
    Kind.MULTIFD_FLUSH: ("word",),
    Kind.HOOK: ("word",),
    Kind.BLOCK: ("idstr", "used_length"),
    Kind.VMDESCRIPTION: ("length",),
}
UNPLACED = {
    Kind.REGION_ADDRESS: ("region_address",),
    Kind.MAPPED_RAM_HEADER: ("version", "page_size", "bitmap_offset", "pages_offset"),
}
RAW = frozenset({"data", "uuid"})


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(tmp_path_factory.mktemp("kaitai"))


def walked(image: Image) -> Iterator[Record[Any]]:
    """The records up to where the stream stops."""
    with contextlib.suppress(FormatError):
        yield from image.records()


def value(record: Any, name: str) -> Any:
    found = getattr(record.value, name)
    return text(found) if isinstance(found, bytes) and name not in RAW else found


def facts(image: Image, table: dict[Kind, tuple[str, ...]], *, placed: bool) -> list[Any]:
    found = []
    for record in walked(image):
        if record.kind in table:
            values = [value(record, name) for name in table[record.kind]]
            found.append((record.kind.value, *([record.offset] if placed else []), *values))
    return found


def bodies(image: Image) -> list[Any]:
    """(body, offset, length) of everything between a header and its footer that is no RAM."""
    found: list[Any] = []
    names: dict[int, bytes] = {}
    start = None
    for record in walked(image):
        if record.kind in (Kind.SECTION_START, Kind.SECTION_FULL):
            names[record.value.section_id] = record.value.idstr
        if record.kind in (
            Kind.SECTION_START, Kind.SECTION_FULL, Kind.SECTION_PART, Kind.SECTION_END
        ):  # fmt: skip
            start = record.stop if names[record.value.section_id] != b"ram" else None
        elif record.kind is Kind.SECTION_FOOTER and start is not None:
            found.append(("body", start, record.offset - start))
            start = None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_the_kaitai_reader_finds_the_same_fields(
    name: str, module: Any, unpacked_dir: Path
) -> None:
    entry = ENTRIES[name]
    packed = SAMPLES.parent / "samples" / Path(entry["file"]).name
    path = unpack(packed, unpacked_dir / packed.stem)
    with Image.open(path, search=True) as image, path.open("rb") as file:
        container = image.container
        file.seek(0 if container.kind == "libvirt" else container.stream_offset)
        read = module.Fixedram(module.KaitaiStream(file))
        assert read.stream_offset == container.stream_offset
        assert head_facts(read) == facts(image, HEAD, placed=False)
        if image.stopped:
            # Kaitai stops at the first thing that is wrong, and gives nothing behind it.
            with pytest.raises((EOFError, ValueError, module.kaitaistruct.KaitaiStructError)):
                item_facts(read)
            return
        found = item_facts(read)
        placed = [fact for fact in found if fact[0] in {kind.value for kind in ITEMS}]
        assert placed == facts(image, ITEMS, placed=True)
        unplaced = [fact for fact in found if fact[0] in {kind.value for kind in UNPLACED}]
        assert unplaced == facts(image, UNPLACED, placed=False)
        assert [fact for fact in found if fact[0] == "body"] == bodies(image)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENTRIES if "legacy" in name or "raw" in name])
def test_the_kaitai_reader_finds_the_same_pages_of_ordinary_streams(
    name: str, module: Any, unpacked_dir: Path
) -> None:
    packed = SAMPLES.parent / "samples" / Path(ENTRIES[name]["file"]).name
    path = unpack(packed, unpacked_dir / packed.stem)
    with Image.open(path) as image, path.open("rb") as file:
        read = module.Fixedram(module.KaitaiStream(file))
        ours: dict[tuple[str, int], Any] = {}
        for record in walked(image):
            run = record.value
            if not isinstance(run, PageRun):
                continue
            for number in range(run.pages):
                key = text(run.block), run.address + number * image.target_page_size
                place = run.data_offset + number * run.stride
                ours[key] = run.fill if run.fill is not None else place
        assert ours
        assert page_facts(read, image.target_page_size) == ours


@pytest.mark.slow
def test_bitmaps_and_pages_are_where_the_kaitai_reader_says(
    module: Any, unpacked_dir: Path
) -> None:
    path = unpack(SAMPLES / "pc-live.img.xz", unpacked_dir / "pc-live.img")
    with Image.open(path) as image, path.open("rb") as file:
        read = module.Fixedram(module.KaitaiStream(file))
        (listed,) = [
            record.record.blocks
            for item in read.stream.items
            if item.item.is_ram
            for record in item.item.ram.records
            if record.record.is_mem_size
        ]
        for at, block in zip(listed, image.blocks, strict=True):
            bitmap = image.source.read_exact(block.bitmap_offset, block.bitmap_length())
            assert at.block.bitmap == bitmap
            assert len(at.block.pages) == block.used_length


def test_every_section_that_is_framed_by_hand_has_a_type_of_its_own() -> None:
    ksy = (SAMPLES.parent / "spec" / "fixedram.ksy").read_text()
    assert all(f'"{idstr.decode()}"' in ksy for idstr in FRAMINGS)
