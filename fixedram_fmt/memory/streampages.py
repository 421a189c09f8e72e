"""Pages of an ordinary stream: where the last record of each one lies, and reading them.

Upstream: QEMU migration/ram.c ram_load_precopy().
"""

from __future__ import annotations

import zlib
from array import array
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.memory.run import Run
from fixedram_fmt.stream.pagebatch import SentPages
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.stream.xbzrle import apply_delta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.stream.pagebatch import SentRun

__all__ = ["StreamPages"]

#: Pages of one chunk of the index: 8 bytes each, made when one of them is sent.
_CHUNK = 512
_EMPTY = bytes(8 * _CHUNK)
#: 64 MiB of index: 32 GiB of 4 KiB pages that were sent.
_CHUNK_CEILING = (64 << 20) // (8 * _CHUNK)
#: Records that are no plain page: 24 bytes each.
_EXTRA_CEILING = 1 << 20

_ABSENT = 0
_FILL, _DELTA, _ZLIB = 1, 2, 3


class StreamPages:
    """An index of blocks' pages, made by one walk over the stream.

    An entry is 0 (absent: zero), the file offset of a whole page, or -1 - n for the n-th record
    that is no whole page: a delta and what it is against, a fill byte, a compressed page.
    """

    def __init__(self, image: ImageFacts, blocks: Iterable[RamBlock]) -> None:
        self._image = image
        self.page_size = image.announced_page_size or image.target_page_size
        self._chunks: dict[bytes, dict[int, array[int]]] = {}
        self._pages: dict[bytes, int] = {}
        for block in blocks:
            self._chunks.setdefault(block.idstr, {})
            self._pages.setdefault(block.idstr, block.used_length // self.page_size)
        self._chunks_left = _CHUNK_CEILING
        # kind, what was there before, where, how long
        self._extra = (array("b"), array("q"), array("q"), array("q"))
        self._cached: tuple[int, bytes] = (0, b"")
        for record in image.known_records(batched=True):
            if isinstance(record.value, SentPages):
                self._take(record.value)

    # -- the index ----------------------------------------------------------------------------

    def _take(self, batch: SentPages) -> None:
        chunks = self._chunks.get(batch.block)
        if chunks is not None:
            pages = self._pages[batch.block]
            for run in batch.runs():
                first = run.address // self.page_size
                self._enter(chunks, first, min(run.pages, pages - first), run)

    def _enter(self, chunks: dict[int, array[int]], first: int, pages: int, run: SentRun) -> None:
        """The pages of run, from first on, that the block has."""
        if pages <= 0:
            return
        if run.kind is Kind.PAGE:
            if run.length != self.page_size:
                raise FormatError(
                    "pages of another size than the target's",
                    offset=run.offset,
                    path="ram",
                    expected=str(self.page_size),
                    found=str(run.length),
                )
            self._set_range(chunks, first, pages, run.data_offset, run.stride)
        elif run.kind is Kind.ZERO:
            entry = self._extra_entry(_FILL, 0, run.fill, 0) if run.fill else _ABSENT
            self._set_range(chunks, first, pages, entry, 0)
        else:
            kind = _DELTA if run.kind is Kind.XBZRLE else _ZLIB
            before = self._entry(chunks, first) if kind == _DELTA else _ABSENT
            entry = self._extra_entry(kind, before, run.data_offset, run.length)
            self._set_range(chunks, first, 1, entry, 0)

    def _extra_entry(self, kind: int, before: int, where: int, length: int) -> int:
        if len(self._extra[0]) >= _EXTRA_CEILING:
            raise UnsupportedError(
                f"more than {_EXTRA_CEILING} deltas and filled pages are not kept",
                hint="save with mapped-ram on",
            )
        for column, value in zip(self._extra, (kind, before, where, length), strict=True):
            column.append(value)
        return -len(self._extra[0])

    def _set_range(
        self, chunks: dict[int, array[int]], first: int, pages: int, entry: int, stride: int
    ) -> None:
        """Entries of pages in a row, the next one's stride bytes on in the file."""
        done = 0
        while done < pages:
            number, start = divmod(first + done, _CHUNK)
            count = min(pages - done, _CHUNK - start)
            chunk = chunks.get(number)
            if chunk is None and entry != _ABSENT:
                chunk = chunks[number] = self._new_chunk()
            if chunk is not None:
                here = entry + done * stride
                values = range(here, here + count * stride, stride) if stride else [entry] * count
                chunk[start : start + count] = array("q", values)
            done += count

    def _new_chunk(self) -> array[int]:
        self._chunks_left -= 1
        if self._chunks_left < 0:
            raise UnsupportedError(
                "this ordinary stream has more pages than an index of 64 MiB can hold",
                hint="save with mapped-ram on",
            )
        return array("q", _EMPTY)

    @staticmethod
    def _entry(chunks: dict[int, array[int]], page: int) -> int:
        chunk = chunks.get(page // _CHUNK)
        return chunk[page % _CHUNK] if chunk is not None else _ABSENT

    # -- reading ------------------------------------------------------------------------------

    def runs(self, block: RamBlock, start: int, stop: int) -> Iterator[Run]:
        """The present parts of [start, stop) of a block, a page each at most."""
        chunks, size = self._chunks[block.idstr], self.page_size
        first, last = start // size, -(-stop // size)
        # Sorted: few chunks of a large block are there.
        for number in sorted(n for n in chunks if first // _CHUNK <= n <= last // _CHUNK):
            for index, entry in enumerate(chunks[number]):
                page = number * _CHUNK + index
                if entry == _ABSENT or not first <= page < last:
                    continue
                low, high = max(page * size, start), min((page + 1) * size, stop)
                offset = entry + low - page * size if entry > 0 else None
                yield Run(low, high - low, offset)

    def readinto(self, block: RamBlock, address: int, view: memoryview) -> None:
        """A part of one page that is no whole page in the file."""
        page, start = divmod(address, self.page_size)
        entry = self._entry(self._chunks[block.idstr], page)
        view[:] = self._content(entry)[start : start + view.nbytes]

    def _content(self, entry: int) -> bytes:
        """The page that an entry leads to: its base, with the deltas since applied in order."""
        if entry == self._cached[0] and entry:
            return self._cached[1]
        kinds, before, where, lengths = self._extra
        deltas = []
        at = entry
        while at < 0 and kinds[-1 - at] == _DELTA:
            deltas.append(-1 - at)
            at = before[-1 - at]
        page = bytearray(self._base(at))
        for number in reversed(deltas):
            data = self._image.source.read_exact(where[number], lengths[number])
            apply_delta(page, data, where[number])
        self._cached = (entry, bytes(page))
        return self._cached[1]

    def _base(self, entry: int) -> bytes:
        source, size = self._image.source, self.page_size
        if entry == _ABSENT:
            return bytes(size)
        if entry > 0:
            return source.read_exact(entry, size)
        kinds, _, where, lengths = self._extra
        number = -1 - entry
        if kinds[number] == _FILL:
            return bytes([where[number]]) * size
        packed = source.read_exact(where[number], lengths[number])
        try:
            page = zlib.decompressobj().decompress(packed, size)
        except zlib.error as error:
            raise FormatError(f"a compressed page: {error}", offset=where[number]) from error
        if len(page) != size:
            raise FormatError("a compressed page is too short", offset=where[number])
        return page
