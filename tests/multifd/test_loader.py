"""load(): memory as the most naive reader sees it, jobs as QEMU cuts them, syncs as models say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import absent, shared_entries
from fixedram_fmt import HostLong, Image
from fixedram_fmt.errors import FormatError
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.loader import JOB_SIZE, LoadError, jobs_of, load, sha256_of
from fixedram_fmt.multifd.targets import Buffers, Memory
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.faults import fault_named
from support.builders import Block, StreamBuilder, open_bytes, page
from support.memory import block_memory, main_block
from support.real_files import ENTRIES, MAPPED, location_of
from support.synthetic import PAGE, image_of, made
from support.watchdog import ended

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock

MIB = 1 << 20
CHANNELS = (1, 2, 5)
#: Guest-physical address at which a machine's RAM begins (hw/arm/virt.c, hw/riscv/virt.c)
RAM_BASE = {"aarch64": 1 << 30, "riscv64": 1 << 31}


def test_shared_images_are_part_of_this() -> None:
    if not shared_entries():
        absent("the folder of shared images")


@pytest.fixture
def real(request: pytest.FixtureRequest, unpacked_dir: Path) -> Any:
    """A real image with a fixed layout, and its entry in the manifest."""
    with Image.open(location_of(request.param, unpacked_dir)) as image:
        yield image, ENTRIES[request.param]


each_real = pytest.mark.parametrize("real", MAPPED, indirect=True)


def same(memory: memoryview | bytearray, oracle: bytes) -> bool:
    """Equality without a second copy of a gigabyte."""
    return len(memory) == len(oracle) and all(
        bytes(memory[at : at + MIB]) == oracle[at : at + MIB] for at in range(0, len(oracle), MIB)
    )


def naive_jobs(image: Image, block: RamBlock) -> list[tuple[int, int]]:
    """Start and length of each job by a loop over the bits, as a little-endian host has them."""
    bits = image.source.read_exact(block.bitmap_offset, block.bitmap_length())
    jobs: list[tuple[int, int]] = []
    run = 0
    for number in range(block.pages_total + 1):
        if number < block.pages_total and bits[number // 8] >> number % 8 & 1:
            run += block.page_size
            continue
        start = number * block.page_size - run
        jobs += [(start + at, min(MIB, run - at)) for at in range(0, run, MIB)]
        run = 0
    return jobs


# -- real images ----------------------------------------------------------------------------------


@pytest.mark.slow
@each_real
def test_memory_and_its_hash_are_what_the_naive_reader_reads(real: Any) -> None:
    image, _ = real
    oracles = {b.index: block_memory(image, b) for b in image.blocks if b.has_pages}
    jobs = [job for b in image.blocks if b.has_pages for job in naive_jobs(image, b)]
    assert oracles
    for channels in CHANNELS:
        with Memory(image) as memory:
            loaded = load(image, memory, channels=channels)
            assert set(memory.views) == set(oracles)
            for index, oracle in oracles.items():
                assert same(memory.views[index], oracle), image.blocks[index].name
            hashes = sha256_of(image, memory.views) if channels == CHANNELS[-1] else []
        assert (loaded.jobs, loaded.channels, loaded.syncs) == (len(jobs), channels, 1)
        assert loaded.bytes == sum(length for _, length in jobs)
    for block in image.blocks:
        oracle = oracles.get(block.index, bytes(block.used_length))
        assert hashes[block.index] == hashlib.sha256(oracle).hexdigest()


@pytest.mark.slow
@each_real
def test_absent_pages_of_the_callers_buffers_are_left_as_they_are(real: Any) -> None:
    image, _ = real
    blocks = [b for b in image.blocks if b.has_pages and b.used_length <= 256 * MIB]
    buffers = {b.name: bytearray(b"\xaa") * b.used_length for b in blocks}
    buffers |= {b.name: bytearray(b.used_length) for b in image.blocks if b not in blocks}
    load(image, Buffers(image, buffers), channels=3)
    assert blocks
    for block in blocks:
        expected = bytearray(b"\xaa") * block.used_length
        oracle = block_memory(image, block)
        for start, length in naive_jobs(image, block):
            expected[start : start + length] = oracle[start : start + length]
        assert buffers[block.name] == expected, block.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "real",
    [name for name in MAPPED if ENTRIES[name].get("guest_physical_sha256")],
    indirect=True,
)
def test_memory_hashes_as_qemus_monitor_dumped_it(real: Any) -> None:
    image, entry = real
    arch = entry["command"].split()[0].removeprefix("qemu-system-")
    base = RAM_BASE.get(arch, 0)
    block = main_block(image, entry["command"])
    if block.ignored:
        return
    with Memory(image) as memory:
        load(image, memory)
        view = memory.views[block.index]
        parts = [
            (part["start"] - base, part["end"] - base, part["sha256"])
            for part in entry["guest_physical_sha256"]
            if part["start"] >= base and part["end"] - base <= len(view)
        ]
        assert parts or entry["guest_physical_sha256"][0]["start"] < base
        for start, stop, digest in parts:
            assert hashlib.sha256(view[start:stop]).hexdigest() == digest, f"{start:#x}..{stop:#x}"


# -- made images: any layout ----------------------------------------------------------------------


@st.composite
def built(draw: st.DrawFn) -> tuple[Image, dict[str, bytes]]:
    """An image of any page size, byte order and place, and the memory it was made of."""
    page_size = draw(st.sampled_from([256, 1024, 4096]))
    host_long = draw(st.sampled_from(HostLong))
    memory = {}
    for name in ("pc.ram", "dimm"):
        present = draw(st.lists(st.booleans(), min_size=1, max_size=150))
        memory[name] = b"".join(
            page(number + 1, page_size) if there else bytes(page_size)
            for number, there in enumerate(present)
        )
    stale = {0: page(99, page_size)}
    builder = StreamBuilder(
        base=draw(st.sampled_from([0, 1, 70001])), page_size=page_size,
        align=draw(st.sampled_from([page_size, 512, 1 << 16])), host_long=host_long,
    )  # fmt: skip
    bits = page_size.bit_length() - 1
    builder.header().configuration(page_bits=None if page_size == 4096 else bits)
    builder.mapped_ram(*(Block(name.encode(), data, stale) for name, data in memory.items()))
    raw = builder.eof().file()
    return open_bytes(raw, offset=builder.base, host_long=host_long), memory


@pytest.mark.slow
@given(made=built(), channels=st.integers(1, 5))
def test_memory_is_the_one_the_image_was_made_of(
    made: tuple[Image, dict[str, bytes]], channels: int
) -> None:
    image, meant = made
    with Memory(image) as memory:
        load(image, memory, channels=channels)
        for block in image.blocks:
            assert block.page_size == image.target_page_size
            assert bytes(memory.views[block.index]) == meant[block.name]
        hashes = sha256_of(image, memory.views)
    assert hashes == [hashlib.sha256(data).hexdigest() for data in meant.values()]


@pytest.mark.parametrize("order", ["big", "little-32", "big-32"])
def test_images_of_other_hosts_give_the_same_memory_unasked(order: str) -> None:
    blocks = [{"name": "pc.ram", "size": 1001 * PAGE, "pattern": "random", "density": 0.5}]
    with image_of(made(blocks=blocks)) as image:
        oracle = block_memory(image, image.blocks[0])
    with image_of(made(blocks=blocks, byte_order=order)) as image, Memory(image) as memory:
        load(image, memory)
        assert same(memory.views[0], oracle)


def test_ignored_block_needs_no_buffer_and_is_not_touched() -> None:
    builder = StreamBuilder(ignore_shared=True).header()
    builder.configuration(capabilities=(b"mapped-ram", b"x-ignore-shared"))
    sent = page(1, 256) * 3
    builder.mapped_ram(Block(b"mem", bytes(512), ignored=True), Block(b"rom", sent))
    with open_bytes(builder.eof().file()) as image:
        for buffers in ({}, {"mem": bytearray(b"\x55" * 512)}):
            buffers["rom"] = bytearray(768)
            load(image, Buffers(image, buffers))
            assert buffers["rom"] == sent
            assert buffers.get("mem", b"\x55" * 512) == b"\x55" * 512
        with Memory(image) as memory:
            load(image, memory)
            assert set(memory.views) == {1}
            hashes = sha256_of(image, memory.views)
    assert hashes == [hashlib.sha256(data).hexdigest() for data in (bytes(512), sent)]


# -- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.001, 0.5, 0.999, 1])
def test_jobs_are_runs_of_present_pages_a_mebibyte_at_most(density: float) -> None:
    blocks = [{"name": "pc.ram", "size": 20 * MIB + 3 * PAGE, "density": density}]
    with image_of(made(blocks=blocks)) as image:
        block = image.blocks[0]
        jobs = list(jobs_of(image, block))
        expected = naive_jobs(image, block)
    assert [(job.start, job.length) for job in jobs] == expected
    assert {job.offset - job.start for job in jobs} == {block.pages_offset}
    assert max(job.length for job in jobs) <= JOB_SIZE == MIB
    if density == 1:
        assert [job.length for job in jobs] == [MIB] * 20 + [3 * PAGE]


def test_bitmap_that_cannot_be_read_is_an_error_with_its_place() -> None:
    with image_of(made(faults=[fault_named("bitmap-past-end")])) as image, Memory(image) as memory:
        with pytest.raises(FormatError) as caught:
            ended(lambda: load(image, memory))
        assert caught.value.offset == image.blocks[0].bitmap_offset


def test_progress_is_told_the_bytes_handed_out() -> None:
    told: list[int] = []
    raw = made(blocks=[{"name": "pc.ram", "size": 16 * MIB, "pattern": "counter"}])
    with image_of(raw) as image, Memory(image) as memory:
        loaded = load(image, memory, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == loaded.bytes == 16 * MIB
    assert len(told) == loaded.jobs


# -- what the models do ---------------------------------------------------------------------------


def live(**more: Any) -> bytes:
    """An image with START, five PARTs and END."""
    return made(rounds=5, multifd=True, devices=[], **more)


EACH_SECTION = {"multifd_flush_after_each_section": True}
V4 = {"dialect": "fixed-ram-v4"}
SECTIONS = 7


@pytest.mark.parametrize(
    ("writer", "model", "property_on", "syncs"),
    [
        ({}, "mapped-ram", False, 1),
        ({}, "mapped-ram", True, 1),
        (EACH_SECTION, "mapped-ram", True, 1),
        ({}, "qemu-10.0", False, 1),
        ({}, "qemu-11.1", False, 1),
        ({}, "per-ram-load", False, SECTIONS),
        (V4, "per-ram-load", False, SECTIONS),
        (V4, "per-ram-load", True, SECTIONS),
        (V4, "reentrant", False, 1),
        (V4 | EACH_SECTION, "reentrant", True, SECTIONS),
        (V4, "reentrant", True, 1 + SECTIONS),
        (V4, "fixed-ram-v4", False, 1),
        (V4 | EACH_SECTION, "fixed-ram-v4", False, 0),
        (V4 | EACH_SECTION, "fixed-ram-v4", True, 0),
    ],
)
def test_each_model_syncs_where_it_says(
    writer: dict[str, Any], model: str, property_on: bool, syncs: int
) -> None:
    with image_of(live(**writer)) as image, Memory(image) as memory:
        loaded = load(image, memory, loader=LOADERS[model], property_on=property_on)
        assert loaded.syncs == syncs
        assert loaded.jobs > 0
        assert loaded.unsynced == (0 if syncs else loaded.jobs)
        # What the model forgets to wait for, we wait for.
        assert same(memory.views[0], block_memory(image, image.blocks[0]))


def test_jobs_behind_the_last_sync_are_counted_as_unsynced() -> None:
    blocks = [Block(name, page(1, PAGE) * 3) for name in (b"pc.ram", b"dimm")]
    builder = StreamBuilder(page_size=PAGE).header().configuration().start(2, b"ram")
    builder.mem_size(blocks[0]).mapped(blocks[0]).word("multifd_flush", 0x200)
    builder.mem_size(blocks[1]).mapped(blocks[1]).eos().footer(2).eof()
    with open_bytes(builder.file()) as image, Memory(image) as memory:
        loaded = load(image, memory, loader=LOADERS["fixed-ram-v4"])
    assert (loaded.jobs, loaded.syncs, loaded.unsynced) == (2, 1, 1)


@pytest.mark.parametrize(
    ("model", "number", "message"),
    [("fixed-ram-v4", 1, "second sync"), ("mapped-ram", 0, "RAM flags"), ("qemu-11.1", 0, "flags")],
)
def test_model_that_gives_up_does_so_at_the_flush_it_cannot_take(
    model: str, number: int, message: str
) -> None:
    raw = live(**V4, faults=[fault_named("flag-multifd-flush")])
    with image_of(raw) as image, Memory(image) as memory:
        flushes = [r.offset for r in image.records() if r.kind is Kind.MULTIFD_FLUSH]
        assert len(flushes) == 2
        with pytest.raises(LoadError, match=message) as caught:
            ended(lambda: load(image, memory, loader=LOADERS[model]))
        assert caught.value.offset == flushes[number]
        assert load(image, memory, loader=LOADERS["reentrant"]).syncs == 2


def test_stream_that_ends_early_is_an_error_after_all() -> None:
    raw = made(faults=[fault_named("cut-before-eof")])
    with image_of(raw) as image, Memory(image) as memory, pytest.raises(FormatError):
        ended(lambda: load(image, memory))
