"""An ordinary stream as the elements of a mapped-ram image, in one walk over it.

The list of blocks gets its headers, page records go to received.py, everything else comes as it
is.  Upstream for what a mapped-ram image holds instead: QEMU migration/ram.c
ram_save_setup(), mapped_ram_setup_ramblock(), ram_save_complete().
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from fixedram_fmt.conversion.capabilities import adapted
from fixedram_fmt.conversion.received import Received, ReceivedBitmap, ReceivedPages
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.schema import ram
from fixedram_fmt.stream.pagebatch import SentPages
from fixedram_fmt.stream.ramstate import DEFAULT_PAGE_SIZE
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, SECTION_HEADERS, Kind, Record
from fixedram_fmt.stream.walker import StreamWalker
from fixedram_fmt.write.elements import Copied, FixedBlock, Hole, Raw, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.write.elements import Element

__all__ = ["OrdinaryStream", "element_of"]

_REFUSED = {
    Kind.HOOK: "pages that were sent by RDMA (HOOK) are not in the stream",
    Kind.FULL: "this is a stream of a QEMU before 0.11 (FULL)",
    Kind.PACKAGED: "this is a postcopy stream: a part of its pages came later",
}


def element_of(source: Source, record: Record[Any]) -> Element:
    """A record of a stream as an element: by its schema, or copied where it has none."""
    if record.kind in SCHEMA_OF_KIND:
        return Structure(record.kind, record.path, record.value)
    return Raw(record.kind, record.path, Copied(source, record.offset, record.length))


class OrdinaryStream(Closing):
    """One walk over the ordinary stream at offset start of source; close it when it is done.

    ignored has the names of blocks that get offsets of zero, neither bitmap nor pages.  notes says
    what a person should know, once the walk is over.
    """

    def __init__(
        self, source: Source, start: int, host_long: HostLong, ignored: frozenset[bytes]
    ) -> None:
        self.source = source
        self.notes: list[str] = []
        self._host_long = host_long
        self._ignored = ignored
        self._walker = StreamWalker(source, start, batched=True)
        self._received: Received | None = None

    def close(self) -> None:
        """Give back what was kept about the pages."""
        if self._received is not None:
            self._received.close()

    def elements(self) -> Iterator[Element]:
        """The elements of the image in order; pages are written while the stream is walked."""
        listed: list[Record[Any]] = []
        for item in adapted(self._walker.records(), self.source, b"mapped-ram"):
            if isinstance(item, Record) and item.block is not None:
                listed.append(item)
                continue
            # Before the next record is read, which may be a page: its place must be known.
            yield from self._block_list(listed)
            listed = []
            if isinstance(item, Record):
                yield from self._element(item)
            else:
                yield item

    def _element(self, record: Record[Any]) -> Iterator[Element]:
        """What becomes of a record outside the list of blocks."""
        self._require_known(record)
        if isinstance(record.value, SentPages):
            if self._received is None:
                raise UnsupportedError(
                    "pages before the list of blocks", offset=record.offset, path=record.path
                )
            self._received.take(record.value)
        elif record.kind is not Kind.MULTIFD_FLUSH:
            yield element_of(self.source, record)
        elif not self.notes:
            self.notes.append(
                "the stream was sent with multifd (MULTIFD_FLUSH):"
                " pages sent on other connections are not in this file"
            )

    def _require_known(self, record: Record[Any]) -> None:
        """UnsupportedError for what a mapped-ram image cannot hold."""
        why = _REFUSED.get(record.kind)
        if record.kind in SECTION_HEADERS and record.section == ram.RAM_IDSTR:
            if self._walker.header.machine is None:
                why = "the stream has no configuration section, which mapped-ram needs"
        elif record.kind is Kind.MEM_SIZE:
            if self._received is not None:
                why = "a second list of blocks"
            elif self._walker.ram.target_page_size is None:
                self._walker.ram.target_page_size = _page_size(self.source, self._walker.start)
        if why:
            raise UnsupportedError(why, offset=record.offset, path=record.path)

    def _block_list(self, records: list[Record[Any]]) -> Iterator[Element]:
        """The records of the list, a header after those of each block."""
        if not records:
            return
        blocks, page_size = self._walker.ram.blocks, self._walker.ram.page_size
        if len({block.idstr for block in blocks}) < len(blocks):
            raise UnsupportedError("two blocks have the same name", path=records[0].path)
        self._received = Received(self.source, blocks, page_size)
        header = ram.MappedRamHeader(ram.MAPPED_RAM_HDR_VERSION, page_size, 0, 0)
        for index, group in groupby(records, lambda record: record.block):
            yield from (element_of(self.source, record) for record in group)
            block, taker = blocks[index], self._received.blocks[index]
            if block.idstr in self._ignored:
                yield FixedBlock(block.path, header, Hole(0), Hole(0), ignored=True)
            else:
                bitmap = ReceivedBitmap(taker, self._host_long)
                yield FixedBlock(block.path, header, bitmap, ReceivedPages(taker))

    def without_records(self) -> frozenset[bytes]:
        """With x-ignore-shared: the blocks that no page record is about; reads the whole stream.

        A sender sends each page of every other block at least once.
        """
        for _ in self.elements():
            pass
        received = self._received.blocks if self._received else []
        return frozenset(taker.block.idstr for taker in received if not taker.changed)


def _page_size(source: Source, start: int) -> int:
    """Where neither configuration nor description says it: what the first PAGE record shows."""
    walker = StreamWalker(source, start)
    for _ in walker.records():
        if walker.ram.target_page_size is not None:
            return walker.ram.target_page_size
    return DEFAULT_PAGE_SIZE
