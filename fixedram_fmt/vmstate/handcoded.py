"""What sections that QEMU writes by hand hold, added up over all their parts.

Storage attributes and keys of s390x, the hash table of a pseries machine, dirty bitmaps of block
devices.  Data is read in bounded steps; nothing is kept per page, entry or chunk.

Upstream: hw/s390x/s390-stattrib.c, hw/s390x/s390-skeys.c, hw/ppc/spapr.c htab_save_iterate(),
migration/block-dirty-bitmap.c.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema import device
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.device import DirtyBitmapFlag, DirtyBitmapStartFlag
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.records import SECTION_HEADERS, Cursor
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.stream.records import Record

__all__ = ["DirtyBitmap", "HandCoded", "PageChunk", "summarize"]

#: htab_save_setup(): there is no hash table, the guest uses radix trees.
_NO_TABLE = 0xFFFFFFFF
#: spapr_hpt_shift_for_ramsize() and the ceiling of the architecture: log2 of the table's bytes.
_SHIFTS = range(18, 47)
#: Bitmaps and ranges told one by one.
_BITMAPS_CEILING = 1024
_RANGES_CEILING = 256
#: Counting fewer bytes than this one by one is faster than by numpy.
_FEW = 512


class DirtyBitmap(Result, frozen=True, omit_defaults=True):
    """A dirty bitmap of a block device: one bit for each granularity of bytes.

    sectors are those that its chunks cover, bitmap_bytes what they hold; the flags are those of
    its start, None where it has none.
    """

    node: str
    bitmap: str
    granularity: Unsigned
    sectors: Unsigned
    chunks: Unsigned
    bitmap_bytes: Unsigned
    bits_set: Unsigned
    dirty_bytes: Unsigned
    complete: bool
    enabled: bool | None = None
    persistent: bool | None = None
    autoload: bool | None = None

    def __str__(self) -> str:
        words = [f"{self.node}/{self.bitmap}: {'' if self.complete else 'not '}complete"]
        words += [flag for flag in _START_FLAGS if getattr(self, flag)]
        if self.granularity:
            words.append(f"granularity {human_size(self.granularity)}")
            words.append(f"{human_size(self.dirty_bytes)} dirty")
        return ", ".join(words)


class PageChunk(Result, frozen=True):
    """Pages from a guest-physical address on that a storage chunk is about."""

    address: Unsigned
    pages: Unsigned


class HandCoded(Result, frozen=True, omit_defaults=True):
    """What a section that is written by hand holds, over all its parts; problem if it ends early.

    offset and path are where its first body begins in the file, parts how many bodies there are.
    Of s390x: pages, how many of them are non_zero, and how many have each of the values.  Of a
    hash table: shift (log2 of its size), table_size in bytes, valid and invalid entries.
    """

    hidden = frozenset({"section_id", "name"})

    section_id: int
    name: str
    offset: Unsigned
    path: str
    parts: Unsigned
    pages: Unsigned | None = None
    non_zero: Unsigned | None = None
    values: dict[str, Unsigned] | None = None
    ranges_total: Unsigned | None = None
    ranges: tuple[PageChunk, ...] | None = None
    shift: Unsigned | None = None
    table_size: Unsigned | None = None
    chunks: Unsigned | None = None
    valid: Unsigned | None = None
    invalid: Unsigned | None = None
    bitmaps: tuple[DirtyBitmap, ...] | None = None
    problem: str = ""

    def __str__(self) -> str:
        facts = ((words, getattr(self, name)) for name, words in _WORDS.items())
        return ", ".join(filter(None, (*(w(v) for w, v in facts if v is not None), self.problem)))


@dataclass(slots=True)
class _Sums:
    """What is known of a section so far."""

    section_id: int
    name: str
    offset: int
    path: str
    parts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def add(self, name: str, number: int) -> None:
        """Count number more of something."""
        self.facts[name] = self.facts.get(name, 0) + number

    def result(self) -> HandCoded:
        place = (self.section_id, self.name, self.offset, self.path, self.parts)
        return HandCoded(*place, problem=self.problem, **self.facts)


_START_FLAGS = {flag.name.lower(): flag for flag in DirtyBitmapStartFlag}

_WORDS: dict[str, Callable[[Any], str]] = {
    "pages": lambda number: f"{number:,} pages",
    "non_zero": lambda number: f"{number:,} of them not 0" if number else "",
    "values": lambda values: f"{len(values)} different values" if len(values) > 1 else "",
    "ranges_total": lambda number: f"{number:,} ranges" if number > 1 else "",
    "table_size": lambda size: f"table of {human_size(size)}" if size else "no table",
    "chunks": lambda number: f"{number:,} chunks",
    "valid": lambda number: f"{number:,} valid entries",
    "invalid": lambda number: f"{number:,} invalid ones" if number else "",
    "bitmaps": lambda found: "; ".join(map(str, found)),
}


def summarize(image: ImageFacts) -> list[HandCoded]:
    """Every such section of an image, in the order in which they start.

    A body that the image ends in, or that contradicts its framing, counts as far as it goes;
    `problem` says so then.
    """
    if not any(section.idstr in _READERS for section in image.sections):
        return []
    readers: dict[tuple[int, bytes], _Reader] = {}
    for body in _bodies(image):
        key = (body.section_id, body.idstr)
        if key not in readers:
            told = _Sums(body.section_id, text(body.idstr), body.offset, body.path)
            readers[key] = _READERS[body.idstr](image.source, told)
        reader = readers[key]
        reader.told.parts += 1
        try:
            for record in FRAMINGS[body.idstr](Cursor(image.source, body.offset), body.path):
                reader.take(record)
        except FixedRamError as error:
            reader.told.problem = str(error)
    for reader in readers.values():
        reader.finish()
    return [reader.told.result() for reader in readers.values()]


class _Body(NamedTuple):
    section_id: int
    idstr: bytes
    offset: int
    path: str


def _bodies(image: ImageFacts) -> Iterator[_Body]:
    """The bodies of such sections, and the one that the image ends in."""
    begun: _Body | None = None
    for record in image.known_records(batched=True):
        if record.kind in SECTION_HEADERS:
            path = record.path.removesuffix("header") + "body"
            begun = _Body(record.value.section_id, record.section, record.stop, path)
            begun = begun if record.section in _READERS else None
        elif begun:
            yield begun
            begun = None
    if begun:
        yield begun


class _Reader:
    """Adds up the records of one section, part after part, in told."""

    def __init__(self, source: Source, told: _Sums) -> None:
        self.source = source
        self.told = told

    def take(self, record: Record[Any]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Tell what is only known after the last part."""

    def read(self, record: Record[Any]) -> Iterator[bytes]:
        """The data that a record stands for, in steps."""
        return self.source.pieces(record.offset, record.stop, record.path)


