"""An ordinary stream as the elements of a mapped-ram image, in one walk over it.

The list of blocks gets its headers, page records go to the takers in received.py, everything else
comes as it is.  Upstream for what a mapped-ram image holds instead: QEMU migration/ram.c
ram_save_setup(), mapped_ram_setup_ramblock(), ram_save_complete().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.conversion.capabilities import adapted
from fixedram_fmt.conversion.pagerecords import PageRecords
from fixedram_fmt.conversion.received import Received, ReceivedBitmap, ReceivedPages
from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.blocklist import block_list
from fixedram_fmt.stream.ramstate import DEFAULT_PAGE_SIZE, can_follow_list
from fixedram_fmt.stream.ramstream import ordinary_page_size
from fixedram_fmt.stream.records import (
    SCHEMA_OF_KIND,
    SECTION_HEADERS,
    SECTION_PARTS,
    Cursor,
    Kind,
    Record,
)
from fixedram_fmt.stream.walker import StreamWalker
from fixedram_fmt.write.elements import Copied, FixedBlock, Hole, Raw, Structure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from fixedram_fmt.blocks import RamBlock, Section
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.write.elements import Element

__all__ = ["OrdinaryStream", "element_of"]

_BARE: dict[int, Kind] = {RamSaveFlag.EOS: Kind.EOS, RamSaveFlag.MULTIFD_FLUSH: Kind.MULTIFD_FLUSH}
_REFUSED = {
    RamSaveFlag.HOOK: "pages that were sent by RDMA (HOOK) are not in the stream",
    RamSaveFlag.COMPRESS_PAGE: "compressed pages (COMPRESS_PAGE, before QEMU 9.1) are not undone",
    RamSaveFlag.FULL: "this is a stream of a QEMU before 0.11 (FULL)",
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
        self._walker = _Walker(source, start)

    def close(self) -> None:
        """Give back what was kept about the pages."""
        if self._walker.received is not None:
            self._walker.received.close()

    def elements(self) -> Iterator[Element]:
        """The elements of the image in order; pages are written while the stream is walked."""
        for item in adapted(self._walker.records(), self.source, b"mapped-ram"):
            if not isinstance(item, Record):
                yield item
            elif item.kind is Kind.MAPPED_RAM_HEADER:
                yield self._fixed_block(item.value)
            elif item.kind is not Kind.MULTIFD_FLUSH:
                yield element_of(self.source, item)
            elif not self.notes:
                self.notes.append(
                    "the stream was sent with multifd (MULTIFD_FLUSH):"
                    " pages sent on other connections are not in this file"
                )

    def _fixed_block(self, block: RamBlock) -> FixedBlock:
        received = self._walker.received
        assert received is not None
        header = ram.MappedRamHeader(ram.MAPPED_RAM_HDR_VERSION, self._walker.page_size, 0, 0)
        if block.idstr in self._ignored:
            return FixedBlock(block.path, header, Hole(0), Hole(0), ignored=True)
        taker = received.blocks[block.index]
        bitmap = ReceivedBitmap(taker, self._host_long)
        return FixedBlock(block.path, header, bitmap, ReceivedPages(taker))

    def without_records(self) -> frozenset[bytes]:
        """With x-ignore-shared: the blocks that no page record is about; reads the whole stream.

        A sender sends each page of every other block at least once.
        """
        for _ in self._walker.records():
            pass
        received = self._walker.received
        blocks = received.blocks if received else []
        return frozenset(taker.block.idstr for taker in blocks if not taker.changed)


class _Walker(StreamWalker):
    """The walk, with the pages of a ram section taken out on the way.

    Behind each entry of the list comes a MAPPED_RAM_HEADER record of no length, with the RamBlock:
    where the fixed layout has its header.
    """

    def __init__(self, source: Source, start: int) -> None:
        super().__init__(source, start)
        self.received: Received | None = None
        self._pages: PageRecords | None = None

    @property
    def page_size(self) -> int:
        """The target's, in bytes."""
        return self.ram.page_size

    def _body(self, section: Section, path: str) -> Generator[Record[Any], None, str]:
        if not section.is_ram:
            return (yield from super()._body(section, path))
        if self.header.machine is None:
            raise UnsupportedError(
                "the stream has no configuration section, which mapped-ram needs",
                offset=section.offset,
                path=path,
            )
        if self.ram.target_page_size is None:
            self.ram.target_page_size = _page_size(self.source, self.start)
        yield from self._records_but_pages(f"{path}/ram")
        return "records"

    def _records_but_pages(self, path: str) -> Iterator[Record[Any]]:
        """MEM_SIZE and the list, EOS and FLUSH; pages go to their takers."""
        number = 0
        while True:
            if self._pages is not None:
                self.cursor.offset = self._pages.read(self.cursor.offset)
            here = f"{path}/record[{number}]"
            word = self.cursor.look(ram.RAM_RECORD, Kind.EOS, here).value.word
            kind = word & (self.page_size - 1) & ~RamSaveFlag.CONTINUE
            number += 1
            if kind == RamSaveFlag.MEM_SIZE:
                yield from self._list(path, here)
            elif kind in _BARE:
                yield self.cursor.take(ram.RAM_RECORD, _BARE[kind], here)
                if kind == RamSaveFlag.EOS:
                    return
            else:
                raise self._refusal(kind, here)

    def _refusal(self, kind: int, path: str) -> FormatError | UnsupportedError:
        offset = self.cursor.offset
        for flag, why in _REFUSED.items():
            if kind == flag:
                return UnsupportedError(why, offset=offset, path=path)
        return FormatError(
            "no RAM record that can stand here",
            code="flags",
            offset=offset,
            path=path,
            expected="one of MEM_SIZE, EOS, PAGE, ZERO, XBZRLE, behind the list of blocks",
            found=f"flags {kind:#x}",
        )

    def _list(self, path: str, here: str) -> Iterator[Record[Any]]:
        if self._pages is not None:
            raise UnsupportedError("a second list of blocks", offset=self.cursor.offset, path=here)
        records = list(block_list(self.cursor, self.ram, path, here))
        blocks = self.ram.blocks
        names = {block.idstr for block in blocks}
        if len(names) < len(blocks):
            raise UnsupportedError("two blocks have the same name", path=here)
        self.received = Received(blocks, self.page_size)
        takers = {taker.block.idstr: taker for taker in self.received.blocks}
        self._pages = PageRecords(self.source, self.page_size, takers)
        follow = iter(blocks)
        for number, record in enumerate(records):
            yield record
            last = number + 1 == len(records) or records[number + 1].kind is Kind.BLOCK
            if number and last:
                block = next(follow)
                yield Record(Kind.MAPPED_RAM_HEADER, f"{block.path}/header", record.stop, 0, block)

    def _command(self, path: str) -> Iterator[Record[Any]]:
        for record in super()._command(path):
            if record.kind is Kind.PACKAGED:
                raise UnsupportedError(
                    "this is a postcopy stream: a part of its pages came later",
                    offset=record.offset,
                    path=record.path,
                )
            yield record


