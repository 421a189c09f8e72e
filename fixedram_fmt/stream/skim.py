"""Passes over the page records of an ordinary stream where only the pages' presence is wanted.

ramstream.py gives each run of records to whoever looks at them; here nobody does, so that a stream
of single pages costs little more than reading it.  What is not a plain PAGE or ZERO record of the
block that the one before it named is left to ramstream.py: names, deltas, damage.

Upstream: QEMU migration/ram.c ram_load_precopy().
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag

if TYPE_CHECKING:
    from fixedram_fmt.presence.pageset import PageSet
    from fixedram_fmt.stream.ramstate import RamState
    from fixedram_fmt.stream.records import Cursor

__all__ = ["skim_pages"]

_PAGE = RamSaveFlag.PAGE | RamSaveFlag.CONTINUE
_ZERO = RamSaveFlag.ZERO | RamSaveFlag.CONTINUE
_WORD = ram.RAM_RECORD.size
_ZERO_SIZE = _WORD + ram.ZERO_PAGE.size
#: How much is read at first, and at most, in bytes: many sections hold few pages.
_FIRST_LOOK, _WINDOW, _FURTHER = 1 << 14, 1 << 20, 8


def skim_pages(cursor: Cursor, state: RamState) -> int:
    """Go to after the plain records at cursor and mark their pages; how many runs they make.

    A run is what walk_ram() gives as one record: pages that count on, all of one kind.
    """
    pages = state.page_sets.get(state.last_idstr or b"")
    if pages is None or state.target_page_size is None:
        return 0
    runs, last, look = 0, 0, _FIRST_LOOK
    while True:
        window = cursor.source.read_upto(cursor.offset, look)
        words, length = _words(window, state.page_size, pages.pages * state.page_size)
        if words and cursor.offset + length > cursor.source.size:
            length -= _WORD + state.page_size  # its page is cut off
            words.pop()
        if not words:
            return runs
        runs += _mark(pages, words, state.page_size, last)
        last = words[-1]
        cursor.offset += length
        if length < len(window) - _ZERO_SIZE - state.page_size:
            return runs
        look = min(look * _FURTHER, _WINDOW)


def _words(window: bytes, page_size: int, stop: int) -> tuple[list[int], int]:
    """The words of plain records at the start of window, and the bytes that those take.

    The page of the last one may reach beyond the window.  stop is the block's length in bytes.
    """
    unpack, mask, stride = struct.Struct(">Q").unpack_from, page_size - 1, _WORD + page_size
    words: list[int] = []
    append, offset, last = words.append, 0, len(window) - _ZERO_SIZE
    while offset <= last:
        (word,) = unpack(window, offset)
        flags = word & mask
        # A block's addresses are below its length: what is not is left to who tells of it.
        if word >= stop:
            break
        if flags == _PAGE:
            offset += stride
        elif flags == _ZERO and not window[offset + _WORD]:
            offset += _ZERO_SIZE
        else:
            break
        append(word)
    return words, offset


def _mark(pages: PageSet, words: list[int], page_size: int, last: int) -> int:
    """Mark the pages of words as present (PAGE) or absent (ZERO); how many runs begin in them."""
    import numpy as np

    records = np.array(words, np.uint64)
    present = (records & np.uint64(page_size - 1)) == _PAGE
    pages.mark_each(records // np.uint64(page_size), present)
    before = np.concatenate((np.array([last], np.uint64), records[:-1]))
    begins = records - before != page_size
    return int(np.count_nonzero(begins[1:])) + (not last or bool(begins[0]))
