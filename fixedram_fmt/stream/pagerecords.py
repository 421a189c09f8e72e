"""The page records of an ordinary stream: what one is, and reading them a window at a time.

A record is a word (address in the block, flags in its low bits), the block's name unless CONTINUE
says that it is the one before, and a payload by its kind: a page, the byte that fills one, or a
delta or compressed page with a header.  The first record of a stretch is read by its structures.
Those that CONTINUE after it are only measured, and come as arrays: a stream of single pages costs
little more than reading it.

Upstream: QEMU migration/ram.c ram_load_precopy(), ram_block_from_stream(), load_xbzrle().
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.pagebatch import (
    PAGE_KINDS,
    WORD,
    ZERO_RECORD,
    LonePage,
    PageBatch,
    SentPages,
    SentRun,
)
from fixedram_fmt.stream.ramstate import DEFAULT_PAGE_SIZE, RamState, can_follow_list
from fixedram_fmt.stream.records import Cursor, Kind, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

__all__ = ["PageReader"]

#: Sizes tried where nothing says the page size: the usual one, the larger ones, then the smaller.
_LIKELY_SIZES = (4096, 8192, 16384, 32768, 65536, 2048, 1024, 512, 256)

#: How much of the file is looked at, in bytes, at first and at most: many sections hold few pages.
_FIRST_LOOK, _WINDOW, _FURTHER = 1 << 14, 1 << 21, 8

_CONTINUE = int(RamSaveFlag.CONTINUE)
_PAGE, _ZERO = int(RamSaveFlag.PAGE), int(RamSaveFlag.ZERO)
_XBZRLE, _COMPRESS = int(RamSaveFlag.XBZRLE), int(RamSaveFlag.COMPRESS_PAGE)
_XBZRLE_HEAD = struct.Struct(">QBH")
_COMPRESS_HEAD = struct.Struct(">QI")

#: So many records are measured one by one, at first and at most, before it is tried whether their
#: flags repeat; a repetition is followed over so many records at least.
_FIRST_TRY, _LAST_TRY, _SHORT = 4, 256, 16
#: Where the lowest byte of a word is, which has all flags of PAGE and ZERO records.
_LOW = WORD - 1


class PageReader:
    """Reads stretches of page records at a cursor; the room for a window is kept for the next."""

    def __init__(self, cursor: Cursor, state: RamState) -> None:
        self._cursor = cursor
        self._state = state
        self._window = bytearray()
        self._base = self._filled = self._end = 0
        # Bytes of a whole PAGE or ZERO record that CONTINUEs, by the lowest byte of its word.
        self._sizes = [0] * 256
        #: Which record of the section comes after what has been read.
        self.next_number = 0
        self._try_after = _FIRST_TRY
        self._reach = _SHORT

    def read(self, head: Record[ram.RamRecord], path: str, number: int) -> Iterator[SentPages]:
        """The record that head begins and all page records that CONTINUE after it, in batches.

        path is that of the section's RAM part, number which record of it this is.  The cursor is
        after each batch when that is given; a batch is good until the next is asked for.
        """
        state, cursor = self._state, self._cursor
        run, name_length = self._first(head)
        block, page_size = state.last_idstr, state.page_size
        assert block is not None
        if not self._goes_on():
            self.next_number = number + 1
            yield LonePage(block, page_size, path, number, run, cursor.source)
            return
        import numpy as np

        self._sizes = [0] * 256
        self._sizes[_ZERO | _CONTINUE] = ZERO_RECORD
        if state.target_page_size is not None:
            self._sizes[_PAGE | _CONTINUE] = WORD + state.target_page_size
        position, look, before = head.offset, _FIRST_LOOK, None
        offsets = [np.zeros(1, np.int64)]
        while True:
            self._load(position, look)
            position = self._measure(cursor.offset, offsets)
            offsets.append(np.array([position - self._base]))
            batch = PageBatch(
                block,
                page_size,
                path,
                number,
                self._window,
                self._base,
                np.concatenate(offsets),
                name_length,
                before,
            ).known()
            cursor.offset = position = batch.stop
            if batch.offsets.size > 1:
                yield batch
                before, number = batch.last, batch.next_number
                self.next_number = number
            if self._is_over(position):
                return
            look, name_length, offsets = min(look * _FURTHER, _WINDOW), 0, []

    # -- the first record of a stretch ----------------------------------------------------------

    def _goes_on(self) -> bool:
        """Whether the next record is of the same stretch."""
        data = self._cursor.peek(WORD)
        flags = int.from_bytes(data, "big") & (self._state.page_size - 1)
        return len(data) == WORD and bool(flags & _CONTINUE) and flags ^ _CONTINUE in PAGE_KINDS

    def _first(self, head: Record[ram.RamRecord]) -> tuple[SentRun, int]:
        """Go to after the record that head begins; the run it is, and the bytes of its name."""
        state, cursor, path = self._state, self._cursor, head.path
        flags = head.value.word & (state.page_size - 1)
        cursor.offset = head.stop
        if not flags & _CONTINUE:
            name = cursor.take(ram.PAGE_IDSTR, Kind.PAGE, f"{path}/idstr").value.idstr
            state.last_idstr = c_string(name)
        elif state.last_idstr is None:
            raise FormatError(
                "CONTINUE without a block before it",
                code="continue-first",
                offset=head.offset,
                path=path,
                expected="the name of a block",
                hint="the stream's beginning is missing",
            )
        payload, fill = cursor.offset, -1
        data_offset = payload
        if flags & _ZERO:
            fill = cursor.take(ram.ZERO_PAGE, Kind.ZERO, path).value.fill
        elif flags & _PAGE:
            cursor.skip(_page_size(cursor, state), Kind.PAGE, path, None)
        elif flags & _COMPRESS:
            header = cursor.take(ram.COMPRESS_PAGE, Kind.COMPRESS_PAGE, path).value
            data_offset = cursor.offset
            cursor.skip(header.length, Kind.COMPRESS_PAGE, path, None)
        else:
            delta = cursor.take(ram.XBZRLE_PAGE, Kind.XBZRLE, path)
            if delta.value.encoding != ram.ENCODING_FLAG_XBZRLE:
                raise FormatError(
                    "unknown encoding of an XBZRLE page",
                    code="xbzrle-encoding",
                    offset=delta.offset,
                    path=path,
                    expected=str(ram.ENCODING_FLAG_XBZRLE),
                    found=str(delta.value.encoding),
                )
            data_offset = cursor.offset
            cursor.skip(delta.value.length, Kind.XBZRLE, path, None)
        kind, address = PAGE_KINDS[flags & ~_CONTINUE], head.value.word & -state.page_size
        length = cursor.offset - data_offset
        run = SentRun(kind, address, 1, head.offset, data_offset, length, fill)
        return run, payload - head.stop

    # -- the window -----------------------------------------------------------------------------

    @property
    def _longest(self) -> int:
        """Bytes of the longest record that must lie in a window whole."""
        return WORD + self._state.page_size

    def _load(self, offset: int, look: int) -> None:
        source, room = self._cursor.source, look + self._longest
        if len(self._window) < room:
            self._window = bytearray(room)
        self._base, self._filled = offset, max(0, min(room, source.size - offset))
        source.read_into(offset, memoryview(self._window)[: self._filled])

    def _is_over(self, position: int) -> bool:
        """Whether what lies at position was looked at, and is no record of the stretch."""
        stop = self._base + self._filled
        return position + self._longest <= stop or stop == self._cursor.source.size

    # -- records that CONTINUE --------------------------------------------------------------------

    def _measure(self, position: int, found: list[npt.NDArray[np.int64]]) -> int:
        """Find the whole records of the window from position on; where they end.

        found gets where in window each begins.
        """
        import numpy as np

        self._end = position - self._base
        while True:
            most = self._try_after
            singles = np.fromiter(self._singles(self._end, most), np.int64)
            found.append(singles)
            if singles.size < most or self._end > self._filled:
                break
            self._end = self._repeat(singles[-_FIRST_TRY:], self._end, found)
        if self._end > self._filled and singles.size:
            # Of the last one only a delta may reach out of the window.
            last = int(singles[-1])
            if self._sizes[self._window[last + _LOW]]:
                self._end, found[-1] = last, singles[:-1]
        return self._base + self._end

    def _singles(self, offset: int, most: int) -> Iterator[int]:
        """Where in window records begin, one by one; only the lowest byte of a word is looked at.

        _end is then where they end.
        """
        window, sizes, limit = self._window, self._sizes, self._filled - ZERO_RECORD
        for _ in range(most):
            if offset > limit:
                break
            size = sizes[window[offset + _LOW]] or self._delta_size(offset)
            if not size:
                break
            yield offset
            offset += size
        self._end = offset

    def _delta_size(self, offset: int) -> int:
        """Bytes of the XBZRLE or COMPRESS_PAGE record at offset; 0 if it is none or cut off."""
        room = self._filled - offset
        flags = int.from_bytes(self._window[offset : offset + WORD], "big")
        flags &= self._state.page_size - 1
        if flags == _XBZRLE | _CONTINUE and room >= _XBZRLE_HEAD.size:
            _, encoding, length = _XBZRLE_HEAD.unpack_from(self._window, offset)
            size = _XBZRLE_HEAD.size + length if encoding == ram.ENCODING_FLAG_XBZRLE else 0
        elif flags == _COMPRESS | _CONTINUE and room >= _COMPRESS_HEAD.size:
            size = _COMPRESS_HEAD.size + _COMPRESS_HEAD.unpack_from(self._window, offset)[1]
        else:
            return 0
        return size if self._base + offset + size <= self._cursor.source.size else 0

    def _repeat(
        self, last: npt.NDArray[np.int64], offset: int, found: list[npt.NDArray[np.int64]]
    ) -> int:
        """Find the records that go on as the last four do: all of a kind, or two kinds in turn.

        Their addresses do not matter, so many are looked at in one step.
        """
        import numpy as np

        window = np.frombuffer(self._window, np.uint8)
        flags = window[last + _LOW].tolist()
        total = 0
        if flags[:2] == flags[2:] and all(self._sizes[flag] for flag in flags):
            flags = flags[2:] if flags[2] != flags[3] else flags[3:]
            steps = [self._sizes[flag] for flag in flags]
            stride, reach, starts = sum(steps), self._reach, np.array([0, *steps[:-1]])
            while room := min(reach, (self._filled - offset) // stride):
                places = np.arange(offset, offset + room * stride, stride)[:, None] + starts
                same = (window[places + _LOW] == flags).all(axis=1)
                good = room if same.all() else int(same.argmin())
                found.append(places[:good].ravel())
                total, offset = total + good, offset + good * stride
                if good < room:
                    break
                reach *= _FURTHER
            self._reach = max(_SHORT, total)
        self._try_after = _FIRST_TRY if total >= _SHORT else min(self._try_after * 2, _LAST_TRY)
        return offset


def _page_size(cursor: Cursor, state: RamState) -> int:
    """Bytes of the page at cursor; where nothing tells, the size that leads to a next record."""
    if state.target_page_size is None:
        state.target_page_size = next(
            (size for size in _LIKELY_SIZES if _record_lies_at(cursor, size)), DEFAULT_PAGE_SIZE
        )
    return state.target_page_size


def _record_lies_at(cursor: Cursor, page_size: int) -> bool:
    """Whether a RAM record with exactly one known meaning lies a page of page_size from here."""
    try:
        word = cursor.look(ram.RAM_RECORD, Kind.PAGE, "", page_size).value.word
    except TruncatedError:
        return False
    return can_follow_list(word, page_size)
