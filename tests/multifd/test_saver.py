"""A changing memory saved in rounds: the file holds what the guest held in the end, whatever the
order in which channels get to write; and without the sync between rounds it need not.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedram_fmt.multifd.saver import Place, WrittenBitmap, save_rounds
from fixedram_fmt.presence.bitmap import PageBitmap

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
OFFSET = 3 * PAGE


class Guest:
    """A block whose pages are dirtied as a plan says: for each round, pages and their new fill.

    Fill 0 makes a page zero.  The plan of the last round is carried out before its dirty() returns:
    the guest stands still from then on.
    """

    def __init__(self, pages: int, plan: list[dict[int, int]]) -> None:
        self.memory = np.zeros((pages, PAGE), np.uint8)
        self.plan = plan

    def dirty(self, number: int) -> Iterator[tuple[int, int]]:
        changed = self.plan[number]
        for page, fill in changed.items():
            self.memory[page] = fill
        for page in sorted(changed):
            yield page, page + 1

    def read(self, start: int, stop: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return self.memory[start:stop].copy()


class SlowFile:
    """A file in memory whose writes take their time, each its own: the later may land first."""

    def __init__(self, size: int, seed: int, longest: float) -> None:
        self.data = bytearray(size)
        self._random = random.Random(seed)
        self._longest = longest
        self._lock = threading.Lock()

    def write(self, offset: int, data: memoryview) -> None:
        kept = bytes(data)
        with self._lock:
            delay = self._random.random() * self._longest
        if delay:
            time.sleep(delay)
        self.data[offset : offset + len(kept)] = kept


def save(
    guest: Guest, file: SlowFile, *, channels: int, sync_between_rounds: bool = True
) -> PageBitmap:
    pages = len(guest.memory)
    bitmap = WrittenBitmap(pages)
    place = Place(guest, OFFSET, PAGE, bitmap)
    save_rounds(
        [place], file.write, rounds=len(guest.plan), channels=channels,
        sync_between_rounds=sync_between_rounds,
    )  # fmt: skip
    return PageBitmap.from_bytes(bitmap.to_bytes(), pages)


def loaded(file: SlowFile, bitmap: PageBitmap) -> bytes:
    """What a loader makes of it: present pages from the file, the others zero."""
    memory = bytearray(bitmap.pages * PAGE)
    for page in range(bitmap.pages):
        if page in bitmap:
            start = OFFSET + page * PAGE
            memory[page * PAGE : (page + 1) * PAGE] = file.data[start : start + PAGE]
    return bytes(memory)


PAGES = 12
rounds_of_dirt = st.lists(
    st.dictionaries(st.integers(0, PAGES - 1), st.integers(0, 255), max_size=PAGES),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(plan=rounds_of_dirt, channels=st.integers(1, 5), seed=st.integers(0, 1000))
def test_image_holds_the_final_memory_whatever_was_dirtied_and_whoever_was_slow(
    plan: list[dict[int, int]], channels: int, seed: int
) -> None:
    guest = Guest(PAGES, plan)
    file = SlowFile(OFFSET + PAGES * PAGE, seed, 0.0005)
    bitmap = save(guest, file, channels=channels)
    assert loaded(file, bitmap) == guest.memory.tobytes()


class Overtaking(SlowFile):
    """The first write to a page waits until the second has landed, if that comes at all."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 0, 0.0)
        self.first_began = threading.Event()
        self._second = threading.Event()
        self._writes = 0

    def write(self, offset: int, data: memoryview) -> None:
        kept = bytes(data)
        with self._lock:
            self._writes += 1
            first = self._writes == 1
        if first:
            self.first_began.set()
            # With a sync between the rounds nobody comes: the wait ends by itself.
            self._second.wait(0.2)
        self.data[offset : offset + len(kept)] = kept
        if not first:
            self._second.set()


@pytest.mark.parametrize("sync_between_rounds", [True, False])
def test_sync_between_rounds_is_what_keeps_an_older_copy_from_landing_last(
    sync_between_rounds: bool,
) -> None:
    file = Overtaking(OFFSET + PAGE)

    class Busy(Guest):
        """Dirties its page again when the older copy is on its way to the file."""

        def dirty(self, number: int) -> Iterator[tuple[int, int]]:
            assert number == 0 or file.first_began.wait(5)
            yield from super().dirty(number)

    guest = Busy(1, [{0: 0x11}, {0: 0x22}])
    bitmap = save(guest, file, channels=2, sync_between_rounds=sync_between_rounds)
    expected = b"\x22" if sync_between_rounds else b"\x11"
    assert loaded(file, bitmap) == expected * PAGE


def test_page_that_became_zero_is_absent_and_leaves_its_bytes() -> None:
    guest = Guest(2, [{0: 7, 1: 8}, {1: 0}])
    file = SlowFile(OFFSET + 2 * PAGE, 0, 0.0)
    bitmap = save(guest, file, channels=2)
    assert (0 in bitmap, 1 in bitmap) == (True, False)
    assert file.data[OFFSET + PAGE :] == b"\x08" * PAGE, "the stale page"


def test_jobs_are_at_most_a_mebibyte_and_every_round_is_synced() -> None:
    class Dense(Guest):
        def dirty(self, number: int) -> Iterator[tuple[int, int]]:
            self.memory[:] = number + 1
            yield 0, len(self.memory)

    pages = 600
    guest = Dense(pages, [{}] * 3)
    file = SlowFile(OFFSET + pages * PAGE, 0, 0.0)
    place = Place(guest, OFFSET, PAGE, WrittenBitmap(pages))
    saved = save_rounds([place], file.write, rounds=3, channels=2)
    assert (saved.rounds, saved.syncs) == (3, 3)
    assert saved.jobs == 3 * -(-pages * PAGE // (1 << 20))
    assert saved.bytes == 3 * pages * PAGE


def test_error_of_a_write_is_raised_and_no_thread_is_left() -> None:
    class Full(SlowFile):
        def write(self, offset: int, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

    before = threading.active_count()
    guest = Guest(PAGES, [dict.fromkeys(range(PAGES), 1), {0: 2}])
    with pytest.raises(OSError, match="No space left"):
        save(guest, Full(0, 0, 0.0), channels=3)
    assert threading.active_count() == before


def test_error_of_the_guest_is_raised_and_no_thread_is_left() -> None:
    class Broken(Guest):
        def dirty(self, number: int) -> Iterator[tuple[int, int]]:
            yield 0, 1
            raise RuntimeError("the guest is gone")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="the guest is gone"):
        save(Broken(2, [{}]), SlowFile(OFFSET + 2 * PAGE, 0, 0.0), channels=2)
    assert threading.active_count() == before
