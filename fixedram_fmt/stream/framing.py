"""Sections that QEMU writes by hand: their own framing says where they end.

Each walker here takes a cursor at the start of a body, yields what it meets as records, and leaves
the cursor right after the body.  A record without a value is data, which is passed over unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import device
from fixedram_fmt.schema.device import DirtyBitmapFlag, SkeysFlag, StattrFlag
from fixedram_fmt.stream.records import Cursor, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from _typeshed import DataclassInstance

    from fixedram_fmt.schema.base import Schema
    from fixedram_fmt.stream.records import Record

    S = TypeVar("S", bound=DataclassInstance)
    Walker = Callable[[Cursor, str], Iterator[Record[Any]]]

__all__ = ["FRAMINGS"]

#: Flags that a name goes with, in the order of the names.
_NAMED = (DirtyBitmapFlag.DEVICE_NAME, DirtyBitmapFlag.BITMAP_NAME)


def _take(cursor: Cursor, schema: Schema[S], path: str) -> Record[S]:
    return cursor.take(schema, Kind.DEVICE, path)


def _data(cursor: Cursor, length: int, path: str) -> Record[None]:
    return cursor.skip(length, Kind.DEVICE, path, None)


def _s390(data: int, ends: tuple[int, ...], others: tuple[int, ...] = ()) -> Walker:
    """Words with flags: after `data` a count and that many bytes follow; one of `ends` is last."""

    def walk(cursor: Cursor, path: str) -> Iterator[Record[Any]]:
        while True:
            word = _take(cursor, device.S390_WORD, path)
            yield word
            flags = word.value.word & (device.S390_PAGE_SIZE - 1)
            if flags == data:
                count = _take(cursor, device.S390_COUNT, path)
                yield count
                yield _data(cursor, count.value.count, path)
            elif flags in ends:
                return
            elif flags not in others:
                raise FormatError(
                    "unknown flags in a section of storage keys or attributes",
                    code="framing",
                    offset=word.offset,
                    path=path,
                    expected=f"one of {[*map(int, (data, *ends, *others))]}",
                    found=str(flags),
                )

    return walk


def _htab(cursor: Cursor, path: str) -> Iterator[Record[Any]]:
    """A header that is all (START: the size; -1: no table), or 0 and chunks up to an empty one."""
    header = _take(cursor, device.HTAB_HEADER, path)
    yield header
    if header.value.section_hdr:
        return
    while True:
        chunk = _take(cursor, device.HTAB_CHUNK, path)
        yield chunk
        if not (chunk.value.index or chunk.value.n_valid or chunk.value.n_invalid):
            return
        if chunk.value.n_valid:
            yield _data(cursor, chunk.value.n_valid * device.HASH_PTE_SIZE_64, path)


def _dirty_bitmap(cursor: Cursor, path: str) -> Iterator[Record[Any]]:
    """Chunks, each with flags that say what is in it, up to one with EOS."""
    while True:
        record = _take(cursor, device.BITMAP_FLAGS, path)
        if record.value.flags & DirtyBitmapFlag.EXTRA_FLAGS:
            record = _take(cursor, device.BITMAP_FLAGS, path)
            if record.value.flags & DirtyBitmapFlag.EXTRA_FLAGS:
                # QEMU keeps the low eight bits of the last two bytes.
                yield _data(cursor, 1, path)
                record = _take(cursor, device.BITMAP_FLAGS, path)
        yield record
        flags = record.value.flags
        for named in _NAMED:
            if flags & named:
                yield _take(cursor, device.BITMAP_ALIAS, path)
        if flags & DirtyBitmapFlag.START:
            yield _take(cursor, device.BITMAP_START, path)
        elif flags & DirtyBitmapFlag.BITS:
            yield _take(cursor, device.BITMAP_BITS, path)
            if not flags & DirtyBitmapFlag.ZEROES:
                data = _take(cursor, device.BITMAP_DATA, path)
                yield data
                yield _data(cursor, data.value.buf_size, path)
        if flags & DirtyBitmapFlag.EOS:
            return


#: By idstr of the section.
FRAMINGS: dict[bytes, Walker] = {
    b"s390-storage_attributes": _s390(StattrFlag.MORE, (StattrFlag.EOS,), (StattrFlag.DONE,)),
    b"s390-skeys": _s390(SkeysFlag.SKEYS, (SkeysFlag.EOS, SkeysFlag.ERROR)),
    b"spapr/htab": _htab,
    b"dirty-bitmap": _dirty_bitmap,
}
