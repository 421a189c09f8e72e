"""Every byte of an image has exactly one owner: the leaves, in the order of the file.

Records of the stream, bitmaps, padding and pages (as runs) come from what the image says; what
nothing claims becomes a gap, what lies after the point where the walk stopped is unparsed.
Leaves tile the file from where the stream starts to its end: no gap, no overlap.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from fixedram_fmt.container.described import ContainerSummary
from fixedram_fmt.errors import FormatError
from fixedram_fmt.presence.scan import stale_runs
from fixedram_fmt.results import Hex, Result, Unsigned
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.base import text
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind, Record, Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.container.outerfile import OuterFile
    from fixedram_fmt.container.wrapper import Part
    from fixedram_fmt.image import Image
    from fixedram_fmt.presence.bitmap import PageBitmap
    from fixedram_fmt.schema.base import FieldSpan

__all__ = [
    "BlockRegion",
    "Dump",
    "DumpStop",
    "FieldPlace",
    "Group",
    "PagesRun",
    "RecordEntry",
    "WritingPlan",
    "container_leaves",
    "entry",
    "fields",
    "layout",
    "leaves",
    "merged",
    "outer_leaves",
    "values",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlockRegion:
    """A part of a block's fixed layout that is one range: its bitmap, its padding."""

    block: bytes


@dataclass(frozen=True, slots=True)
class PagesRun:
    """A run of pages of a block: present, absent, stale (absent, with old bytes) or unknown."""

    block: bytes
    state: str
    first_page: int
    pages: int


@dataclass(frozen=True, slots=True)
class Group:
    """Leaves that were put together; note says what they are, where that is short."""

    leaves: int
    note: str = ""


def leaves(image: Image, *, deep: bool = False, runs: bool = True) -> Iterator[Record[Any]]:
    """The leaves of image; deep reads absent pages too and tells those that hold stale bytes.

    Without runs the pages of a block are one leaf, whose value is the RamBlock.
    """
    frontier = image.container.stream_offset
    stop = image.source.size
    claims = _region_claims(image)
    paddings = _Paddings(image.blocks)
    for record in heapq.merge(image.known_records(), claims, key=lambda item: item.offset):
        end = min(record.stop, stop)
        if end <= frontier or record.offset >= stop:
            # A hostile file describes the same bytes twice, and the first owner keeps them, or
            # bytes that it does not have.
            continue
        if record.offset > frontier:
            yield paddings.own(frontier, record.offset)
            frontier = record.offset
        for leaf in _expanded(image, record, frontier, deep=deep) if runs else (record,):
            start, last = max(leaf.offset, frontier), min(leaf.stop, end)
            if last > start:
                yield replace(leaf, offset=start, length=last - start)
                frontier = last
    if frontier < stop:
        yield _unclaimed(image, frontier, stop)


def container_leaves(image: Image) -> Iterator[Record[Any]]:
    """The leaves before the stream: together with leaves() they tile the file from its start.

    They are those of the wrappers in the Source that holds the stream.
    """
    for wrapper in image.container.wrappers:
        if wrapper.inner.source is not image.source or wrapper.outer.source is not image.source:
            continue
        yield from map(_leaf, wrapper.parts())


def outer_leaves(outer: OuterFile) -> Iterator[Record[Any]]:
    """The leaves of a container itself, which tile its file."""
    return map(_leaf, outer.parts)


def _leaf(part: Part) -> Record[Any]:
    value = Region(part.note) if part.value is None else part.value
    return Record(Kind(part.kind), part.path, part.offset, part.length, value)


def _region_claims(image: Image) -> list[Record[Any]]:
    claims: list[Record[Any]] = []
    for block in image.blocks:
        if block.has_pages:
            region = BlockRegion(block.idstr)
            length = image.bitmap_length(block)
            claims += [
                _in_layout(block, Kind.BITMAP, block.bitmap_offset, length, region),
                _in_layout(block, Kind.PAGES, block.pages_offset, block.used_length, block),
            ]
    return sorted(claims, key=lambda claim: claim.offset)