class _PageBytes(_Reader):
    """s390x: one byte a page, a storage key or attributes; chunks say which pages."""

    def __init__(self, source: Source, told: _Sums) -> None:
        super().__init__(source, told)
        self._values: Counter[int] = Counter()
        self._word = 0
        self._ranges: list[dict[str, int]] = []
        self._ranges_total = 0
        self._range_stop = -1

    def take(self, record: Record[Any]) -> None:
        if isinstance(record.value, device.S390Word):
            self._word = record.value.word
        elif record.value is None and record.length:
            for piece in self.read(record):
                self._count(piece)
            self._place(self._word & -device.S390_PAGE_SIZE, record.length)

    def _count(self, piece: bytes) -> None:
        if len(piece) < _FEW:
            self._values.update(piece)
            return
        import numpy as np

        counts = np.bincount(np.frombuffer(piece, dtype=np.uint8), minlength=256)
        self._values.update({int(value): int(counts[value]) for value in np.flatnonzero(counts)})

    def _place(self, address: int, pages: int) -> None:
        """A chunk over pages from a guest address on, merged with the one before if it can be."""
        follows = address == self._range_stop
        self._range_stop = address + pages * device.S390_PAGE_SIZE
        if not follows:
            self._ranges_total += 1
            if len(self._ranges) < _RANGES_CEILING:
                self._ranges.append({"address": address, "pages": 0})
        if self._ranges_total == len(self._ranges):
            self._ranges[-1]["pages"] += pages

    def finish(self) -> None:
        counts = self._values
        self.told.facts |= {
            "pages": counts.total(),
            "non_zero": counts.total() - counts[0],
            "values": {f"{value:#04x}": counts[value] for value in sorted(counts) if counts[value]},
            "ranges_total": self._ranges_total,
            "ranges": tuple(PageChunk(**one) for one in self._ranges),
        }


