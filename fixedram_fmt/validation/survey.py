"""One walk over an image, and what rules want to know of it: kept small, whatever the file says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.memory.lost import Loss, losses
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.scan import PageScan, scan_pages
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.ram import BLOCK_ENTRY, MAPPED_RAM_HEADER, RAM_IDSTR
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.stream.blocklist import looks_like_header
from fixedram_fmt.stream.records import SECTION_HEADERS, SECTION_STARTS, Cursor, Kind, Record
from fixedram_fmt.validation.conversation import Conversation, wrapped_stream
from fixedram_fmt.validation.ownership import Region, Regions
from fixedram_fmt.validation.receiving import Receiving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver

__all__ = ["Flush", "Survey"]

_KEPT = 1000
#: More sections than a save of minutes has, empty ones of `ram` with them.
_HEADERS_KEPT = 8192
#: Bytes that are read although another block has the same: more than any damage leads to.
_READ_AGAIN = 1 << 28
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Flush:
    """A MULTIFD_FLUSH: its record and the header of the section it is in."""

    record: Record[Any]
    section: Record[Any]
    order: int


class Survey(Receiving):
    """What has been seen of an image so far; rules read it, only records() writes it.

    destination is what the receiving VM has, if that is known; deep: pages are read too; own_xml:
    the XML of a libvirt save counts where nothing else is known.
    """

    def __init__(
        self,
        image: Image,
        destination: Receiver | None = None,
        *,
        deep: bool = False,
        own_xml: bool = True,
    ) -> None:
        super().__init__(image, destination, own_xml=own_xml)
        self.deep = deep
        self.order = 0
        self.previous: Record[Any] | None = None
        #: Header of the section the walk is in; that of the last one whose footer has not come.
        self.section: Record[Any] | None = None
        self.unfooted: Record[Any] | None = None
        #: Headers of STARTs and FULLs by section_id, and the ids of those whose END has come.
        self.started: dict[int, Record[Any]] = {}
        self.ended: set[int] = set()
        self.names: set[tuple[bytes, int]] = set()
        self.subsections: set[bytes] = set()
        self.configuration: Record[Any] | None = None
        #: When the last record of the configuration was met.
        self._configuration_order = 1
        #: How many capabilities are announced, and when.
        self.capability_count: tuple[int, int] | None = None
        self.capabilities: list[bytes] = []
        self.kinds: set[Kind] = set()
        self.mem_sizes: list[Record[Any]] = []
        #: When each block, and each section (by its id), was met.
        self.block_order: list[int] = []
        self.section_orders: dict[int, int] = {}
        #: Headers of sections by their paths, of the first ones.
        self.headers: dict[str, Record[Any]] = {}
        self.flushes: list[Flush] = []
        self.conversation = Conversation()
        self.last_eos: tuple[Record[Any], int] | None = None
        self.ram_parts = 0
        self.switches_over = False
        self.stream_regions: list[Region] = []
        self._other_bits: dict[int, bool] = {}

    # -- the walk -----------------------------------------------------------------------------

    def records(self) -> Iterator[Record[Any]]:
        """The records of the stream; raises the FormatError that ends the walk, if one does.

        While a record is given out, everything here tells of the ones before it (section: also
        of its own).
        """
        for record in self.image.records():
            if record.kind in SECTION_HEADERS:
                self.section = record
            yield record
            self._remember(record)
            self.order += 1
            self.previous = record

    def _remember(self, record: Record[Any]) -> None:
        self.kinds.add(record.kind)
        if record.path.startswith("configuration"):
            self._configuration_order = self.order
        note = _NOTES.get(record.kind)
        if note:
            note(self, record)
        if record.kind is Kind.TRAILING:
            return
        last = self.stream_regions[-1] if self.stream_regions else None
        if last and last.stop == record.offset:
            self.stream_regions[-1] = Region(last.start, record.stop, last.what)
        else:
            self.stream_regions.append(Region(record.offset, record.stop, "the stream"))

    def _section(self, record: Record[Any]) -> None:
        self.unfooted = record
        value = record.value
        if len(self.headers) < _HEADERS_KEPT:
            self.headers[record.path.split("/")[0]] = record
        if record.kind in SECTION_STARTS:
            self.started.setdefault(value.section_id, record)
            self.section_orders.setdefault(value.section_id, self.order)
            self.names.add((c_string(value.idstr), value.instance_id))
        else:
            if record.kind is Kind.SECTION_END:
                self.ended.add(value.section_id)
            self.ram_parts += self.in_ram

    def _footer(self, _record: Record[Any]) -> None:
        self.unfooted = None

    def _mem_size(self, record: Record[Any]) -> None:
        self.mem_sizes = [*self.mem_sizes[:_KEPT], record]

    def _block(self, _record: Record[Any]) -> None:
        self.block_order.append(self.order)

    def _flush(self, record: Record[Any]) -> None:
        if self.section is not None and len(self.flushes) < _KEPT:
            self.flushes.append(Flush(record, self.section, self.order))

    def _command(self, record: Record[Any]) -> None:
        self.switches_over |= record.value.command == MigCmd.SWITCHOVER_START
        self.conversation = self.conversation.after(record.value)

    def _packaged(self, record: Record[Any]) -> None:
        for command in wrapped_stream(self.image.source, record).commands:
            self.conversation = self.conversation.after(command)

    def _eos(self, record: Record[Any]) -> None:
        self.last_eos = (record, self.order)

    def _configuration(self, record: Record[Any]) -> None:
        self.configuration = record

    def _subsection(self, record: Record[Any]) -> None:
        self.subsections.add(c_string(record.value.idstr))

    def _capabilities(self, record: Record[Any]) -> None:
        # Of several lists the last one counts.
        self.capability_count = (record.value.caps_count, self.order)
        self.capabilities = []

    def _capability(self, record: Record[Any]) -> None:
        self.capabilities.append(c_string(record.value.capability))

    # -- what rules ask -----------------------------------------------------------------------

    @property
    def in_ram(self) -> bool:
        """Whether the walk is in a section of the guest's memory."""
        return self.section is not None and self.section.section == RAM_IDSTR

    def header_of(self, path: str) -> Record[Any] | None:
        """The header of the section in which path lies; the one just read counts."""
        name = path.split("/", maxsplit=1)[0]
        if self.section is not None and self.section.path.split("/")[0] == name:
            return self.section
        return self.headers.get(name)

    @property
    def configured(self) -> int:
        """When QEMU compares the configuration: once it has read it, and not before its end.

        Upstream: migration/vmstate.c vmstate_load_state(), which calls post_load last.
        """
        stopped = self.stopped
        ends_in_it = stopped is not None and stopped.path.startswith("configuration")
        return self.order + 1 if ends_in_it else self._configuration_order

    @property
    def mapped(self) -> bool:
        """Whether the capabilities announce a fixed layout."""
        return self.image.dialect != "ordinary"

    @property
    def stopped(self) -> FormatError | None:
        """Why the walk could not go on, if it could not."""
        return self.image.stopped

    @property
    def whole(self) -> bool:
        """Whether the walk came to the stream's EOF byte."""
        return Kind.EOF in self.kinds

    @property
    def target_page_size(self) -> int:
        """The target's page size in bytes: the destination's, if it is known."""
        told = self.destination.target_page_size if self.destination else None
        return told or self.image.target_page_size

    @cached_property
    def hidden_layout(self) -> RamBlock | None:
        """The first block, if a MappedRamHeader follows it although no capability says so."""
        blocks = self.image.blocks
        if self.mapped or not blocks:
            return None
        cursor = Cursor(self.image.source, blocks[0].entry_offset)
        entry = cursor.look(BLOCK_ENTRY, Kind.BLOCK, "")
        return blocks[0] if looks_like_header(cursor, entry.length) else None

    @cached_property
    def blocks(self) -> list[RamBlock]:
        """Blocks that have a bitmap and pages in the file."""
        return [block for block in self.image.blocks if block.has_pages]

    @cached_property
    def blocks_by_path(self) -> dict[str, RamBlock]:
        """The same by their paths."""
        return {block.path: block for block in self.blocks}

    @cached_property
    def listed_by_path(self) -> dict[str, RamBlock]:
        """Every block of the list by its path."""
        return {block.path: block for block in self.image.blocks}

    @cached_property
    def lengths(self) -> dict[bytes, int]:
        """Length in bytes of each block by its name; the last one counts."""
        return {block.idstr: block.used_length for block in self.image.blocks}

    @cached_property
    def bitmaps(self) -> dict[int, PageBitmap | None]:
        """Bitmap of each block by its index, None where it is not in the file.

        Of blocks beyond number that share their bits, as a hostile file has them, the rest is None.
        """
        known = {block.index: self.image.readable_bitmap(block) for block in self.blocks}
        read = _not_read_again(
            (bitmap.offset, bitmap.offset + bitmap.length, index)
            for index, bitmap in known.items()
            if bitmap is not None
        )
        return {index: bitmap if index in read else None for index, bitmap in known.items()}

    @cached_property
    def present(self) -> dict[int, int]:
        """How many pages of each block are present, as far as the bitmap can be read."""
        known = {index: bitmap for index, bitmap in self.bitmaps.items() if bitmap is not None}
        return {index: bitmap.count() for index, bitmap in known.items()}

    def unreadable(self, block: RamBlock) -> int:
        """How many present pages of a block a loader cannot read; its offsets wrap at 2^64."""
        size, bitmap = self.image.source.size, self.bitmaps[block.index]
        if bitmap is None or block.pages_stop <= size:
            return 0
        wraps = -(-((1 << 64) - block.pages_offset) // block.page_size)
        readable = max(0, (size - block.pages_offset) // block.page_size)
        count = bitmap.count(readable, min(wraps, block.pages_total))
        return count + bitmap.count(wraps + size // block.page_size)

    def usual_bitmap(self, block: RamBlock) -> int:
        """Where every QEMU puts a block's bitmap: right after its header."""
        return (block.header_offset or 0) + MAPPED_RAM_HEADER.size

    def has_other_bits(self, block: RamBlock) -> bool:
        """Whether a block's bitmap was moved, and its usual place says something else."""
        known = self._other_bits.get(block.index)
        if known is None:
            known = self._other_bits[block.index] = self._differs_from_usual(block)
        return known

    def _differs_from_usual(self, block: RamBlock) -> bool:
        usual, bitmap = self.usual_bitmap(block), self.bitmaps[block.index]
        if bitmap is None or block.bitmap_offset == usual:
            return False
        try:
            other = replace(block, bitmap_offset=usual)
            there = PageBitmap.of_block(self.image.source, other, bitmap.host_long)
        except FormatError:
            return True
        return not _same_pages(bitmap, there)

    @cached_property
    def page_scans(self) -> dict[int, PageScan]:
        """What reading the pages of each block told, by its index (--deep)."""
        read = _not_read_again(
            (max(0, block.pages_offset), min(block.pages_stop, self.image.source.size), block.index)
            for block in self.blocks
        )
        return {
            block.index: scan_pages(self.image.source, block, bitmap)
            for block in self.blocks
            if (bitmap := self.bitmaps[block.index]) is not None and block.index in read
        }

    @cached_property
    def losses(self) -> list[Loss]:
        """Blocks whose memory is there and whose bits are not; none whose pages are another's too.

        Within a budget of bytes, unless pages are read anyway (--deep).
        """
        shared = {region.block for pair in self.regions.overlaps for region in pair}
        known = {
            index: bitmap
            for index, bitmap in self.bitmaps.items()
            if bitmap is not None and index not in shared
        }
        return list(losses(self.image, known, limited=not self.deep))

    @cached_property
    def regions(self) -> Regions:
        """Bitmaps and pages of all blocks and the ranges of the stream."""
        regions = list(self.stream_regions)
        for block in self.blocks:
            bitmap = block.bitmap_offset
            length = self.image.bitmap_length(block)
            regions.append(Region(bitmap, bitmap + length, "bitmap", block.index))
            regions.append(Region(block.pages_offset, block.pages_stop, "pages", block.index))
        return Regions(regions)


def _same_pages(one: PageBitmap, other: PageBitmap) -> bool:
    """Whether two bitmaps of one file and length call the same pages present."""
    last = max(0, one.length - one.host_long.size)
    for here, there in ((one, other), (other, one)):
        # Where neither has data both are zero.
        for extent in here.source.extents(here.offset, here.offset + last):
            steps = range(extent.start, extent.stop, _STEP) if extent.data else ()
            for start in steps:
                length = min(_STEP, extent.stop - start)
                data = there.source.read_exact(start - here.offset + there.offset, length)
                if here.source.read_exact(start, length) != data:
                    return False
    # In the last long there may be bits past the last page.
    return bool((one.flags(last * 8, one.pages) == other.flags(last * 8, one.pages)).all())


def _not_read_again(ranges: Iterable[tuple[int, int, int]]) -> set[int]:
    """Of ranges (start, stop, index), the indices of those that are to be read.

    In sound files none shares bytes with another; in hostile ones all may.
    """
    chosen = set()
    again = furthest = 0
    for start, stop, index in sorted(ranges):
        again += max(0, min(stop, furthest) - start)
        if again <= _READ_AGAIN:
            chosen.add(index)
        furthest = max(furthest, stop)
    return chosen


_NOTES = {
    Kind.CONFIGURATION: Survey._configuration,
    **dict.fromkeys(SECTION_HEADERS, Survey._section),
    Kind.SECTION_FOOTER: Survey._footer,
    Kind.MEM_SIZE: Survey._mem_size,
    Kind.BLOCK: Survey._block,
    Kind.MULTIFD_FLUSH: Survey._flush,
    Kind.COMMAND: Survey._command,
    Kind.PACKAGED: Survey._packaged,
    Kind.EOS: Survey._eos,
    Kind.SUBSECTION: Survey._subsection,
    Kind.CAPABILITIES: Survey._capabilities,
    Kind.CAPABILITY: Survey._capability,
}
