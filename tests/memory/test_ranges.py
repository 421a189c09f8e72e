"""Ranges painted over one another, against a dict with an entry for each address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt.blocks import RamBlock
from fixedram_fmt.memory.ranges import Canvas

BLOCKS = [RamBlock(n, f"block[{n}]", f"b{n}".encode(), 40, 4, 0) for n in range(4)]

layers = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 60), st.integers(0, 45), st.integers(0, 50)
    ),
    max_size=12,
)  # fmt: skip


def painted(steps: list[tuple[int, int, int, int]]) -> tuple[Canvas, dict[int, tuple[int, int]]]:
    canvas, truth = Canvas(), {}
    for which, start, offset, length in steps:
        if which == len(BLOCKS):
            canvas.clear(start, start + length)
            for address in range(start, start + length):
                truth.pop(address, None)
            continue
        canvas.paint(start, BLOCKS[which], f"layer of {which}", offset=offset, length=length)
        for at in range(min(length, 40 - offset)):
            truth[start + at] = (which, offset + at)
    return canvas, truth


@pytest.mark.slow
@given(layers)
def test_what_is_painted_last_is_seen(steps: list[tuple[int, int, int, int]]) -> None:
    canvas, truth = painted(steps)
    found = canvas.finish(BLOCKS)
    for address in range(120):
        piece = found.find(address)
        seen = piece and (piece.block.index, piece.offset + address - piece.start)
        assert seen == truth.get(address)
    assert {b.index for b in found.unmapped} == {0, 1, 2, 3} - {v[0] for v in truth.values()}
    for left, right in zip(found.ranges, found.ranges[1:], strict=False):
        assert left.stop <= right.start


@pytest.mark.slow
@given(layers, st.integers(0, 130), st.integers(0, 130))
def test_parts_tile_what_was_asked_for(
    steps: list[tuple[int, int, int, int]], start: int, stop: int
) -> None:
    canvas, truth = painted(steps)
    at = start
    for first, last, piece in canvas.finish(BLOCKS).parts(start, stop):
        assert first == at < last
        for address in range(first, last):
            expected = piece and (piece.block.index, piece.offset + address - piece.start)
            assert expected == truth.get(address)
        at = last
    assert at == max(start, stop)


def test_addresses_name_every_alias() -> None:
    canvas = Canvas()
    canvas.paint(0, BLOCKS[0], "low")
    canvas.paint(100, BLOCKS[0], "alias", offset=10, length=5)
    found = canvas.finish(BLOCKS)
    assert found.addresses(BLOCKS[0], 12) == [12, 102]
    assert found.addresses(BLOCKS[0], 20) == [20]
    assert found.addresses(BLOCKS[1], 0) == []


def test_nothing_is_painted_past_64_bits() -> None:
    canvas = Canvas()
    canvas.paint((1 << 64) - 8, BLOCKS[0], "the end")
    canvas.paint(1 << 64, BLOCKS[1], "outside")
    (piece,) = canvas.finish(BLOCKS).ranges
    assert (piece.start, piece.stop) == ((1 << 64) - 8, 1 << 64)


def test_more_layers_than_a_machine_has_are_refused() -> None:
    with pytest.raises(ValueError, match="more ranges"):
        painted([(0, address * 100, 0, 1) for address in range(5000)])
