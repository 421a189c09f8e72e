"""What sections that QEMU writes by hand hold, added up over all their parts.

Storage attributes and keys of s390x, the hash table of a pseries machine, dirty bitmaps of block
devices.  Data is read in bounded steps; nothing is kept per page or entry.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.framing import FRAMINGS
from fixedram_fmt.records import Cursor, Kind
from fixedram_fmt.schema import device
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.device import DirtyBitmapFlag, DirtyBitmapStartFlag
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.records import Record
    from fixedram_fmt.source import Source

__all__ = ["HandCoded", "summarize"]

_STEP = 1 << 20
#: htab_save_setup(): there is no hash table, the guest uses radix trees.
_NO_TABLE = 0xFFFFFFFF
#: Bitmaps told one by one; a VM has a few.
_BITMAPS_CEILING = 1024


@dataclass(slots=True)
class HandCoded:
    """A section written by hand: facts by name, added up over its parts; problem if it ends early.

    offset is where its first body begins in the file, parts how many there are.
    """

    section_id: int
    name: str
    offset: int
    parts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def add(self, name: str, number: int) -> None:
        """Count number more of something."""
        self.facts[name] = self.facts.get(name, 0) + number

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {"parts": self.parts, **self.facts}
        return told | ({"problem": self.problem} if self.problem else {})

    def __str__(self) -> str:
        words = [_WORDS[name](value) for name, value in self.facts.items() if name in _WORDS]
        return ", ".join([*filter(None, words), *([self.problem] if self.problem else [])])


_WORDS: dict[str, Callable[[Any], str]] = {
    "pages": lambda number: f"{number:,} pages",
    "non_zero": lambda number: f"{number:,} of them not 0" if number else "",
    "values": lambda values: f"{len(values)} different values" if len(values) > 1 else "",
    "table_size": lambda size: f"table of {human_size(size)}" if size else "no table",
    "valid": lambda number: f"{number:,} valid entries",
    "bitmaps": lambda found: "; ".join(
        f"{one['node']}/{one['bitmap']}: {'complete' if one['complete'] else 'not complete'}"
        f"{', granularity ' + human_size(one['granularity']) if one['granularity'] else ''}"
        for one in found
    ),
}


def summarize(image: Image) -> list[HandCoded]:
    """Every such section of an image, in the order in which they start."""
    sections = {one.idstr: one for one in image.sections if one.idstr in _READERS}
    if not sections:
        return []
    readers: dict[bytes, _Reader] = {}
    for idstr, body in _bodies(image):
        reader = readers.get(idstr)
        if reader is None:
            section = sections[idstr]
            told = HandCoded(section.section_id, section.name, body.offset)
            reader = readers[idstr] = _READERS[idstr](image.source, told)
        reader.told.parts += 1
        try:
            for record in FRAMINGS[idstr](Cursor(image.source, body.offset), body.path):
                reader.take(record)
        except FixedRamError as error:
            reader.told.problem = str(error)
    return [reader.told for reader in readers.values()]


def _bodies(image: Image) -> Iterator[tuple[bytes, Record[Any]]]:
    """The body records of such sections."""
    try:
        for record in image.records():
            if record.kind is Kind.DEVICE and record.value.idstr in _READERS:
                yield record.value.idstr, record
    except FixedRamError:
        # The image says in `stopped` why it ends there.
        return


class _Reader:
    """Adds up the records of one section, part after part, in told."""

    def __init__(self, source: Source, told: HandCoded) -> None:
        self.source = source
        self.told = told

    def take(self, record: Record[Any]) -> None:
        raise NotImplementedError

    def read(self, record: Record[Any]) -> Iterator[bytes]:
        """The data that a record stands for, in steps."""
        for start in range(record.offset, record.stop, _STEP):
            yield self.source.read_exact(start, min(_STEP, record.stop - start), record.path)


class _PageBytes(_Reader):
    """s390x: one byte a page, a storage key or attributes."""

    def __init__(self, source: Source, told: HandCoded) -> None:
        super().__init__(source, told)
        self._values: Counter[int] = Counter()
        told.facts |= {"pages": 0, "non_zero": 0, "values": {}}

    def take(self, record: Record[Any]) -> None:
        if record.value is not None:
            return
        for piece in self.read(record):
            self._values.update({value: piece.count(value) for value in set(piece)})
        self.told.add("pages", record.length)
        self.told.facts["non_zero"] = sum(n for value, n in self._values.items() if value)
        self.told.facts["values"] = {f"{v:#04x}": self._values[v] for v in sorted(self._values)}


class _Htab(_Reader):
    """pseries: size of the hash table, then chunks of valid and invalid entries."""

    def take(self, record: Record[Any]) -> None:
        value, told = record.value, self.told
        if isinstance(value, device.HtabHeader) and value.section_hdr == _NO_TABLE:
            told.facts["table_size"] = 0
        elif isinstance(value, device.HtabHeader) and value.section_hdr:
            told.facts["shift"] = value.section_hdr
            told.facts["table_size"] = 1 << min(value.section_hdr, 63)
        elif isinstance(value, device.HtabChunk) and (value.n_valid or value.n_invalid):
            told.add("chunks", 1)
            told.add("valid", value.n_valid)
            told.add("invalid", value.n_invalid)


class _DirtyBitmaps(_Reader):
    """Chunks name a node and a bitmap, or mean those of the chunk before."""

    def __init__(self, source: Source, told: HandCoded) -> None:
        super().__init__(source, told)
        self._names = ["", ""]
        self._due: list[int] = []
        self._flags = 0
        self._bitmaps: dict[tuple[str, str], dict[str, Any]] = {}
        told.facts["bitmaps"] = []

    def take(self, record: Record[Any]) -> None:
        value = record.value
        if isinstance(value, device.BitmapFlags):
            self._flags = value.flags
            named = (DirtyBitmapFlag.DEVICE_NAME, DirtyBitmapFlag.BITMAP_NAME)
            self._due = [place for place, flag in enumerate(named) if value.flags & flag]
        elif isinstance(value, device.BitmapAlias):
            self._names[self._due.pop(0)] = text(value.alias)
        elif isinstance(value, device.BitmapStart):
            self._start(value)
        elif isinstance(value, device.BitmapBits):
            self._bitmap["chunks"] += 1
            self._bitmap["sectors"] += value.nr_sectors
        elif value is None and self._flags & DirtyBitmapFlag.BITS:
            pieces = (int.from_bytes(piece, "little") for piece in self.read(record))
            self._bitmap["bits_set"] += sum(bits.bit_count() for bits in pieces)
        if self._flags & DirtyBitmapFlag.COMPLETE and not self._due:
            self._bitmap["complete"] = True

    def _start(self, start: device.BitmapStart) -> None:
        self._bitmap["granularity"] = start.granularity
        for flag in DirtyBitmapStartFlag:
            self._bitmap[str(flag.name).lower()] = bool(start.flags & flag)

    @property
    def _bitmap(self) -> dict[str, Any]:
        """The entry of the bitmap that the names mean now, made when it is met."""
        node, bitmap = self._names
        found = self._bitmaps.get((node, bitmap))
        if found is None:
            found = {"node": node, "bitmap": bitmap, "granularity": 0, "sectors": 0}
            found |= {"chunks": 0, "bits_set": 0, "complete": False}
            if len(self._bitmaps) < _BITMAPS_CEILING:
                self._bitmaps[node, bitmap] = found
                self.told.facts["bitmaps"].append(found)
        return found


#: By idstr; the same sections as FRAMINGS.
_READERS: dict[bytes, type[_Reader]] = {
    b"s390-storage_attributes": _PageBytes,
    b"s390-skeys": _PageBytes,
    b"spapr/htab": _Htab,
    b"dirty-bitmap": _DirtyBitmaps,
}
