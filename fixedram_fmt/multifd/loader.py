"""Loads the memory of an image with receive channels, the way a loader model does.

Upstream: migration/ram.c read_ramblock_mapped_ram(), parse_ramblocks(), ram_load_precopy().
"""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.loaders import LOADERS, Loader, SyncPoint
from fixedram_fmt.multifd.channels import Channels
from fixedram_fmt.stream.records import Kind

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterator, Mapping  # type: ignore[attr-defined]
    from typing import Protocol

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

    class Target(Protocol):
        """Where memory goes: called by all channels at once, each for bytes of its own."""

        def fill(self, block: RamBlock, start: int, length: int, offset: int) -> None:
            """Put length bytes of the image at offset to start in the block's memory."""


__all__ = ["JOB_SIZE", "Job", "LoadError", "Loaded", "jobs_of", "load", "sha256_of"]

#: migration/ram.c MAPPED_RAM_LOAD_BUF_SIZE: the most that one job reads, in bytes.
JOB_SIZE = 1 << 20

_LIST = (Kind.MEM_SIZE, Kind.BLOCK, Kind.POSTCOPY_PAGE_SIZE, Kind.REGION_ADDRESS,
         Kind.MAPPED_RAM_HEADER)  # fmt: skip
_ZEROS = bytes(JOB_SIZE)


class LoadError(FixedRamError):
    """The loader gives up on the image, as the model says it would."""


class Job(NamedTuple):
    """Consecutive present pages: length bytes at start in the block, at offset in the file."""

    block: RamBlock
    start: int
    length: int
    offset: int


@dataclass(slots=True)
class Loaded:
    """What a load did: bytes of pages, jobs handed out, syncs; unsynced is how many jobs the model
    would not have waited for before it declares the load done.
    """

    channels: int
    jobs: int = 0
    syncs: int = 0
    bytes: int = 0
    seconds: float = 0.0
    unsynced: int = 0
    notes: list[str] = field(default_factory=list)


def jobs_of(image: Image, block: RamBlock) -> Iterator[Job]:
    """The jobs for a block: each run of present pages, JOB_SIZE at a time from its start.

    FormatError where the bitmap cannot be read.
    """
    for run in image.presence(block).runs() if block.has_pages else ():
        if not run.present:
            continue
        start, stop = run.start * block.page_size, run.stop * block.page_size
        while start < stop:
            length = min(stop - start, JOB_SIZE)
            yield Job(block, start, length, block.pages_offset + start)
            start += length


def load(
    image: Image,
    target: Target,
    *,
    channels: int = 2,
    loader: Loader = LOADERS["mapped-ram"],
    property_on: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Loaded:
    """Put every present page of image where target says; absent pages are left as they are.

    The main thread follows the stream and hands out jobs, channels fill the target, and loader
    says at which records main waits for them.  progress is told the bytes handed out so far.
    Raises the first error of a channel, LoadError where the model refuses or would hang, and the
    image's own FormatError where the stream ends early.  When it returns or raises, no thread is
    left and nothing is written to target any more.
    """
    loaded = Loaded(channels)
    started = time.perf_counter()
    with Channels[Job](channels, lambda job: target.fill(*job)) as receivers:
        _Main(image, loader, property_on, receivers, loaded, progress).run()
    loaded.jobs = receivers.jobs
    loaded.seconds = time.perf_counter() - started
    return loaded


class _Main:
    """The main thread's part of a load."""

    def __init__(
        self,
        image: Image,
        loader: Loader,
        property_on: bool,
        receivers: Channels[Job],
        loaded: Loaded,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._image = image
        self._loader = loader
        self._syncs_at = loader.syncs_property_on if property_on else loader.syncs
        self._receivers = receivers
        self._loaded = loaded
        self._progress = progress
        self._synced_jobs = 0

    def run(self) -> None:
        blocks = iter(self._image.blocks)
        in_list = False
        for record in self._image.records():
            if in_list and record.kind not in _LIST:
                self._sync_at(SyncPoint.MEM_SIZE, record.offset)
            in_list = record.kind in _LIST
            if record.kind is Kind.BLOCK:
                block = next(blocks)
            elif record.kind is Kind.MAPPED_RAM_HEADER:
                self._hand_out(block)
            elif record.kind is Kind.MULTIFD_FLUSH:
                if not self._loader.takes_flush:
                    raise LoadError(
                        "Unexpected RAM flags", offset=record.offset, path=record.path,
                        expected="no MULTIFD_FLUSH with a fixed layout", found="MULTIFD_FLUSH",
                    )  # fmt: skip
                self._sync_at(SyncPoint.FLUSH, record.offset)
            elif record.kind is Kind.EOS:
                self._sync_at(SyncPoint.EOS, record.offset)
        self._loaded.unsynced = self._receivers.jobs - self._synced_jobs
        # Whatever the model does: nothing may be in the air when the caller gets his memory.
        self._receivers.sync_main()

    def _hand_out(self, block: RamBlock) -> None:
        for job in jobs_of(self._image, block):
            self._receivers.hand_out(job)
            self._loaded.bytes += job.length
            if self._progress:
                self._progress(self._loaded.bytes)

    def _sync_at(self, point: SyncPoint, offset: int) -> None:
        if point not in self._syncs_at:
            return
        if self._loaded.syncs and not self._loader.syncs_again:
            raise LoadError(
                "a second sync would wait for ever: the channels have quit at the first",
                offset=offset,
                hint="load it with a model that can sync again",
            )
        self._receivers.sync_main()
        self._loaded.syncs += 1
        self._synced_jobs = self._receivers.jobs


def sha256_of(image: Image, memory: Mapping[int, memoryview], *, threads: int = 2) -> list[str]:
    """SHA-256 of each block's whole memory by its index, absent pages zero and not touched."""
    stop = threading.Event()
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(partial(_digest, image, memory, stop), image.blocks))
        finally:
            # Whoever interrupts us does not wait for a terabyte of zeros.
            stop.set()


def _digest(
    image: Image, memory: Mapping[int, memoryview], stop: threading.Event, block: RamBlock
) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(image, memory, block):
        if stop.is_set():
            break
        digest.update(piece)
    return digest.hexdigest()


def _pieces(image: Image, memory: Mapping[int, memoryview], block: RamBlock) -> Iterator[Buffer]:
    """The memory of a block from its start to its end, JOB_SIZE bytes at most at a time."""
    done = 0
    for job in jobs_of(image, block):
        yield from _zeros(job.start - done)
        done = job.start + job.length
        yield memory[block.index][job.start : done]
    yield from _zeros(block.used_length - done)


def _zeros(length: int) -> Iterator[Buffer]:
    while length > 0:
        yield _ZEROS[: min(length, JOB_SIZE)]
        length -= JOB_SIZE