def _in_layout(
    block: RamBlock, kind: Kind, offset: int, length: int, value: T, number: str = ""
) -> Record[T]:
    """A part of a block's fixed layout."""
    path = f"{block.path}/{kind}{number}"
    return Record(kind, path, offset, length, value, ram.RAM_IDSTR, block.index)


class _Paddings:
    """Names the bytes nothing claims: padding where a block's bitmap and its pages enclose them."""

    def __init__(self, blocks: Sequence[RamBlock]) -> None:
        self._blocks = sorted(
            (block for block in blocks if block.has_pages), key=lambda block: block.bitmap_offset
        )
        self._starts = [block.bitmap_offset for block in self._blocks]

    def own(self, start: int, stop: int) -> Record[Any]:
        index = bisect.bisect_right(self._starts, start) - 1
        if index >= 0 and stop <= self._blocks[index].pages_offset:
            block = self._blocks[index]
            region = BlockRegion(block.idstr)
            return _in_layout(block, Kind.PADDING, start, stop - start, region)
        nobody = Region("nothing refers to it")
        return Record(Kind.GAP, f"gap[{start:#x}]", start, stop - start, nobody)


def _unclaimed(image: Image, start: int, stop: int) -> Record[Any]:
    why = image.stopped.message if image.stopped else "after the stream"
    return Record(Kind.UNPARSED, "unparsed", start, stop - start, Region(why))


# -- pages as runs --------------------------------------------------------------------------------


def _expanded(
    image: Image, record: Record[Any], frontier: int, *, deep: bool
) -> Iterator[Record[Any]]:
    """Pages as runs, from the page that frontier lies in; what comes before has its owner."""
    if record.kind is not Kind.PAGES:
        yield record
        return
    block: RamBlock = record.value
    bitmap = image.readable_bitmap(block)
    if bitmap is None:
        yield _pages(block, "unknown", 0, block.pages_total)
    else:
        first = max(0, frontier - block.pages_offset) // block.page_size
        yield from _runs(image, block, bitmap, first, deep=deep)
    rest = block.used_length - block.pages_total * block.page_size
    if rest:
        run = PagesRun(block.idstr, "partial", block.pages_total, 0)
        yield _in_layout(block, Kind.PAGES, block.pages_stop - rest, rest, run, "[rest]")


def _pages(block: RamBlock, state: str, first: int, last: int) -> Record[PagesRun]:
    start, length = block.pages_offset + first * block.page_size, (last - first) * block.page_size
    run = PagesRun(block.idstr, state, first, last - first)
    return _in_layout(block, Kind.PAGES, start, length, run, f"[{first}]")


def _runs(
    image: Image, block: RamBlock, bitmap: PageBitmap, first: int, *, deep: bool
) -> Iterator[Record[PagesRun]]:
    for run in bitmap.runs(first):
        if run.present or not deep:
            yield _pages(block, "present" if run.present else "absent", run.start, run.stop)
        else:
            yield from _absent_or_stale(image, block, run.start, run.stop)


def _absent_or_stale(
    image: Image, block: RamBlock, start: int, stop: int
) -> Iterator[Record[PagesRun]]:
    """The absent pages [start, stop) as maximal runs of empty and of stale ones."""
    at, state = start, "absent"
    for first, last in stale_runs(image.source, block, start, stop):
        if first > at:
            yield _pages(block, state, at, first)
        yield _pages(block, "stale", first, last)
        at = last
    if stop > at:
        yield _pages(block, state, at, stop)


# -- what a leaf says -----------------------------------------------------------------------------


class FieldPlace(Result, frozen=True):
    """Where a field of a structure is in the file."""

    name: str
    offset: Unsigned
    length: Unsigned


class RecordEntry(Result, frozen=True, omit_defaults=True):
    """A range of the file with one owner; bytes and layout only where they were asked for."""

    offset: Unsigned
    length: Unsigned
    kind: Kind
    path: str
    fields: dict[str, Any]
    bytes: Hex = ""
    layout: tuple[FieldPlace, ...] = ()