def _page_size(source: Source, start: int) -> int:
    """Where neither configuration nor description tells: what the first PAGE record shows.

    The walk stops in front of it, since it would look for the end of its run.
    """
    walker, ram_goes_on = StreamWalker(source, start), False
    for record in walker.records():
        if record.kind in SECTION_HEADERS:
            ram_goes_on = record.section == ram.RAM_IDSTR and record.kind in SECTION_PARTS
        elif record.kind is Kind.SECTION_FOOTER:
            ram_goes_on = False
        elif record.kind in (Kind.BLOCK, Kind.ZERO):
            ram_goes_on = True
        if ram_goes_on and (payload := _first_payload(walker.cursor)):
            return ordinary_page_size(payload, walker.ram)
    return DEFAULT_PAGE_SIZE


def _first_payload(cursor: Cursor) -> Cursor | None:
    """Where the payload of the PAGE record at cursor begins; None where there is no such record."""
    head = cursor.peek(ram.RAM_RECORD.size + 1)
    word = int.from_bytes(head[:-1], "big")
    if len(head) <= ram.RAM_RECORD.size or not can_follow_list(word, ram.TARGET_PAGE_SIZE_MIN):
        return None
    if not word & RamSaveFlag.PAGE:
        return None
    name = 0 if word & RamSaveFlag.CONTINUE else 1 + head[-1]
    return Cursor(cursor.source, cursor.offset + ram.RAM_RECORD.size + name)
