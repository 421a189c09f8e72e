"""Where memory goes: the caller's buffers, fresh memory, files; and reads past the page cache."""

from __future__ import annotations

import array
import errno
import mmap
import os
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from fixedram_fmt import Image
from fixedram_fmt.io.output import replacing
from fixedram_fmt.multifd.loader import LoadError, load
from fixedram_fmt.multifd.targets import Buffers, DirectSource, Files, Memory
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.write.faults import fault_named
from support.builders import Block, StreamBuilder, bitmap_bytes, open_bytes, page
from support.memory import block_memory
from support.synthetic import PAGE, image_of, made
from support.watchdog import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
SIZE = 8 * PAGE
BLOCKS = [{"name": "pc.ram", "size": SIZE}, {"name": "pc.rom", "size": 2 * PAGE}]


# -- buffers of the caller's ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "buffer",
    [
        lambda: bytearray(SIZE),
        lambda: memoryview(bytearray(SIZE)),
        lambda: mmap.mmap(-1, SIZE),
        lambda: array.array("I", bytes(SIZE)),
        lambda: np.zeros((8, PAGE), np.uint8),
        lambda: np.zeros(SIZE // 8, np.uint64),
    ],
    ids=["bytearray", "memoryview", "mmap", "array", "rows", "words"],
)
def test_any_writable_buffer_will_do(buffer: Callable[[], Any]) -> None:
    own = buffer()
    with image_of(made(blocks=BLOCKS)) as image:
        load(image, Buffers(image, {"pc.ram": own, "pc.rom": bytearray(2 * PAGE)}))
        assert bytes(memoryview(own).cast("B")) == block_memory(image, image.blocks[0])


def test_what_lies_behind_the_block_in_a_longer_buffer_is_left_alone() -> None:
    own = bytearray(b"\x77" * (SIZE + 1000))
    with image_of(made(blocks=BLOCKS)) as image:
        load(image, Buffers(image, {"pc.ram": own, "pc.rom": bytearray(2 * PAGE)}))
        assert own == block_memory(image, image.blocks[0]) + b"\x77" * 1000


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ({"pc.ram": bytearray(SIZE)}, "no buffer for a block.*pc.rom"),
        ({"pc.ram": bytearray(SIZE - 1), "pc.rom": bytearray(SIZE)}, f"found {SIZE - 1} bytes"),
        ({"pc.ram": bytes(SIZE), "pc.rom": bytearray(SIZE)}, "read-only"),
    ],
    ids=["missing", "short", "read-only"],
)
def test_buffers_that_cannot_take_the_memory_are_refused(
    buffers: dict[str, Any], message: str
) -> None:
    with image_of(made(blocks=BLOCKS)) as image, pytest.raises(LoadError, match=message):
        Buffers(image, buffers)


# -- fresh memory ---------------------------------------------------------------------------------