class DumpStop(Result, frozen=True):
    """Where and why the stream stops early."""

    offset: int | None
    message: str


class Dump(Result, frozen=True):
    """Every byte from stream_offset to the end of the file has one owner.

    Where the container itself is shown stream_offset is 0, complete that it was opened.
    """

    path: str
    size: Unsigned
    stream_offset: Unsigned
    complete: bool
    stopped: DumpStop | None
    container: ContainerSummary
    records: tuple[RecordEntry, ...]


class WritingPlan(Result, frozen=True):
    """The file to be, in order."""

    pieces: tuple[RecordEntry, ...]


def entry(
    image: Image | OuterFile, record: Record[Any], *, with_bytes: bool = False
) -> RecordEntry:
    """A leaf as data; with_bytes reads it where it is one structure."""
    place = (record.offset, record.length, record.kind, record.path, fields(record))
    spans = layout(image, record) if with_bytes else []
    if not spans:
        return RecordEntry(*place)
    data = image.source.read_exact(record.offset, record.length).hex()
    places = (FieldPlace(one.name, record.offset + one.offset, one.length) for one in spans)
    return RecordEntry(*place, data, tuple(places))


def fields(record: Record[Any]) -> dict[str, Any]:
    """The values of a leaf by QEMU's names: numbers, names as text, other bytes as hex."""
    return values(record.kind, record.value)


def values(kind: Kind, value: Any) -> dict[str, Any]:
    """What a structure or region of that kind says; {} for none."""
    if value is None:
        return {}
    if isinstance(value, ram.RamRecord):
        return _ram_word(kind, value.word)
    shown: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.name == "unused" and not any(item):
            continue
        if isinstance(item, bytes):
            item = item.hex() if field.name in _HEX else text(item)
        if item is not None and item != "":
            shown[field.name] = item
    if isinstance(value, stream.Command):
        shown["name"] = _command_name(value.command)
    return shown


#: Fields that are bytes but no names.
_HEX = frozenset({"uuid", "data"})


def _ram_word(kind: Kind, word: int) -> dict[str, Any]:
    """A bare RAM record: its flags by name, and what is left of the word.

    A record of that kind has its kind's flag and perhaps CONTINUE; which other bits are flags
    depends on the page size, and none of them is set.
    """
    own = ram.RamSaveFlag[kind.name]
    flags = int(word & (own | ram.RamSaveFlag.CONTINUE))
    names = [flag.name for flag in (own, ram.RamSaveFlag.CONTINUE) if flag & flags]
    return {"flags": names, "size" if kind is Kind.MEM_SIZE else "address": word & ~flags}


def _command_name(command: int) -> str:
    try:
        return stream.MigCmd(command).name
    except ValueError:
        return "unknown"


def merged(records: Iterator[Record[Any]], depth: int) -> Iterator[Record[Any]]:
    """The leaves with everything below depth steps of path put together; they still tile."""
    group: Record[Any] | None = None
    for record in records:
        steps = record.path.split("/")
        path = "/".join(steps[:depth])
        if group is not None and group.path == path and group.stop == record.offset:
            group = replace(
                group, length=group.length + record.length, value=Group(group.value.leaves + 1)
            )
            continue
        if group is not None:
            yield group
        group = None
        if len(steps) <= depth:
            yield record
        else:
            group = Record(Kind.GROUP, path, record.offset, record.length, Group(1))
    if group is not None:
        yield group


def layout(image: Image | OuterFile, record: Record[Any]) -> list[FieldSpan]:
    """The fields of a leaf that is one structure, each with its place in it; [] for the others."""
    schema = SCHEMA_OF_KIND.get(record.kind)
    if schema is None:
        return []
    try:
        spans = list(schema.spans(image.source.read_exact(record.offset, record.length)))
    except FormatError:
        spans = []
    # Where a hostile layout left only a part of the structure to this leaf, there is nothing.
    return spans if sum(span.length for span in spans) == record.length else []
