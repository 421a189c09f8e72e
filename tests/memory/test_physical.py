"""Reading memory: against QEMU's own dumps, and a naive loop over bits and records."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import SAMPLES, SHARED, absent, sample_entries, shared_entries, unpack
from fixedram_fmt import Image
from fixedram_fmt.errors import FixedRamError, UnsupportedError
from fixedram_fmt.memory import AddressError, BlockMemory, PhysicalMemory
from fixedram_fmt.presence.hostlong import HostLong
from support.builders import Block, StreamBuilder, open_bytes, ordinary_image, page
from support.memory import block_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.memory.block import Readable

SAMPLE = {f"sample-{e['name']}": (SAMPLES / e["file"], e) for e in sample_entries()}
SHARE = {f"shared-{e['name']}": (SHARED / e["file"], e) for e in shared_entries()}
ENTRIES = SAMPLE | SHARE
DUMPED = [name for name, (_, entry) in ENTRIES.items() if entry.get("guest_physical_sha256")]


def location(name: str, folder: Path) -> str:
    packed, entry = ENTRIES[name]
    path = unpack(packed, folder / name)
    libvirt = "libvirt" in name
    at = entry["stream_offset"]
    return f"{path}@{at}" if at and not libvirt else str(path)


def entry_of(name: str) -> dict[str, Any]:
    return ENTRIES[name][1]


def test_shared_images_are_here() -> None:
    if not SHARE:
        absent("the folder of shared images")


@pytest.mark.slow
@pytest.mark.parametrize("name", DUMPED)
def test_physical_memory_is_what_the_monitor_dumped(name: str, unpacked_dir: Path) -> None:
    with Image.open(location(name, unpacked_dir)) as image:
        memory = PhysicalMemory(image)
        for part in entry_of(name)["guest_physical_sha256"]:
            length = part["end"] - part["start"]
            piece = memory.map.find(part["start"])
            assert piece is not None
            if piece.block.ignored:
                with pytest.raises(UnsupportedError, match="not in the image"):
                    memory.read(part["start"], length)
            elif image.complete:
                digest = hashlib.sha256(memory.read(part["start"], length)).hexdigest()
                assert digest == part["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_every_block_reads_as_by_a_naive_loop(name: str, unpacked_dir: Path) -> None:
    chance = random.Random(name)
    with Image.open(location(name, unpacked_dir)) as image:
        for block in image.blocks:
            if block.ignored or block.used_length > 64 << 20:
                continue
            truth = block_memory(image, block)
            memory = BlockMemory(image, block)
            assert memory.read(0, memory.size) == truth
            for _ in range(20):
                start = chance.randrange(memory.size)
                stop = min(start + chance.choice([1, 8, 300, 5000, 70000]), memory.size)
                assert memory[start:stop] == truth[start:stop]
                assert memory[start] == truth[start]
            _runs_give_what_read_gives(image, memory, truth)


def _runs_give_what_read_gives(image: Image, memory: BlockMemory, truth: bytes) -> None:
    at = 0
    for address, length, offset in memory.runs():
        assert address >= at
        assert not any(truth[at:address])
        if offset is not None:
            assert image.source.read_exact(offset, length) == truth[address : address + length]
            assert memory.file_offset(address) == offset
        at = address + length
    assert not any(truth[at:])


# -- small images ----------------------------------------------------------------------------------


def synthetic(**options: Any) -> Iterator[tuple[Image, bytes]]:
    chance = random.Random(5)
    for _ in range(12):
        pages = chance.randrange(1, 200)
        present = [chance.random() < 0.5 for _ in range(pages)]
        data = b"".join(page(n, 256) if present[n] else bytes(256) for n in range(pages))
        stale = {n: page(n + 999, 256) for n in range(pages) if not present[n]}
        block = Block(b"pc.ram", data, stale=stale)
        builder = StreamBuilder(**options).header().configuration().mapped_ram(block)
        with open_bytes(builder.described().file(), host_long=options.get("host_long")) as image:
            yield image, data


@pytest.mark.parametrize("host_long", list(HostLong))
def test_stale_bytes_of_absent_pages_are_never_seen(host_long: HostLong) -> None:
    chance = random.Random(7)
    for image, truth in synthetic(host_long=host_long):
        memory = BlockMemory(image, image.blocks[0])
        for _ in range(30):
            start, stop = sorted(chance.randrange(len(truth) + 1) for _ in range(2))
            assert memory.read(start, stop - start) == truth[start:stop]
        assert all(
            memory.is_present(at) == any(truth[at & -256 : (at & -256) + 256])
            for at in range(0, len(truth), 97)
        )


def test_a_used_buffer_is_filled_whole() -> None:
    for image, truth in synthetic():
        buffer = bytearray(b"\xee" * len(truth))
        BlockMemory(image, image.blocks[0]).readinto(0, buffer)
        assert buffer == truth


def test_a_buffered_reader_takes_the_file_object() -> None:
    chance = random.Random(3)
    for image, truth in synthetic():
        memory = BlockMemory(image, image.blocks[0])
        with io.BufferedReader(memory.open(), 64) as file:
            assert file.read() == truth
            for _ in range(20):
                at, length = chance.randrange(len(truth) + 9), chance.randrange(300)
                assert file.seek(at) == at == file.tell()
                assert file.read(length) == truth[at : at + length]
            assert file.seek(-2, io.SEEK_END) == len(truth) - 2
            assert file.read() == truth[-2:]
        assert len(memory) == len(truth)


@pytest.mark.parametrize("page_size", [256, 1024])
def test_an_ordinary_stream_gives_the_last_record_of_each_page(page_size: int) -> None:
    with open_bytes(ordinary_image(page_size).file()) as image:
        first, second = image.blocks
        ram = BlockMemory(image, first)
        assert ram.read(0, page_size) == page(1, page_size)
        changed = bytearray(page(2, page_size))
        changed[2] = 0xFF
        assert ram.read(page_size, page_size) == changed
        assert ram.read(7 * page_size - 3, 6) == bytes(3) + page(8, page_size)[:3]
        assert BlockMemory(image, second).read(2 * page_size, page_size) == b"\1" * page_size
        assert ram.file_offset(page_size) is None
        assert ram.is_present(page_size)
        assert not ram.is_present(4 * page_size)
        if page_size > 256:
            with pytest.raises(FixedRamError, match="compressed page"):
                ram.read(2 * page_size, 1)


def test_deltas_stack_and_a_whole_page_ends_the_stack() -> None:
    builder = StreamBuilder(page_size=256).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"pc.ram", bytes(1024))).eos().footer(2)
    builder.part(2)
    builder.record("xbzrle", 256, b"\x00\x01A", b"pc.ram")
    builder.record("xbzrle", 256, b"\x01\x02BC")
    builder.record("page", 0, page(1, 256)).record("xbzrle", 0, b"\x80\x01\x01Z")
    builder.record("xbzrle", 512, b"\x00\x01Q").record("zero", 512, b"\0")
    with open_bytes(builder.eos().footer(2).described().file()) as image:
        memory = BlockMemory(image, image.blocks[0]).read(0, 1024)
    assert memory[256:512] == b"ABC" + bytes(253)
    assert memory[:256] == page(1, 256)[:128] + b"Z" + page(1, 256)[129:]
    assert not any(memory[512:])


@pytest.mark.parametrize(
    "delta", [b"\x00", b"\x00\x00", b"\x7f\x7f", b"\x80\x80A", b"\xff\x01\x02AB"]
)
def test_a_broken_delta_is_an_error_that_says_where(delta: bytes) -> None:
    builder = StreamBuilder(page_size=256).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"pc.ram", bytes(512))).eos().footer(2)
    builder.part(2).record("xbzrle", 0, delta, b"pc.ram").eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        memory = BlockMemory(image, image.blocks[0])
        assert memory.read(256, 256) == bytes(256)
        with pytest.raises(FixedRamError, match="XBZRLE") as caught:
            memory.read(0, 1)
        assert caught.value.offset


# -- addresses that are none -----------------------------------------------------------------------


@pytest.fixture
def pc(unpacked_dir: Path) -> Iterator[Image]:
    with Image.open(location("sample-pc-once", unpacked_dir)) as image:
        yield image


def test_a_hole_is_an_error_that_says_what_there_is(pc: Image) -> None:
    with pytest.raises(AddressError, match=r"0x1800000-0x180000f.*there is 0x0-"):
        PhysicalMemory(pc).read(0x1800000, 16)
    with pytest.raises(AddressError):
        PhysicalMemory(pc).read(-1, 16)


def test_a_hole_reads_as_the_fill_byte_when_there_is_one(pc: Image) -> None:
    memory = PhysicalMemory(pc, fill=0xFF)
    data = memory.read(0x17FFFF0, 200000)
    assert data[16:] == b"\xff" * (200000 - 16)
    with pc and memory.open(fill=None) as file:
        file.seek(0x1800000)
        with pytest.raises(AddressError):
            file.read(1)


def test_a_read_goes_on_over_the_edge_of_a_block(pc: Image) -> None:
    memory = PhysicalMemory(pc)
    assert memory.read(0xBFFF0, 0x20) == memory.read(0xBFFF0, 16) + memory.read(0xC0000, 16)
    assert memory.map.find(0xBFFFF).block is not memory.map.find(0xC0000).block  # type: ignore[union-attr]


def test_the_reset_vector_is_the_end_of_the_firmware(pc: Image) -> None:
    memory = PhysicalMemory(pc)
    bios = next(block for block in pc.blocks if block.name == "pc.bios")
    tail = BlockMemory(pc, bios).read(bios.used_length - 16, 16)
    assert memory.read(0xFFFFFFF0, 16) == tail == memory.read(0xFFFF0, 16)
    assert any(tail)


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 1 << 62), (1 << 40, 1), (0x1800000, 1)])
def test_outside_a_block_is_an_error(pc: Image, start: int, length: int) -> None:
    with pytest.raises(FixedRamError):
        BlockMemory(pc, pc.blocks[0]).read(start, length)


def test_runs_over_physical_memory_are_where_the_bytes_lie(pc: Image) -> None:
    memory = PhysicalMemory(pc, fill=0)
    for start, stop in ((0, 1 << 32), (0xC0123, 0x1234567), (0xFFFFFFF1, 1 << 33)):
        at = start
        for address, length, offset in memory.runs(start, stop):
            assert at <= address < address + length <= stop
            assert offset is not None
            assert memory.read(address, length) == pc.source.read_exact(offset, length)
            at = address + length


def test_slices_of_other_steps_are_refused(pc: Image) -> None:
    memory: Readable = BlockMemory(pc, pc.blocks[0])
    with pytest.raises(ValueError, match="steps of 1"):
        memory[0:10:2]
    with pytest.raises(IndexError):
        memory[1 << 40]
    assert memory[5:2] == b""
