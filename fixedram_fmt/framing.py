"""Sections that QEMU writes by hand: their own framing says where they end.

Each walker here takes a cursor at the start of a body and leaves it right behind the body.  Only
lengths are followed; what is inside is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.records import Cursor, Kind
from fixedram_fmt.schema import device
from fixedram_fmt.schema.device import DirtyBitmapFlag, SkeysFlag, StattrFlag

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from _typeshed import DataclassInstance

    from fixedram_fmt.schema.base import Schema

    S = TypeVar("S", bound=DataclassInstance)

__all__ = ["FRAMINGS"]


def _take(cursor: Cursor, schema: Schema[S], path: str) -> S:
    return cursor.take(schema, Kind.DEVICE, path).value


def _skip(cursor: Cursor, length: int, path: str) -> None:
    cursor.skip(length, Kind.DEVICE, path, None)


def _s390(
    data: int, ends: tuple[int, ...], others: tuple[int, ...] = ()
) -> Callable[[Cursor, str], None]:
    """Words with flags: after `data` a count and that many bytes follow; one of `ends` is last."""

    def walk(cursor: Cursor, path: str) -> None:
        while True:
            offset = cursor.offset
            flags = _take(cursor, device.S390_WORD, path).word & (device.S390_PAGE_SIZE - 1)
            if flags == data:
                _skip(cursor, _take(cursor, device.S390_COUNT, path).count, path)
            elif flags in ends:
                return
            elif flags not in others:
                raise FormatError(
                    "unknown flags in a section of storage keys or attributes",
                    code="framing",
                    offset=offset,
                    path=path,
                    expected=f"one of {[data, *ends, *others]}",
                    found=str(flags),
                )

    return walk


def _htab(cursor: Cursor, path: str) -> None:
    """A header that is all (START: the size; -1: no table), or 0 and chunks up to an empty one."""
    if _take(cursor, device.HTAB_HEADER, path).section_hdr:
        return
    while True:
        chunk = _take(cursor, device.HTAB_CHUNK, path)
        if not (chunk.index or chunk.n_valid or chunk.n_invalid):
            return
        _skip(cursor, chunk.n_valid * device.HASH_PTE_SIZE_64, path)


def _dirty_bitmap(cursor: Cursor, path: str) -> None:
    """Chunks, each with flags that say what is in it, up to one with EOS."""
    while True:
        flags = _take(cursor, device.BITMAP_FLAGS, path).flags
        if flags & DirtyBitmapFlag.EXTRA_FLAGS:
            flags = _take(cursor, device.BITMAP_FLAGS, path).flags
            if flags & DirtyBitmapFlag.EXTRA_FLAGS:
                # QEMU keeps the low eight bits of the last two bytes.
                _skip(cursor, 1, path)
                flags = _take(cursor, device.BITMAP_FLAGS, path).flags
        for named in (DirtyBitmapFlag.DEVICE_NAME, DirtyBitmapFlag.BITMAP_NAME):
            if flags & named:
                _take(cursor, device.BITMAP_ALIAS, path)
        if flags & DirtyBitmapFlag.START:
            _take(cursor, device.BITMAP_START, path)
        elif flags & DirtyBitmapFlag.BITS:
            _take(cursor, device.BITMAP_BITS, path)
            if not flags & DirtyBitmapFlag.ZEROES:
                _skip(cursor, _take(cursor, device.BITMAP_DATA, path).buf_size, path)
        if flags & DirtyBitmapFlag.EOS:
            return


#: By idstr of the section.
FRAMINGS: dict[bytes, Callable[[Cursor, str], None]] = {
    b"s390-storage_attributes": _s390(StattrFlag.MORE, (StattrFlag.EOS,), (StattrFlag.DONE,)),
    b"s390-skeys": _s390(SkeysFlag.SKEYS, (SkeysFlag.EOS, SkeysFlag.ERROR)),
    b"spapr/htab": _htab,
    b"dirty-bitmap": _dirty_bitmap,
}
