"""The body of a `ram` section, record by record; pages of ordinary streams as runs.

Upstream: QEMU migration/ram.c ram_load_precopy(), ram_block_from_stream().
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.blocklist import block_list, page_size_of_first_header
from fixedram_fmt.stream.ramstate import DEFAULT_PAGE_SIZE, PAGE_FLAGS, RamState, can_follow_list
from fixedram_fmt.stream.records import Cursor, Kind, PageRun, Record
from fixedram_fmt.stream.skim import skim_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ordinary_page_size", "walk_ram"]

#: Sizes tried where nothing tells: the usual one, the larger ones, then the smaller.
_LIKELY_SIZES = (4096, 8192, 16384, 32768, 65536, 2048, 1024, 512, 256)

# Looked up a million times: an attribute of an enum costs more than the sum it goes into.
_PAGE, _ZERO, _CONTINUE = RamSaveFlag.PAGE, RamSaveFlag.ZERO, RamSaveFlag.CONTINUE
_WHOLE = _PAGE | _ZERO
_WORD = ram.RAM_RECORD.size

#: Records that are nothing but their word.
_BARE: dict[int, Kind] = {
    RamSaveFlag.EOS: Kind.EOS,
    RamSaveFlag.MULTIFD_FLUSH: Kind.MULTIFD_FLUSH,
    RamSaveFlag.HOOK: Kind.HOOK,
    RamSaveFlag.FULL: Kind.FULL,
}

#: How far the records of one run are looked for at a time: records at first, bytes at most.
_FIRST_LOOK = 4
_RUN_WINDOW = 1 << 20


def walk_ram(cursor: Cursor, state: RamState, path: str) -> Iterator[Record[Any]]:
    """Every record from here to the EOS that ends this section's RAM part."""
    number = -1
    while True:
        number += 1
        here = f"{path}/record[{number}]"
        head = cursor.look(ram.RAM_RECORD, Kind.EOS, here)
        word = head.value.word
        if state.target_page_size is None and word & RamSaveFlag.MEM_SIZE:
            state.target_page_size = page_size_of_first_header(cursor, state)
        flags = word & (state.page_size - 1)
        kind = flags & ~_CONTINUE
        if kind & PAGE_FLAGS and kind & (kind - 1) == 0:
            yield _page_record(cursor, state, head)
            if state.keeps_presence:
                number += skim_pages(cursor, state)
        elif kind == RamSaveFlag.MEM_SIZE:
            yield from block_list(cursor, state, path, here)
        elif kind in _BARE:
            yield cursor.take(ram.RAM_RECORD, _BARE[kind], here)
            if kind == RamSaveFlag.EOS:
                return
        else:
            raise FormatError(
                "unknown combination of RAM_SAVE_FLAG bits",
                code="flags",
                offset=cursor.offset,
                path=here,
                expected="one of MEM_SIZE, EOS, PAGE, ZERO, ...",
                found=f"{word:#x} (flags {flags:#x})",
            )


# -- pages of an ordinary stream ------------------------------------------------------------------


def _page_record(cursor: Cursor, state: RamState, head: Record[ram.RamRecord]) -> Record[PageRun]:
    """The record that head begins, which carries a page, and the run of like ones behind it."""
    word, path, start = head.value.word, head.path, head.offset
    cursor.offset = head.stop
    flags = word & (state.page_size - 1)
    if not flags & _CONTINUE:
        name = cursor.take(ram.PAGE_IDSTR, Kind.PAGE, f"{path}/idstr").value.idstr
        state.last_idstr = c_string(name)
    block, address = state.last_idstr, word - flags
    if block is None:
        raise FormatError(
            "CONTINUE without a block before it",
            code="continue-first",
            offset=start,
            path=path,
            expected="the name of a block",
            hint="the stream's beginning is missing",
        )
    if flags & _WHOLE:
        kind = Kind.ZERO if flags & _ZERO else Kind.PAGE
        run = _run(cursor, state, kind, path, PageRun(block, address, 1, cursor.offset, 0))
    else:
        kind, length = _delta_length(cursor, flags, path)
        run = PageRun(block, address, 1, cursor.offset, length)
        cursor.skip(length, kind, path, None)
    _account(state, run, path, start)
    return cursor.record(kind, path, start, cursor.offset - start, run)


def _delta_length(cursor: Cursor, flags: int, path: str) -> tuple[Kind, int]:
    """Kind and payload length of an XBZRLE or COMPRESS_PAGE record, its header read."""
    if flags & RamSaveFlag.COMPRESS_PAGE:
        header = cursor.take(ram.COMPRESS_PAGE, Kind.COMPRESS_PAGE, path)
        return Kind.COMPRESS_PAGE, header.value.length
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
    return Kind.XBZRLE, delta.value.length


def _run(cursor: Cursor, state: RamState, kind: Kind, path: str, first: PageRun) -> PageRun:
    """Lengthen a PAGE or ZERO record by the records that only count on from it."""
    fill, tail = None, b""
    if kind is Kind.ZERO:
        fill = cursor.take(ram.ZERO_PAGE, kind, path).value.fill
        payload, tail, flag = ram.ZERO_PAGE.size, _fill_byte(fill), _ZERO
    else:
        payload, flag = ordinary_page_size(cursor, state), _PAGE
        cursor.skip(payload, kind, path, None)
    stride = _WORD + payload
    words = _words(first.address | flag | _CONTINUE, state.page_size, tail)
    followers = _count_followers(cursor, words, stride)
    cursor.offset += followers * stride
    return PageRun(first.block, first.address, 1 + followers, first.data_offset, stride, fill)


@lru_cache(maxsize=256)
def _fill_byte(fill: int) -> bytes:
    """The payload of a ZERO record, as it is in the stream."""
    return ram.ZERO_PAGE.build(ram.ZeroPage(fill))


def _words(word: int, page_size: int, tail: bytes) -> Iterator[bytes]:
    """What records begin with that count on from word, page by page; none behind 64 bits."""
    for following in range(word + page_size, 1 << 64, page_size):
        yield following.to_bytes(_WORD, "big") + tail


def _count_followers(cursor: Cursor, words: Iterator[bytes], stride: int) -> int:
    """How many records from here on, one every stride bytes, begin with words one by one.

    Only the words are looked at (and the fill of ZERO pages), a window of the file at a time.
    """
    # Most records stand alone, and the walk goes on where this looks.
    following = next(words, b"")
    if not following or cursor.peek(len(following)) != following:
        return 0
    words = chain((following,), words)
    found, records = 0, _FIRST_LOOK
    while True:
        # Most runs are short, some are gigabytes: look further each time.
        window = cursor.source.read_upto(cursor.offset + found * stride, records * stride)
        same = 0
        for at, begin in zip(range(0, len(window) - stride + 1, stride), words, strict=False):
            if not window.startswith(begin, at):
                return found + same
            same += 1
        found += same
        if same < records:
            return found
        records = min(records * 4, max(_FIRST_LOOK, _RUN_WINDOW // stride))


def ordinary_page_size(cursor: Cursor, state: RamState) -> int:
    """Bytes of a PAGE payload; where nothing told them, the size that leads to a next record."""
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


def _account(state: RamState, run: PageRun, path: str, offset: int) -> None:
    """Note which pages of a block an ordinary stream has set or cleared so far."""
    if not state.page_sets:
        return
    pages = state.page_sets.get(run.block)
    first = run.address // state.page_size
    if pages is None or not pages.mark(first, first + run.pages, present=run.fill != 0):
        state.note(
            offset,
            path,
            f"page {run.address:#x} lies outside every block called {text(run.block)!r}",
        )
