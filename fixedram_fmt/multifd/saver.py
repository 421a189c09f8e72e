"""Saves memory that changes meanwhile: rounds of dirty pages, written by channels.

Upstream: migration/ram.c ram_save_iterate(), ram_find_and_save_block(), ram_save_file_bmap();
migration/multifd.c multifd_send_sync_main().

In a round main hands out what has become dirty since the last one, and the channels write it to its
fixed place.  A page that is dirtied again is handed out again in the next round, perhaps to another
channel: were the channels not waited for between rounds, the older copy could land last.  Bitmaps
are written when the last sync has been done.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from fixedram_fmt.multifd.channels import Channels
from fixedram_fmt.multifd.loader import JOB_SIZE

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterable, Sequence  # type: ignore[attr-defined]

    import numpy.typing as npt

__all__ = ["GuestBlock", "Place", "Saved", "WrittenBitmap", "save_rounds"]


class GuestBlock(Protocol):
    """A block of a guest's memory that goes on changing while it is saved."""

    def dirty(self, number: int) -> Iterable[tuple[int, int]]:
        """Runs [start, stop) of pages that became dirty since the last call; they are clean then.

        number counts the rounds from 0; the first has every page that is not zero.
        """

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The pages [start, stop) as they are now, one row each; any thread calls it.

        The rows are the caller's, good until he calls again in the same thread.
        """


class Place(NamedTuple):
    """Where a block goes in the file: its pages at offset, page_size bytes each."""

    block: GuestBlock
    offset: int
    page_size: int
    bitmap: WrittenBitmap


class Saved(NamedTuple):
    """What a save did: rounds, jobs, syncs, and bytes of pages written."""

    rounds: int
    jobs: int
    syncs: int
    bytes: int


class _Job(NamedTuple):
    place: Place
    start: int
    stop: int


class WrittenBitmap:
    """Which pages of a block are in the file: file_bmap of QEMU's RAMBlock, a bit a page."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self._bits = np.zeros((pages + 63) // 64 * 8, np.uint8)
        # Pages of two channels share bytes.
        self._lock = threading.Lock()

    def set(self, start: int, present: npt.NDArray[np.bool_]) -> None:
        """Presence of the pages from start on, as ramblock_set_file_bmap_atomic()."""
        first = start // 8
        with self._lock:
            bits = np.unpackbits(
                self._bits[first : (start + len(present) + 7) // 8], bitorder="little"
            )
            bits[start % 8 : start % 8 + len(present)] = present
            packed = np.packbits(bits, bitorder="little")
            self._bits[first : first + len(packed)] = packed

    def to_bytes(self) -> bytes:
        """The bitmap as a little-endian host stores it."""
        return self._bits.tobytes()


class _Writer:
    """What a channel does with a job; write puts bytes at an offset of the file."""

    def __init__(self, write: Callable[[int, Buffer], None]) -> None:
        self.write = write
        self.written = 0
        self._lock = threading.Lock()

    def act(self, job: _Job) -> None:
        """Read the pages, write runs of those that are not zero, and note which they are.

        A page that is zero is not written: what lies at its place stays, and is stale.
        """
        place = job.place
        rows = place.block.read(job.start, job.stop)
        used = np.bitwise_or.reduce(rows.view(np.uint64), axis=1) != 0
        edges = np.flatnonzero(np.diff(used, prepend=False, append=False)).tolist()
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            offset = place.offset + (job.start + first) * place.page_size
            self.write(offset, rows[first:last].reshape(-1).data)
        place.bitmap.set(job.start, used)
        with self._lock:
            self.written += int(np.count_nonzero(used)) * place.page_size


def save_rounds(
    places: Sequence[Place],
    write: Callable[[int, Buffer], None],
    *,
    rounds: int,
    channels: int = 2,
    sync_between_rounds: bool = True,
) -> Saved:
    """Write rounds of dirty pages with channels; write is called by all of them at once.

    The guest must stand still from the last round's dirty() on.  When it returns, every page is in
    the file and the bitmaps of the places are final.  Raises the first error of write or of the
    guest; then no channel writes any more.

    sync_between_rounds is there to be left alone: without it the image may hold older copies of
    pages, which is what the tests show with it.
    """
    writer = _Writer(write)
    with Channels[_Job](channels, writer.act) as senders:
        for number in range(rounds):
            for place in places:
                step = max(1, JOB_SIZE // place.page_size)
                for start, stop in place.block.dirty(number):
                    for low in range(start, stop, step):
                        senders.hand_out(_Job(place, low, min(low + step, stop)))
            if sync_between_rounds or number == rounds - 1:
                senders.sync_main()
    return Saved(rounds, senders.jobs, senders.syncs, writer.written)