class _Htab(_Reader):
    """pseries: size of the hash table, then chunks of valid and invalid entries."""

    def take(self, record: Record[Any]) -> None:
        value, told = record.value, self.told
        if isinstance(value, device.HtabChunk) and (value.n_valid or value.n_invalid):
            told.add("chunks", 1)
            told.add("valid", value.n_valid)
            told.add("invalid", value.n_invalid)
        elif isinstance(value, device.HtabHeader) and value.section_hdr == _NO_TABLE:
            told.facts["table_size"] = 0
        elif isinstance(value, device.HtabHeader) and value.section_hdr:
            told.facts["shift"] = value.section_hdr
            if value.section_hdr in _SHIFTS:
                told.facts["table_size"] = 1 << value.section_hdr
            else:
                told.problem = f"no table has a size of 2^{value.section_hdr} bytes"


class _DirtyBitmaps(_Reader):
    """Chunks name a node and a bitmap, or mean those of the chunk before."""

    def __init__(self, source: Source, told: _Sums) -> None:
        super().__init__(source, told)
        self._names = ["", ""]
        self._due: list[int] = []
        self._completes = False
        self._in_data = False
        self._bitmaps: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, record: Record[Any]) -> None:
        value = record.value
        if value is None:
            self._read_bits(record)
        elif isinstance(value, device.BitmapFlags):
            self._due = [place for place, flag in enumerate(_NAMES) if value.flags & flag]
            self._completes = bool(value.flags & DirtyBitmapFlag.COMPLETE)
        elif isinstance(value, device.BitmapAlias):
            self._names[self._due.pop(0)] = text(value.alias)
        elif isinstance(value, device.BitmapStart):
            self._start(value)
        elif isinstance(value, device.BitmapBits):
            bitmap = self._bitmap()
            bitmap["chunks"] += 1
            bitmap["sectors"] += value.nr_sectors
        self._in_data = isinstance(value, device.BitmapData)
        if self._completes and not self._due:
            self._bitmap()["complete"] = True
            self._completes = False

    def _read_bits(self, record: Record[Any]) -> None:
        """Count the bits of a chunk: one for each granularity of bytes."""
        if self._in_data:
            pieces = (int.from_bytes(piece, "little") for piece in self.read(record))
            bitmap = self._bitmap()
            bitmap["bits_set"] += sum(bits.bit_count() for bits in pieces)
            bitmap["bitmap_bytes"] += record.length

    def _start(self, start: device.BitmapStart) -> None:
        bitmap = self._bitmap()
        bitmap["granularity"] = start.granularity
        bitmap |= {name: bool(start.flags & flag) for name, flag in _START_FLAGS.items()}

    def _bitmap(self) -> dict[str, Any]:
        """The entry of the bitmap that the names mean now, made when it is met."""
        node, bitmap = self._names
        found = self._bitmaps.get((node, bitmap))
        if found is None:
            found = {"node": node, "bitmap": bitmap, "granularity": 0}
            found |= dict.fromkeys(("sectors", "chunks", "bitmap_bytes", "bits_set"), 0)
            found |= {"dirty_bytes": 0, "complete": False}
            if len(self._bitmaps) < _BITMAPS_CEILING:
                self._bitmaps[node, bitmap] = found
            else:
                self.told.problem = f"of more bitmaps than {_BITMAPS_CEILING} the rest is left out"
        return found

    def finish(self) -> None:
        for bitmap in self._bitmaps.values():
            bitmap["dirty_bytes"] = bitmap["bits_set"] * bitmap["granularity"]
        self.told.facts["bitmaps"] = tuple(DirtyBitmap(**one) for one in self._bitmaps.values())


_NAMES = (DirtyBitmapFlag.DEVICE_NAME, DirtyBitmapFlag.BITMAP_NAME)

#: By idstr; the same sections as FRAMINGS.
_READERS: dict[bytes, type[_Reader]] = {
    b"s390-storage_attributes": _PageBytes,
    b"s390-skeys": _PageBytes,
    b"spapr/htab": _Htab,
    b"dirty-bitmap": _DirtyBitmaps,
}
