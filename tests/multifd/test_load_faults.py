"""Loads that go wrong: the first error is raised, nobody waits for ever, nothing goes on after."""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fixedram_fmt import Image, SourceError
from fixedram_fmt.multifd import loader
from fixedram_fmt.multifd.loader import Job, load, sha256_of
from fixedram_fmt.multifd.targets import Memory
from support.memory import block_memory
from support.synthetic import PAGE, image_of, made
from support.watchdog import TIME_LIMIT, ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock

MIB = 1 << 20
SIZE = 16 * MIB
each_count = pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])


def dense() -> bytes:
    """16 MiB, every page present: sixteen jobs."""
    return made(blocks=[{"name": "pc.ram", "size": SIZE, "pattern": "counter"}])


@pytest.fixture(scope="module")
def dense_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense") / "image"
    path.write_bytes(dense())
    return path


@dataclass
class Spoiled:
    """A target that does something else at one job; it knows which fills it is at."""

    target: Memory
    at: int
    act: Callable[[], object]
    busy: set[int] = field(default_factory=set)
    begun: list[int] = field(default_factory=list)

    def fill(self, block: RamBlock, start: int, length: int, offset: int) -> None:
        self.busy.add(start)
        self.begun.append(start)
        try:
            if start == self.at * MIB:
                self.act()
            self.target.fill(block, start, length, offset)
        finally:
            self.busy.discard(start)


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


@each_count
@pytest.mark.parametrize("job", [0, 7, 15])
def test_read_error_is_raised_with_its_offset(
    channels: int, job: int, dense_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    with Image.open(dense_path) as image, Memory(image) as memory:
        bad = image.blocks[0].pages_offset + job * MIB

        def failing(fd: int, buffers: Any, offset: int) -> int:
            if offset == bad:
                raise OSError(errno.EIO, "Input/output error")
            return preadv(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", failing)
        with pytest.raises(SourceError, match="Input/output error") as caught:
            ended(lambda: load(image, memory, channels=channels))
        assert caught.value.offset == bad


@each_count
def test_short_reads_are_gone_on_with(
    channels: int, dense_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    reads = []

    def short(fd: int, buffers: Any, offset: int) -> int:
        reads.append(offset)
        return preadv(fd, [buffers[0][:99_991]], offset)

    with Image.open(dense_path) as image, Memory(image) as memory:
        oracle = block_memory(image, image.blocks[0])
        monkeypatch.setattr(os, "preadv", short)
        ended(lambda: load(image, memory, channels=channels))
        assert bytes(memory.views[0]) == oracle
    assert len(reads) == SIZE // MIB * 11


@pytest.mark.slow
@each_count
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), ValueError(), MemoryError(), SystemExit(1), BaseException()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("job", [0, 15])
def test_whatever_the_target_raises_is_raised_and_nothing_is_written_afterwards(
    channels: int, error: BaseException, job: int, dense_path: Path
) -> None:
    with Image.open(dense_path) as image, Memory(image) as memory:
        target = Spoiled(memory, job, raising(error))
        with pytest.raises(type(error)) as caught:
            ended(lambda: load(image, target, channels=channels))
        assert caught.value is error
        assert not target.busy
        begun = len(target.begun)
        time.sleep(0.01)
        assert len(target.begun) == begun


@each_count
def test_slow_channel_is_waited_for(channels: int, dense_path: Path) -> None:
    with Image.open(dense_path) as image, Memory(image) as memory:
        target = Spoiled(memory, 3, lambda: time.sleep(0.3))
        loaded = ended(lambda: load(image, target, channels=channels))
        assert loaded.seconds >= 0.3
        assert not target.busy
        assert bytes(memory.views[0]) == block_memory(image, image.blocks[0])


@each_count
def test_file_truncated_while_it_is_loaded_is_told(
    channels: int, dense_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(dense_path.read_bytes())
    reached, truncated = threading.Event(), threading.Event()

    def truncate() -> None:
        assert reached.wait(TIME_LIMIT)
        os.truncate(path, 5 * MIB)
        truncated.set()

    def stop_here() -> None:
        reached.set()
        assert truncated.wait(TIME_LIMIT)

    thread = threading.Thread(target=truncate)
    thread.start()
    with Image.open(path) as image, Memory(image) as memory:
        target = Spoiled(memory, 8, stop_here)
        with pytest.raises(SourceError, match="shorter") as caught:
            ended(lambda: load(image, target, channels=channels))
        assert caught.value.offset is not None
        assert caught.value.offset >= 5 * MIB
        assert not target.busy
    thread.join()


def test_error_of_the_callers_progress_ends_the_load(dense_path: Path) -> None:
    def progress(_: int) -> None:
        raise ZeroDivisionError

    with Image.open(dense_path) as image, Memory(image) as memory:
        target = Spoiled(memory, -1, int)
        with pytest.raises(ZeroDivisionError):
            ended(lambda: load(image, target, progress=progress))
        assert not target.busy


def test_hashing_that_is_interrupted_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block cannot be read, the other never ends."""
    begun = threading.Event()
    raw = made(blocks=[{"name": name, "size": 8 * PAGE} for name in ("pc.ram", "dimm")])

    def endless(image: Image, block: RamBlock) -> Iterator[Job]:
        if block.index == 0:
            assert begun.wait(TIME_LIMIT)
            raise ZeroDivisionError
        while True:
            begun.set()
            yield Job(block, 0, PAGE, 0)

    monkeypatch.setattr(loader, "jobs_of", endless)
    with image_of(raw) as image, pytest.raises(ZeroDivisionError):
        ended(lambda: sha256_of(image, {1: memoryview(bytes(PAGE))}))
