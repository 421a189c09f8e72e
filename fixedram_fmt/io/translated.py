"""Bytes that lie in pieces of another Source, in any order, as one Source: clusters of a disk."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import SourceError
from fixedram_fmt.io.source import Extent, Source, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Run", "TranslatedSource"]


class Run(NamedTuple):
    """The bytes [start, stop) lie at offset of the other Source; None: they are zeros."""

    start: int
    stop: int
    offset: int | None


class TranslatedSource(Source):
    """Runs of another Source, which stays its owner's; what no run covers is a hole.

    Runs come in the order of start, do not overlap, and lie inside the other Source: SourceError
    otherwise, before anything is read.
    """

    def __init__(self, source: Source, runs: Iterable[Run], *, name: str, size: int) -> None:
        super().__init__(name=name, size=size)
        self.file_mode = source.file_mode
        self._source = source
        self._runs = [run for run in runs if run.offset is not None and run.start < run.stop]
        self._stops = [run.stop for run in self._runs]
        for run in self._runs:
            if run.start < 0 or run.stop > size or not self._inside(run):
                raise _bad(run, f"bytes inside 0..{source.size:#x}")
        for first, second in pairwise(self._runs):
            if second.start < first.stop:
                raise _bad(second, f"a start from {first.stop:#x} on")

    def _inside(self, run: Run) -> bool:
        offset = run.offset or 0
        return offset >= 0 and offset + run.stop - run.start <= self._source.size

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Run by run, zeros between them."""
        for start, stop, place in self._parts(offset, offset + target.nbytes):
            view = target[start - offset : stop - offset]
            if place is None:
                view[:] = bytes(view.nbytes)
            else:
                self._source.read_into(place, view, path)

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """Holes of the other Source are holes here; neighbours of one kind are put together."""
        return joined(chain.from_iterable(map(self._extents, self._parts(start, stop))))

    def _extents(self, run: Run) -> Iterator[Extent]:
        first, last, place = run
        if place is None:
            return iter((Extent(first, last, False),))
        return _moved(self._source.extents(place, place + last - first), first - place)

    def _parts(self, start: int, stop: int) -> Iterator[Run]:
        """What tiles [start, stop)."""
        for index in range(bisect_right(self._stops, start), len(self._runs)):
            first, last, offset = self._runs[index]
            if first >= stop or offset is None:
                break
            if first > start:
                yield Run(start, first, None)
                start = first
            end = min(last, stop)
            yield Run(start, end, offset + start - first)
            start = end
        if start < stop:
            yield Run(start, stop, None)


def _moved(extents: Iterator[Extent], by: int) -> Iterator[Extent]:
    return (Extent(start + by, stop + by, data) for start, stop, data in extents)


def _bad(run: Run, expected: str) -> SourceError:
    return SourceError(
        "a run of bytes cannot lie there",
        offset=run.offset,
        expected=expected,
        found=f"[{run.start:#x}, {run.stop:#x}) at {run.offset:#x}",
    )
