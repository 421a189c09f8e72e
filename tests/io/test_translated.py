"""Bytes in runs over another Source, held against a loop that goes byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedram_fmt import Source, SourceError
from fixedram_fmt.io.source import Extent
from fixedram_fmt.io.translated import Run, TranslatedSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(1, 251))
BLOCK = 1 << 16


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, list[Run]]:
    """Runs in order, with gaps and holes, their places in any order and used more than once."""
    runs, at = [], 0
    for _ in range(draw(st.integers(0, 6))):
        start = at + draw(st.integers(0, 9))
        length = draw(st.integers(1, 40))
        place = draw(st.none() | st.integers(0, len(DATA) - length))
        runs.append(Run(start, start + length, place))
        at = start + length
    return at + draw(st.integers(0, 9)), runs


def naive(size: int, runs: list[Run]) -> bytes:
    """What is there, byte by byte; DATA has no zeros, so that these are the holes."""
    found = bytearray(size)
    for run in runs:
        for number in range(run.start, run.stop):
            if run.offset is not None:
                found[number] = DATA[run.offset + number - run.start]
    return bytes(found)


def naive_extents(whole: bytes, start: int, stop: int) -> Iterator[Extent]:
    first = start
    for number in range(start + 1, stop + 1):
        if number == stop or bool(whole[number]) is not bool(whole[first]):
            yield Extent(first, number, bool(whole[first]))
            first = number


@given(table=tables(), ends=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_reads_and_extents_are_those_of_a_loop(
    table: tuple[int, list[Run]], ends: tuple[int, int]
) -> None:
    size, runs = table
    whole = naive(size, runs)
    source = TranslatedSource(Source.from_buffer(DATA), runs, name="runs", size=size)
    start, stop = sorted(min(end, size) for end in ends)
    assert source.read_exact(start, stop - start) == whole[start:stop]
    target = bytearray(stop - start)
    source.read_into(start, target)
    assert target == whole[start:stop]
    expected = list(naive_extents(whole, start, stop)) if start < stop else []
    assert list(source.extents(start, stop)) == expected


def test_holes_of_the_file_are_holes_where_they_are_moved_to(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(4 * BLOCK)
        file.seek(2 * BLOCK)
        file.write(b"x" * BLOCK)
    runs = [Run(BLOCK, 3 * BLOCK, 2 * BLOCK), Run(3 * BLOCK, 4 * BLOCK, 2 * BLOCK)]
    with (
        Source.open(path) as file_,
        TranslatedSource(file_, runs, name="moved", size=5 * BLOCK) as source,
    ):
        assert list(source.extents()) == [
            Extent(0, BLOCK, False),
            Extent(BLOCK, 2 * BLOCK, True),
            Extent(2 * BLOCK, 3 * BLOCK, False),
            Extent(3 * BLOCK, 4 * BLOCK, True),
            Extent(4 * BLOCK, 5 * BLOCK, False),
        ]
        source.close()
        assert file_.read_exact(0, 1) == b"\0", "the other Source stays open"
        with pytest.raises(SourceError, match="is closed"):
            source.read_exact(0, 1)


@pytest.mark.parametrize(
    "runs",
    [
        [Run(0, 10, len(DATA) - 9)],
        [Run(0, 10, 1 << 64)],
        [Run(0, 10, -1)],
        [Run(-1, 10, 0)],
        [Run(95, 101, 0)],
        [Run(0, 10, 0), Run(9, 12, 0)],
        [Run(20, 30, 0), Run(0, 10, 0)],
    ],
)
def test_runs_that_cannot_be_are_refused(runs: list[Run]) -> None:
    with pytest.raises(SourceError, match="cannot lie there"):
        TranslatedSource(Source.from_buffer(DATA), runs, name="runs", size=100)
