"""Whose the bytes of a file are, as its headers say: what nobody owns, and what two do."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Region", "Regions"]


@dataclass(frozen=True, slots=True)
class Region:
    """A range of the file with an owner; block is its index, None for the stream itself."""

    start: int
    stop: int
    what: str
    block: int | None = None


class Regions:
    """Regions of one file, by where they start."""

    def __init__(self, regions: Iterable[Region]) -> None:
        self._regions = sorted(
            (region for region in regions if region.stop > region.start),
            key=lambda region: (region.start, region.stop),
        )

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def unowned(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop) that no region owns."""
        starts, stops = self._owned
        number = bisect_right(stops, start)
        while start < stop:
            known = number < len(starts)
            end = min(starts[number], stop) if known else stop
            if end > start:
                yield start, end
            start = stops[number] if known else stop
            number += 1

    @cached_property
    def _owned(self) -> tuple[list[int], list[int]]:
        """Starts and stops of the ranges that have an owner, joined where they touch."""
        starts: list[int] = []
        stops: list[int] = []
        for region in self._regions:
            if stops and region.start <= stops[-1]:
                stops[-1] = max(stops[-1], region.stop)
            else:
                starts.append(region.start)
                stops.append(region.stop)
        return starts, stops

    @cached_property
    def overlaps(self) -> list[tuple[Region, Region]]:
        """Pairs of regions that share bytes: each with the one that reaches furthest before it."""
        pairs = []
        furthest: Region | None = None
        for region in self._regions:
            if furthest and region.start < furthest.stop:
                pairs.append((furthest, region))
            if furthest is None or region.stop > furthest.stop:
                furthest = region
        return pairs
