"""The page records of an ordinary stream, as fast as they can be read.

ramstream.py gives runs of equal records to people who look at a stream.  Here the pages are taken
out of it, so the records of a window are found and delivered while its bytes are at hand.

Upstream: QEMU migration/ram.c ram_load_precopy(), ram_block_from_stream().
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.ramstate import ADDRESS_CEILING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.io.source import Source

__all__ = ["PageRecords", "PageTaker"]

#: How much is looked at, in bytes: at first, and at most.
_FIRST_LOOK = 1 << 12
_WINDOW = 1 << 20
#: Most that a record without its payload takes: its word and a name.
_HEAD = ram.RAM_RECORD.size + 256
#: So many records of a run are looked at one by one; most runs that are short end there.
_ONE_BY_ONE = 8
#: How much further each look at a long run goes, in records of the last.
_FURTHER = 8

_PAGE, _ZERO = int(RamSaveFlag.PAGE), int(RamSaveFlag.ZERO)
_CONTINUE, _XBZRLE = int(RamSaveFlag.CONTINUE), int(RamSaveFlag.XBZRLE)
_KINDS = frozenset({_PAGE, _ZERO, _XBZRLE})
_WORD = ram.RAM_RECORD.size
_ZERO_SIZE = _WORD + ram.ZERO_PAGE.size


class PageTaker(Protocol):
    """Who gets the pages of one block; numbers are pages, each page arrives in stream order."""

    @property
    def pages(self) -> int:
        """How many pages the block has."""

    def put(self, first: int, count: int, window: bytearray, at: int, stride: int) -> None:
        """Pages whose bytes lie in window, the first at `at`, each next one stride bytes on."""

    def fill(self, first: int, count: int, byte: int) -> None:
        """Pages that are full of one byte, mostly 0."""

    def patch(self, page: int, delta: bytes, offset: int) -> None:
        """A page that changes by an XBZRLE delta, which lies at offset in the file."""


class PageRecords:
    """Reads runs of page records of source and gives them to the takers, by the block's name.

    Names of blocks carry over from one call to the next, as CONTINUE does in the stream.
    """

    def __init__(self, source: Source, page_size: int, takers: Mapping[bytes, PageTaker]) -> None:
        self._source = source
        self._page_size = page_size
        self._takers = takers
        self._taker: PageTaker | None = None
        self._window = bytearray(_WINDOW + _HEAD + page_size)
        self._base = 0
        self._filled = 0
        self._limit = 0
        self._look = _FIRST_LOOK
        self._unpack = struct.Struct(">Q").unpack_from

    def read(self, offset: int) -> int:
        """Deliver every page from offset on; where the first record that carries none begins.

        Raises FormatError for pages outside their block and blocks that are not in the list,
        TruncatedError where the file ends inside a record.
        """
        mask, window, unpack = self._page_size - 1, self._window, self._unpack
        # Many sections hold no page at all: the first look is a short one.
        self._look = _FIRST_LOOK
        at = self._load(offset)
        while True:
            if at > self._limit:
                at = self._load(self._base + at)
                if at > self._limit:
                    return self._base
            word: int = unpack(window, at)[0]
            kind = word & mask & ~_CONTINUE
            if kind not in _KINDS:
                return self._base + at
            body = at + _WORD if word & _CONTINUE else self._name(at)
            if self._taker is None:
                raise self._error("CONTINUE without a block before it", at)
            page = (word & ~mask) // self._page_size
            if page >= self._taker.pages:
                raise self._outside(word, at)
            if kind == _PAGE:
                at = self._page_run(page, body, word, at)
            elif kind == _ZERO:
                at = self._zero_run(page, body, word)
            else:
                at = self._delta(page, body, at)

    # -- the window ---------------------------------------------------------------------------

    def _load(self, offset: int) -> int:
        """Make the window begin at offset; 0, where offset lies in it."""
        left = max(0, self._source.size - offset)
        room = min(self._look, _WINDOW) + _HEAD + self._page_size
        self._look *= _FURTHER
        self._base, self._filled = offset, min(left, room)
        if self._filled:
            self._source.read_into(offset, self._view(self._filled))
        # Up to the limit a whole record is there, but for deltas; at the end of the file a word.
        whole = self._filled == left
        self._limit = self._filled - (_WORD if whole else _HEAD + self._page_size)
        return 0

    def _view(self, length: int) -> memoryview:
        return memoryview(self._window)[:length]

    def _within(self, stop: int, at: int) -> None:
        """TruncatedError unless the record that begins at `at` is there up to stop."""
        if stop > self._filled:
            raise TruncatedError(
                "the file ends inside a page record",
                offset=self._base + at,
                path="ram",
                expected=f"{stop - at} bytes",
                found=f"{self._filled - at} to the end of the file",
            )

    def _error(self, message: str, at: int, expected: str = "", found: str = "") -> FormatError:
        return FormatError(
            message, offset=self._base + at, path="ram", expected=expected, found=found
        )

    def _outside(self, word: int, at: int) -> FormatError:
        page_size = self._page_size
        return self._error(
            "a page outside its block",
            at,
            f"an address below {self._taker.pages * page_size if self._taker else 0:#x}",
            f"{word & ~(page_size - 1):#x}",
        )

    def _name(self, at: int) -> int:
        """Take the name behind the word at `at`; where the payload begins."""
        start = at + _WORD
        self._within(start + 1, at)
        stop = start + 1 + self._window[start]
        self._within(stop, at)
        name = bytes(self._window[start + 1 : stop])
        taker = self._takers.get(name)
        if taker is None:
            raise self._error(
                "a page of a block that is not in the list", at, found=repr(text(name))
            )
        self._taker = taker
        return stop

    # -- runs ---------------------------------------------------------------------------------

    def _page_run(self, page: int, body: int, word: int, at: int) -> int:
        """Deliver a PAGE record and those that count on from it; where the next one begins."""
        size = self._page_size
        self._within(body + size, at)
        assert self._taker is not None
        stride = _WORD + size
        if self._alone(body + size, word):
            self._taker.put(page, 1, self._window, body, stride)
            return body + size
        room = min((self._filled - body - size) // stride, self._taker.pages - page - 1)
        followers = self._followers(body + size, word | _CONTINUE, stride, room)
        self._taker.put(page, followers + 1, self._window, body, stride)
        return body + size + followers * stride

    def _zero_run(self, page: int, body: int, word: int) -> int:
        """The same for ZERO records with the same byte."""
        self._within(body + 1, body - _WORD)
        assert self._taker is not None
        fill = self._window[body]
        if self._alone(body + 1, word):
            self._taker.fill(page, 1, fill)
            return body + 1
        room = min((self._filled - body - 1) // _ZERO_SIZE, self._taker.pages - page - 1)
        followers = self._followers(body + 1, word | _CONTINUE, _ZERO_SIZE, room, fill)
        self._taker.fill(page, followers + 1, fill)
        return body + 1 + followers * _ZERO_SIZE

    def _alone(self, at: int, word: int) -> bool:
        """Whether the record at `at` is not the one that counts on from word."""
        if at > self._filled - _WORD:
            return True
        return bool(self._unpack(self._window, at)[0] != (word | _CONTINUE) + self._page_size)

    def _followers(self, at: int, word: int, stride: int, room: int, fill: int = -1) -> int:
        """How many of room records from `at` on have the words that follow word, page by page."""
        window, unpack, size = self._window, self._unpack, self._page_size
        count = 0
        for count in range(min(room, _ONE_BY_ONE)):
            word += size
            if unpack(window, at)[0] != word or (fill >= 0 and window[at + _WORD] != fill):
                return count
            at += stride
        if room <= _ONE_BY_ONE:
            return max(room, 0)
        return _ONE_BY_ONE + self._many(at, word, stride, room - _ONE_BY_ONE, fill)

    def _many(self, at: int, word: int, stride: int, room: int, fill: int) -> int:
        import numpy as np

        if word >= ADDRESS_CEILING:
            return 0
        count, look = 0, _ONE_BY_ONE
        while count < room:
            look = min(look * _FURTHER, room - count)
            here = at + count * stride
            words = np.ndarray((look,), ">u8", self._window, here, (stride,))
            expected = np.arange(count + 1, count + look + 1, dtype=np.uint64)
            same = words == expected * np.uint64(self._page_size) + np.uint64(word)
            if fill >= 0:
                same &= np.ndarray((look,), np.uint8, self._window, here + _WORD, (stride,)) == fill
            if not same.all():
                return count + int(same.argmin())
            count += look
        return count

    def _delta(self, page: int, body: int, at: int) -> int:
        self._within(body + ram.XBZRLE_PAGE.size, at)
        header, length = ram.XBZRLE_PAGE.parse(self._view(self._filled)[body:], path="ram")
        start = body + length
        stop = start + header.length
        if header.encoding != ram.ENCODING_FLAG_XBZRLE:
            raise self._error(
                "unknown encoding of an XBZRLE page",
                at,
                str(ram.ENCODING_FLAG_XBZRLE),
                str(header.encoding),
            )
        if stop > self._filled and self._base + self._filled < self._source.size:
            # Longer than what is left of the window: seen again at the start of a whole one.
            self._look = _WINDOW
            return self._load(self._base + at)
        self._within(stop, at)
        assert self._taker is not None
        self._taker.patch(page, bytes(self._window[start:stop]), self._base + start)
        return stop