def mapped_bytes() -> int:
    """Address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


@pytest.mark.slow
def test_memory_is_given_back_at_the_end() -> None:
    with image_of(made(blocks=[{"name": "pc.ram", "size": 256 * MIB, "density": 0}])) as image:
        before = mapped_bytes()
        with Memory(image) as memory:
            assert mapped_bytes() >= before + 256 * MIB
            view = memory.views[0]
        assert mapped_bytes() < before + 128 * MIB
        with pytest.raises(ValueError, match="released"):
            view[0]


@pytest.mark.slow
def test_memory_is_given_back_after_an_error_too() -> None:
    with image_of(made(blocks=[{"name": "pc.ram", "size": 256 * MIB, "density": 0}])) as image:
        before = mapped_bytes()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), Memory(image):
                raise ZeroDivisionError
        assert mapped_bytes() < before + 128 * MIB


def test_blocks_of_one_name_have_memory_of_their_own() -> None:
    first, second = page(1, 256) * 2, bytes(256) + page(2, 256)
    builder = StreamBuilder().header().configuration()
    builder.mapped_ram(Block(b"twice", first), Block(b"twice", second))
    with open_bytes(builder.eof().file()) as image, Memory(image) as memory:
        load(image, memory)
        assert [bytes(memory.views[0]), bytes(memory.views[1])] == [first, second]


def test_block_larger_than_any_address_space_is_one_clear_error() -> None:
    with image_of(made(faults=[fault_named("used-length-huge")])) as image:
        with pytest.raises(LoadError, match="no memory for the block") as caught:
            Memory(image)
        assert caught.value.found == f"{1 << 63} bytes"


def test_machine_without_room_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", full)
    with (
        image_of(made(blocks=BLOCKS)) as image,
        pytest.raises(LoadError, match=r"Cannot allocate memory.*load into files"),
    ):
        Memory(image)


class Advised(mmap.mmap):
    """A mapping that notes the advice it is given, and may refuse it."""

    given: ClassVar[list[tuple[int, int, int]]] = []
    refused: ClassVar[int | None] = None

    def madvise(self, option: int, start: int = 0, length: int | None = None) -> None:
        self.given.append((option, start, len(self) if length is None else length))
        if option == self.refused:
            raise OSError(errno.EINVAL, "Invalid argument")


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> type[Advised]:
    monkeypatch.setattr(Advised, "given", [])
    monkeypatch.setattr(mmap, "mmap", Advised)
    return Advised


def sparse_image(runs: list[tuple[int, int]], pages: int) -> Image:
    """An image of which only headers and bitmap are there; runs of pages are called present."""
    present = {number for start, stop in runs for number in range(start, stop)}
    builder = StreamBuilder(page_size=PAGE, align=PAGE).header().configuration()
    builder.start(2, b"ram").word("mem_size", RamSaveFlag.MEM_SIZE, pages * PAGE)
    builder.entry(Block(b"pc.ram", b"")).data[-8:] = (pages * PAGE).to_bytes(8, "big")
    bits = bitmap_bytes(present, pages)
    bitmap_offset = builder.offset + 28
    pages_offset = -(-(bitmap_offset + len(bits)) // PAGE) * PAGE
    builder.mapped_header(bitmap_offset, pages_offset).put("bitmap", bits)
    image = open_bytes(builder.file())
    bitmap = image.bitmap(image.blocks[0])
    assert bitmap is not None
    assert bitmap.count() == len(present)
    return image


def test_only_whole_huge_pages_of_present_pages_are_made_huge(advised: type[Advised]) -> None:
    runs = [(0, 512), (600, 1100), (1500, 2700), (3072, 3073), (4000, 4096)]
    with sparse_image(runs, 4096) as image, Memory(image):
        huge = [(a, n) for option, a, n in advised.given if option == mmap.MADV_HUGEPAGE]
        assert advised.given[0] == (mmap.MADV_NOHUGEPAGE, 0, 16 * MIB)
    assert huge == [(0, 2 * MIB), (6 * MIB, 4 * MIB)]


@pytest.mark.parametrize("refused", [mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE])
def test_kernel_without_huge_pages_is_no_obstacle(refused: int, advised: type[Advised]) -> None:
    advised.refused = refused
    try:
        blocks = [{"name": "pc.ram", "size": 4 * MIB}]
        with image_of(made(blocks=blocks)) as image, Memory(image) as memory:
            load(image, memory)
            assert refused in {option for option, _, _ in advised.given}
            assert bytes(memory.views[0]) == block_memory(image, image.blocks[0])
    finally:
        advised.refused = None


@pytest.mark.slow
def test_fragmented_guest_does_not_use_up_the_mappings_of_the_process() -> None:
    def mappings() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    runs = [(start, start + 512) for start in range(0, 10_000 * 1024, 1024)]
    with sparse_image(runs, 10_000 * 1024) as image:
        before = mappings()
        with Memory(image):
            assert mappings() - before < 10_000


# -- past the page cache --------------------------------------------------------------------------


@pytest.fixture
def preadv_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Bytes read by file descriptor."""
    counts: Counter[int] = Counter()
    preadv = os.preadv

    def counted(fd: int, buffers: Any, offset: int) -> int:
        got = preadv(fd, buffers, offset)
        counts[fd] += got
        return got

    monkeypatch.setattr(os, "preadv", counted)
    return counts


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[Path]:
    """A file system of that kind in memory, or a skip."""
    done = subprocess.run(["mount", "-t", kind, "none", str(folder)], capture_output=True)  # noqa: PLW1510
    if done.returncode:
        pytest.skip(f"no permission to mount a {kind}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def written(path: Path, **spec: Any) -> Path:
    blocks = [{"name": "pc.ram", "size": 9 * MIB + 3 * PAGE, "pattern": "random", "density": 0.9}]
    path.write_bytes(made(**{"blocks": blocks, **spec}))
    return path


def check_direct(path: Path, offset: int | None = None) -> tuple[str, int, int]:
    """Load with direct I/O and compare; its note, and bytes read directly and in all."""
    with Image.open(path, offset=offset) as image:
        with Memory(image, direct=True) as memory:
            loaded = ended(lambda: load(image, memory, channels=3))
            note = memory.note
            content = bytes(memory.views[0])
        assert content == block_memory(image, image.blocks[0])
        return note, image.source.fd, loaded.bytes


@pytest.mark.slow
def test_direct_reads_bypass_the_page_cache(tmp_path: Path, preadv_calls: Counter[int]) -> None:
    note, usual, total = check_direct(written(tmp_path / "image"))
    if note:
        pytest.skip(f"this file system has no direct I/O: {note}")
    direct = sum(count for fd, count in preadv_calls.items() if fd != usual)
    assert direct == total
    assert preadv_calls[usual] == 0


@pytest.mark.parametrize(
    ("page_size", "align", "base"),
    [(4096, 512, 0), (4096, 4096 + 512, 0), (1024, 1024, 70001), (256, 256, 1)],
)
def test_direct_reads_of_unaligned_pages_are_right(
    page_size: int, align: int, base: int, tmp_path: Path
) -> None:
    memory = b"".join(page(n + 1, page_size) if n % 37 else bytes(page_size) for n in range(500))
    builder = StreamBuilder(page_size=page_size, align=align, base=base).header()
    builder.configuration(page_bits=page_size.bit_length() - 1)
    path = tmp_path / "image"
    path.write_bytes(builder.mapped_ram(Block(b"pc.ram", memory)).eof().file())
    with Image.open(path, offset=base) as image:
        assert image.blocks[0].pages_offset % mmap.PAGESIZE
        assert block_memory(image, image.blocks[0]) == memory
    check_direct(path, base)


def test_file_system_without_direct_reads_is_noted_and_right(
    tmp_path: Path, preadv_calls: Counter[int]
) -> None:
    with mounted("ramfs", tmp_path) as folder:
        note, usual, total = check_direct(written(folder / "image"))
    assert "no direct I/O here (Invalid argument)" in note
    assert preadv_calls[usual] == total


def test_tmpfs_is_right_with_or_without(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path) as folder:
        check_direct(written(folder / "image"))


def test_direct_read_that_fails_is_done_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "image")
    preadv = os.preadv
    refused = []
    with Image.open(path) as image:
        oracle = block_memory(image, image.blocks[0])

        def failing(fd: int, buffers: Any, offset: int) -> int:
            if fd != image.source.fd:
                refused.append(offset)
                raise OSError(errno.EINVAL, "Invalid argument")
            return preadv(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", failing)
        with Memory(image, direct=True) as memory:
            if memory.note:
                pytest.skip(memory.note)
            load(image, memory)
            assert bytes(memory.views[0]) == oracle
    assert refused


def test_image_in_memory_has_no_direct_reads() -> None:
    with image_of(made(blocks=BLOCKS)) as image, Memory(image, direct=True) as memory:
        load(image, memory)
        assert memory.note == "direct I/O needs a file"
        assert bytes(memory.views[0]) == block_memory(image, image.blocks[0])


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_direct_descriptor_is_closed(tmp_path: Path) -> None:
    path = written(tmp_path / "image")
    with Image.open(path) as image:
        before = descriptors()
        with Memory(image, direct=True):
            pass
        DirectSource(image.source).close()
        assert descriptors() == before


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_files_get_the_memory_and_holes_where_there_is_none(channels: int, tmp_path: Path) -> None:
    blocks = [
        {"name": "pc.ram", "size": 64 * MIB, "density": 0.02},
        {"name": "dimm", "size": 3 * MIB, "pattern": "text"},
    ]
    paths = [tmp_path / "0", tmp_path / "1"]
    with image_of(made(blocks=blocks)) as image:
        with replacing(paths[0]) as first, replacing(paths[1]) as second:
            loaded = load(image, Files(image.source, [first, second]), channels=channels)
            first.finish(64 * MIB)
            second.finish(3 * MIB)
        for block, path in zip(image.blocks, paths, strict=True):
            assert path.read_bytes() == block_memory(image, block)
    taken = sum(path.stat().st_blocks * 512 for path in paths)
    assert taken < loaded.bytes * 1.2 + MIB
