"""What a walk over an image yields: typed records that know where they lie in the file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram, stream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from fixedram_fmt.io.source import Source
    from fixedram_fmt.schema.base import Schema

__all__ = [
    "SCHEMA_OF_KIND",
    "SECTION_HEADERS",
    "SECTION_PARTS",
    "SECTION_STARTS",
    "Cursor",
    "DeviceBody",
    "Kind",
    "PageRun",
    "Record",
    "Region",
]

T = TypeVar("T")
S = TypeVar("S", bound="DataclassInstance")


class Kind(StrEnum):
    """What a range of the file is; every byte of an image belongs to exactly one of these."""

    FILE_HEADER = "file_header"
    CONFIGURATION = "configuration"
    SUBSECTION = "subsection"
    TARGET_PAGE_BITS = "target_page_bits"
    CAPABILITIES = "capabilities"
    CAPABILITY = "capability"
    UUID = "uuid"
    SECTION_START = "section_start"
    SECTION_PART = "section_part"
    SECTION_END = "section_end"
    SECTION_FULL = "section_full"
    SECTION_FOOTER = "section_footer"
    DEVICE = "device"
    COMMAND = "command"
    PACKAGED = "packaged"
    EOF = "eof"
    VMDESCRIPTION = "vmdescription"
    VMDESCRIPTION_JSON = "vmdescription_json"
    # RAM records
    MEM_SIZE = "mem_size"
    BLOCK = "block"
    POSTCOPY_PAGE_SIZE = "postcopy_page_size"
    REGION_ADDRESS = "region_address"
    MAPPED_RAM_HEADER = "mapped_ram_header"
    EOS = "eos"
    MULTIFD_FLUSH = "multifd_flush"
    HOOK = "hook"
    FULL = "full"
    PAGE = "page"
    ZERO = "zero"
    XBZRLE = "xbzrle"
    COMPRESS_PAGE = "compress_page"
    # the fixed layout
    BITMAP = "bitmap"
    PADDING = "padding"
    PAGES = "pages"
    # around the stream
    LIBVIRT_HEADER = "libvirt_header"
    LIBVIRT_XML = "libvirt_xml"
    LIBVIRT_COOKIE = "libvirt_cookie"
    LIBVIRT_PADDING = "libvirt_padding"
    PREFIX = "prefix"
    CONTAINER = "container"
    # bytes with no structure of their own
    UNKNOWN = "unknown"
    GAP = "gap"
    UNPARSED = "unparsed"
    TRAILING = "trailing"
    #: Several of the above under one path, put together on request.
    GROUP = "group"


#: Headers that name a section, headers that go on with one by its id alone, and both.
SECTION_STARTS = (Kind.SECTION_START, Kind.SECTION_FULL)
SECTION_PARTS = (Kind.SECTION_PART, Kind.SECTION_END)
SECTION_HEADERS = (*SECTION_STARTS, *SECTION_PARTS)

#: The layout after a kind, for the kinds that are one structure.
SCHEMA_OF_KIND: dict[Kind, Schema[Any]] = {
    Kind.FILE_HEADER: stream.FILE_HEADER,
    Kind.CONFIGURATION: stream.CONFIGURATION,
    Kind.SUBSECTION: stream.SUBSECTION,
    Kind.TARGET_PAGE_BITS: stream.TARGET_PAGE_BITS,
    Kind.CAPABILITIES: stream.CAPABILITIES,
    Kind.CAPABILITY: stream.CAPABILITY,
    Kind.UUID: stream.UUID,
    Kind.SECTION_START: stream.SECTION,
    Kind.SECTION_FULL: stream.SECTION,
    Kind.SECTION_PART: stream.SECTION_PART,
    Kind.SECTION_END: stream.SECTION_PART,
    Kind.SECTION_FOOTER: stream.SECTION_FOOTER,
    Kind.COMMAND: stream.COMMAND,
    Kind.EOF: stream.EOF,
    Kind.VMDESCRIPTION: stream.VMDESCRIPTION,
    Kind.MEM_SIZE: ram.RAM_RECORD,
    Kind.BLOCK: ram.BLOCK_ENTRY,
    Kind.POSTCOPY_PAGE_SIZE: ram.POSTCOPY_PAGE_SIZE,
    Kind.REGION_ADDRESS: ram.REGION_ADDRESS,
    Kind.MAPPED_RAM_HEADER: ram.MAPPED_RAM_HEADER,
    Kind.EOS: ram.RAM_RECORD,
    Kind.MULTIFD_FLUSH: ram.RAM_RECORD,
    Kind.HOOK: ram.RAM_RECORD,
    Kind.FULL: ram.RAM_RECORD,
}


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """One thing in the file: [offset, offset + length) in bytes, and what it says.

    path names it uniquely (``section[1]/ram/block[0]/header``); no path is the start of another's.
    section is the idstr of the section it lies in, as QEMU compares names (empty: in none, or in a
    part of one that never started); block is the index in Image.blocks of the block whose entry,
    header or fixed layout it belongs to.
    """

    kind: Kind
    path: str
    offset: int
    length: int
    value: T
    section: bytes = b""
    block: int | None = None

    @property
    def stop(self) -> int:
        """The offset right after it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Region:
    """A range of bytes that is not decoded here; note says why, where that needs saying."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class DeviceBody:
    """The state of one device; delimited_by tells how its end was found.

    `vmdesc` and `framing` (the section's own) are exact; `footer` is a search that was verified by
    what follows.
    """

    idstr: bytes
    instance_id: int
    delimited_by: str


@dataclass(frozen=True, slots=True)
class PageRun:
    """Consecutive pages of an ordinary stream, all sent by records of one kind.

    The first page's payload lies at data_offset in the file, each next one stride bytes on;
    address is the first page's inside the block, in bytes.  fill is the byte of a ZERO page.
    """

    block: bytes
    address: int
    pages: int
    data_offset: int
    stride: int
    fill: int | None = None


#: A structure longer than this is a damaged length, not a name or an argument list.
_STRUCTURE_CEILING = 1 << 17
_WINDOW = 4096


class Cursor:
    """Reads structures one after the other from a Source, remembering only how far it is."""

    def __init__(self, source: Source, offset: int) -> None:
        self.source = source
        self.offset = offset
        #: What the records read from here on belong to (Record).
        self.section = b""
        self.block: int | None = None
        self._window = b""
        self._window_offset = 0
        # What follows a body is looked at before it is taken: parsed once all the same.
        self._seen: tuple[int, object, object, int] = (-1, None, None, 0)

    @property
    def remaining(self) -> int:
        """Bytes from here to the end of the file; never negative."""
        return max(0, self.source.size - self.offset)

    def peek(self, length: int, ahead: int = 0) -> bytes:
        """At most length bytes, ahead bytes from here; fewer where the file ends."""
        start = self.offset + ahead - self._window_offset
        if start < 0 or start + length > len(self._window):
            self._window_offset = self.offset + ahead
            self._window = self.source.read_upto(self._window_offset, max(length, _WINDOW))
            start = 0
        return self._window[start : start + length]

    def take(self, schema: Schema[S], kind: Kind, path: str) -> Record[S]:
        """Parse the structure here and go after it; TruncatedError where the file ends in it."""
        record = self.look(schema, kind, path)
        self.offset = record.stop
        return record

    def look(self, schema: Schema[S], kind: Kind, path: str, ahead: int = 0) -> Record[S]:
        """Parse the structure that lies ahead bytes from here, and stay."""
        offset = self.offset + ahead
        seen_at, seen_by, seen, seen_length = self._seen
        if seen_at == offset and seen_by is schema:
            return self.record(kind, path, offset, seen_length, cast("S", seen))
        need = schema.size if schema.is_fixed else 512
        data = self.peek(need, ahead)
        try:
            value, length = schema.parse(data, offset=offset, path=path)
        except TruncatedError:
            if schema.is_fixed or len(data) < need:
                raise
            value, length = self._parse_long(schema, offset, path)
        self._seen = (offset, schema, value, length)
        return self.record(kind, path, offset, length, value)

    def record(self, kind: Kind, path: str, offset: int, length: int, value: T) -> Record[T]:
        """A record that belongs to where the cursor is."""
        return Record(kind, path, offset, length, value, self.section, self.block)

    def _parse_long(self, schema: Schema[S], offset: int, path: str) -> tuple[S, int]:
        data = self.source.read_upto(offset, _STRUCTURE_CEILING)
        try:
            return schema.parse(data, offset=offset, path=path)
        except TruncatedError as error:
            if len(data) < _STRUCTURE_CEILING:
                raise
            raise FormatError(
                "a length is out of all proportion",
                code="length",
                offset=offset,
                path=error.path,
                expected=f"a structure of at most {_STRUCTURE_CEILING} bytes",
            ) from error

    def skip(self, length: int, kind: Kind, path: str, value: T) -> Record[T]:
        """A record over the next length bytes, not read; TruncatedError where there are fewer."""
        if length > self.remaining:
            raise TruncatedError(
                "the file ends inside this",
                offset=self.offset,
                path=path,
                expected=f"{length} bytes",
                found=f"{self.remaining} to the end of the file",
            )
        record = self.record(kind, path, self.offset, length, value)
        self.offset += length
        return record
