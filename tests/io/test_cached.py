"""A Source that is read block by block, the last ones kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt.io.buffer import BufferSource
from fixedram_fmt.io.cached import CachedSource

DATA = bytes(range(256)) * 4
BLOCK, BLOCKS = 16, 4


class Counting(BufferSource):
    """Says what was asked of it."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.asked: list[tuple[int, int]] = []

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        self.asked.append((offset, target.nbytes))
        super().fill(offset, target, path)

    def fetch(self, offset: int, length: int, path: str) -> bytes:
        self.asked.append((offset, length))
        return super().fetch(offset, length, path)


@given(st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 100)), max_size=30))
def test_reads_are_those_of_the_other_source(reads: list[tuple[int, int]]) -> None:
    source = CachedSource(Counting(), block=BLOCK, blocks=BLOCKS)
    for offset, length in reads:
        length = min(length, len(DATA) - offset)
        assert source.read_exact(offset, length) == DATA[offset : offset + length]
    assert list(source.extents()) == list(Counting().extents())


def test_a_block_is_asked_for_once_as_long_as_it_is_kept() -> None:
    inner = Counting()
    with CachedSource(inner, block=BLOCK, blocks=BLOCKS) as source:
        for offset in (3, 5, 17, 9):
            source.read_exact(offset, 7)
        assert inner.asked == [(0, BLOCK), (BLOCK, BLOCK)]
        for number in range(2, 2 + BLOCKS):
            source.read_exact(number * BLOCK, 1)
        del inner.asked[:]
        source.read_exact(0, 1)
        assert inner.asked == [(0, BLOCK)], "it had to make room"
        del inner.asked[:]
        source.read_exact(0, BLOCK * BLOCKS + 1)
        assert inner.asked == [(0, BLOCK * BLOCKS + 1)], "more than the cache holds goes past it"
