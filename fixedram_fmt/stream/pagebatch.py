"""Page records of an ordinary stream as arrays, and the runs that they make.

Upstream: QEMU migration/ram.c save_page_header(), save_zero_page(), save_normal_page().
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.records import Cursor, Kind, PageRun, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

    from fixedram_fmt.io.source import Source

__all__ = [
    "PAGE_KINDS", "WORD", "ZERO_RECORD", "LonePage", "PageBatch", "SentPages", "SentRun",
    "page_runs",
]  # fmt: skip

#: Bytes of the word each record begins with, and of a ZERO record without a name.
WORD = ram.RAM_RECORD.size
ZERO_RECORD = WORD + ram.ZERO_PAGE.size

_CONTINUE = int(RamSaveFlag.CONTINUE)
_PAGE, _ZERO = int(RamSaveFlag.PAGE), int(RamSaveFlag.ZERO)
_XBZRLE, _COMPRESS = int(RamSaveFlag.XBZRLE), int(RamSaveFlag.COMPRESS_PAGE)
#: The flags in the lowest byte of a word.
_LOWEST = 0xFF


class SentRun(NamedTuple):
    """Pages that count on, sent by records of one kind: PAGE or ZERO, or a single record.

    address is the first page's in its block, in bytes; its record begins at offset in the file,
    its payload of length bytes at data_offset, and each next one stride bytes on.  fill is the byte
    of ZERO pages, else -1.
    """

    kind: Kind
    address: int
    pages: int
    offset: int
    data_offset: int
    length: int
    fill: int

    @property
    def stride(self) -> int:
        """Bytes from one page's payload to the next one's."""
        return WORD + self.length


#: Runs made into objects at a time.
_RUNS = 1 << 13
#: By the flag, without CONTINUE.
PAGE_KINDS = {
    _PAGE: Kind.PAGE,
    _ZERO: Kind.ZERO,
    _XBZRLE: Kind.XBZRLE,
    _COMPRESS: Kind.COMPRESS_PAGE,
}


@dataclass(frozen=True)
class SentPages(ABC):
    """Page records of one block, one after the other in the file; of each its run.

    path is that of the RAM part of the section, number which of its records the first run is.
    """

    block: bytes
    page_size: int
    path: str
    number: int

    @property
    @abstractmethod
    def start(self) -> int:
        """Where in the file the first record begins."""

    @property
    @abstractmethod
    def stop(self) -> int:
        """Where in the file the last record ends."""

    @property
    @abstractmethod
    def next_number(self) -> int:
        """Which record of the section would come next, if it began a run."""

    @abstractmethod
    def path_of(self, index: int) -> str:
        """The path of the run that the record at index is in."""

    @abstractmethod
    def runs(self) -> Iterator[SentRun]:
        """The runs in order; one that goes on from the batch before is a run of its own."""

    @abstractmethod
    def bytes_at(self, offset: int, length: int) -> tuple[bytearray, int]:
        """A buffer that holds the bytes at an offset in the file, and where in it they are."""

    def record(self, cursor: Cursor) -> Record[SentPages]:
        """All of them as a record of the stream; its path is that of the first run."""
        return cursor.record(Kind.PAGE, self.path_of(0), self.start, self.stop - self.start, self)


@dataclass(frozen=True)
class LonePage(SentPages):
    """A record after which none CONTINUEs: no array is worth its while."""

    run: SentRun
    source: Source

    @property
    def start(self) -> int:
        """Where in the file the record begins."""
        return self.run.offset

    @property
    def stop(self) -> int:
        """Where in the file it ends."""
        return self.run.data_offset + self.run.length

    @property
    def next_number(self) -> int:
        """Which record of the section comes next."""
        return self.number + 1

    def path_of(self, index: int) -> str:
        """Its path."""
        return f"{self.path}/record[{self.number + index}]"

    def runs(self) -> Iterator[SentRun]:
        """It alone."""
        return iter((self.run,))

    def bytes_at(self, offset: int, length: int) -> tuple[bytearray, int]:
        """Its payload, read now."""
        return bytearray(self.source.read_exact(offset, length, self.path_of(0))), 0


@dataclass(frozen=True)
class PageBatch(SentPages):
    """Records as arrays.

    window holds the file from offset base on: the records whole, but for what follows the header of
    an XBZRLE or COMPRESS_PAGE.  offsets has where in window each record begins, and where the last
    ends; name_length is what the first one's name takes.  before has the word and the fill of the
    record before, where that was of the same stretch: the first run that begins here has number.
    """

    window: bytearray
    base: int
    offsets: npt.NDArray[np.int64]
    name_length: int
    before: tuple[int, int] | None

    def known(self) -> PageBatch:
        """The batch up to the first record that has flags beside those of its lowest byte."""
        strange = (self._flags > _LOWEST) & (self._flags != _COMPRESS)
        if not strange.any():
            return self
        return replace(self, offsets=self.offsets[: int(strange.argmax()) + 1])

    @property
    def start(self) -> int:
        """Where in the file the first record begins."""
        return self.base + int(self.offsets[0])

    @property
    def stop(self) -> int:
        """Where in the file the last record ends."""
        return self.base + int(self.offsets[-1])

    def bytes_at(self, offset: int, length: int) -> tuple[bytearray, int]:
        """The window, which holds them."""
        return self.window, offset - self.base

    @cached_property
    def words(self) -> npt.NDArray[np.uint64]:
        """What each record begins with: the page's address, flags in its low bits."""
        import numpy as np

        every = np.ndarray((len(self.window) - WORD + 1,), ">u8", self.window, 0, (1,))
        return every[self.offsets[:-1]].astype(np.uint64)

    @cached_property
    def pages(self) -> npt.NDArray[np.uint64]:
        """The number of each record's page in the block."""
        import numpy as np

        return self.words // np.uint64(self.page_size)

    @cached_property
    def _flags(self) -> npt.NDArray[np.uint64]:
        """The RamSaveFlag of each, without CONTINUE."""
        import numpy as np

        return self.words & np.uint64(self.page_size - 1 & ~_CONTINUE)

    @cached_property
    def _payloads(self) -> npt.NDArray[np.int64]:
        """Where in window each payload, or its header, begins."""
        payloads = self.offsets[:-1] + WORD
        payloads[0] += self.name_length
        return payloads

    @cached_property
    def fills(self) -> npt.NDArray[np.int16]:
        """The byte that fills the page of each ZERO record; -1 for the others."""
        import numpy as np

        zero = self._flags == _ZERO
        fills = np.full(zero.size, -1, np.int16)
        fills[zero] = np.frombuffer(self.window, np.uint8)[self._payloads[zero]]
        return fills

    @cached_property
    def begins(self) -> npt.NDArray[np.bool_]:
        """Whether each record begins a run."""
        import numpy as np

        words, fills, size = self.words, self.fills, np.uint64(self.page_size)
        begins = np.ones(words.size, np.bool_)
        begins[1:] = words[1:] != (words[:-1] | np.uint64(_CONTINUE)) + size
        begins[1:] |= (words[1:] < size) | (fills[1:] != fills[:-1]) | (self._flags[1:] > _PAGE)
        if self.before is not None:
            word, fill = self.before
            follows = (word | _CONTINUE) + self.page_size == int(words[0])
            begins[0] = not (follows and fill == fills[0] and self._flags[0] <= _PAGE)
        return begins

    @property
    def last(self) -> tuple[int, int]:
        """Word and fill of the last record."""
        return int(self.words[-1]), int(self.fills[-1])

    @property
    def next_number(self) -> int:
        """Which record of the section would come next, if it began a run."""
        import numpy as np

        return self.number + int(np.count_nonzero(self.begins))

    def path_of(self, index: int) -> str:
        """The path of the run that the record at index is in."""
        runs = int(self.begins[: index + 1].sum())
        return f"{self.path}/record[{self.number + runs - 1}]"

    def runs(self) -> Iterator[SentRun]:
        """The runs in order; one that goes on from the batch before is a run of its own."""
        import numpy as np

        begins = self.begins.copy()
        begins[0] = True
        starts = np.flatnonzero(begins)
        pages = np.diff(starts, append=begins.size)
        for low in range(0, starts.size, _RUNS):
            yield from self._runs(starts[low : low + _RUNS], pages[low : low + _RUNS])

    def _runs(
        self, starts: npt.NDArray[np.int64], pages: npt.NDArray[np.int64]
    ) -> Iterator[SentRun]:
        import numpy as np

        flags, payloads = self._flags[starts], self._payloads[starts]
        payloads += np.where(flags == _XBZRLE, ram.XBZRLE_PAGE.size, 0)
        payloads += np.where(flags == _COMPRESS, ram.COMPRESS_PAGE.size, 0)
        columns = (
            self.words[starts] & ~np.uint64(self.page_size - 1),
            pages,
            self.offsets[starts] + self.base,
            payloads + self.base,
            self.offsets[starts + 1] - payloads,
            self.fills[starts],
        )
        kinds = [PAGE_KINDS[flag] for flag in flags.tolist()]
        return map(SentRun._make, zip(kinds, *(column.tolist() for column in columns), strict=True))


def page_runs(batches: Iterable[SentPages], cursor: Cursor) -> Iterator[Record[PageRun]]:
    """The batches of one stretch as a record for each run, over however many batches it reaches."""
    run: SentRun | None = None
    for batch in batches:
        runs = batch.runs()
        number = batch.number
        if run is not None:
            number -= 1
            if isinstance(batch, PageBatch) and not batch.begins[0]:
                run = run._replace(pages=run.pages + next(runs).pages)
        for following in runs:
            if run is not None:
                yield _record(run, batch, number, cursor)
                number += 1
            run = following
    if run is not None:
        yield _record(run, batch, batch.next_number - 1, cursor)


def _record(run: SentRun, batch: SentPages, number: int, cursor: Cursor) -> Record[PageRun]:
    stop = run.data_offset + (run.pages - 1) * run.stride + run.length
    delta = run.kind not in (Kind.PAGE, Kind.ZERO)
    value = PageRun(
        batch.block,
        run.address,
        run.pages,
        run.data_offset,
        run.length if delta else run.stride,
        run.fill if run.kind is Kind.ZERO else None,
    )
    path = f"{batch.path}/record[{number}]"
    return cursor.record(run.kind, path, run.offset, stop - run.offset, value)
