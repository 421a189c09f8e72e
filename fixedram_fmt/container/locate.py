"""Where in a file the migration stream starts: at once, at an offset, behind libvirt's header."""

from __future__ import annotations

import html
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import msgspec

from fixedram_fmt.container.foreign import Foreign, foreign_file
from fixedram_fmt.errors import FormatError, SourceError, UnsupportedError
from fixedram_fmt.io.documents import DOCUMENT_CEILING
from fixedram_fmt.io.spool import compression_of, spool_compressed
from fixedram_fmt.io.unpacking import UnpackBudget
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_SAVE_VERSION,
    LibvirtHeader,
    SaveFormat,
)
from fixedram_fmt.schema.stream import (
    FILE_HEADER,
    QEMU_VM_FILE_MAGIC,
    QEMU_VM_FILE_VERSION,
    FileHeader,
)
from fixedram_fmt.units import parse_size

if TYPE_CHECKING:
    from fixedram_fmt.io.source import Source

__all__ = ["Container", "LibvirtSave", "LibvirtSummary", "locate_stream", "split_location"]

_STREAM_HEAD = FILE_HEADER.build(FileHeader(QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION))
_SEARCH_STEP = 1 << 20
_DOMAIN_NAME = re.compile(rb"<name>([^<]{1,255})</name>")


#: Bytes that name a file of another program.
_FOREIGN_HEAD = 32


LibvirtByteOrder = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LIBVIRT_HEADER)})]


class LibvirtSummary(Result, frozen=True):
    """libvirt's header: data_len and cookie_offset in bytes, domain the name in the XML.

    byte_order is that of the host that saved, format that of the stream; partial: the save never
    finished.
    """

    version: int
    byte_order: LibvirtByteOrder
    format: str
    was_running: bool
    partial: bool
    data_len: Unsigned
    cookie_offset: Unsigned
    domain: str | None


@dataclass(frozen=True, slots=True)
class LibvirtSave:
    """What libvirt's header says; byte_order is that of the host that saved."""

    header: LibvirtHeader
    byte_order: str
    header_length: int
    domain: str | None
    #: Where the header and the XML are read: not the stream's Source when that is compressed.
    source: Source

    @property
    def partial(self) -> bool:
        """Whether the save never finished (LibvirtQemudPart)."""
        return self.header.magic == QEMU_SAVE_PARTIAL

    @property
    def format(self) -> str:
        """Name of the format libvirt gave, its number if it is none we know."""
        try:
            return SaveFormat(self.header.format).name.lower()
        except ValueError:
            return str(self.header.format)

    @property
    def xml_length(self) -> int:
        """Bytes that the domain XML has before the cookie, padding included."""
        return min(self.header.cookie_offset or self.header.data_len, self.header.data_len)

    @property
    def xml(self) -> bytes:
        """The domain XML, up to the NUL that ends it."""
        return self._text(0, self.xml_length)

    @property
    def cookie(self) -> bytes | None:
        """The cookie's XML, None where the header names no place for one."""
        offset = self.header.cookie_offset
        if not 0 < offset < self.header.data_len:
            return None
        return self._text(offset, self.header.data_len)

    def _text(self, start: int, stop: int) -> bytes:
        length = min(stop - start, DOCUMENT_CEILING + 1)
        return self.source.read_upto(self.header_length + start, length).partition(b"\0")[0]

    def describe(self) -> LibvirtSummary:
        """The header as plain values."""
        return LibvirtSummary(
            version=self.header.version,
            byte_order=self.byte_order,
            format=self.format,
            was_running=bool(self.header.was_running),
            partial=self.partial,
            data_len=self.header.data_len,
            cookie_offset=self.header.cookie_offset,
            domain=self.domain,
        )


@dataclass(frozen=True, slots=True)
class Container:
    """How the stream is packed; stream_offset is where it starts in the bytes that are read.

    kind is `bare`, `offset` (told, or found by search) or `libvirt`.  file_compression is that of
    the whole file, stream_compression of the stream behind libvirt's header: with either the bytes
    that are read are the unpacked ones, and cut_short says why unpacking ended early.
    """

    kind: str
    stream_offset: int
    libvirt: LibvirtSave | None = None
    file_compression: str | None = None
    stream_compression: str | None = None
    cut_short: str = ""

    @property
    def compression(self) -> str | None:
        """The outermost; None where the file is read as it is."""
        return self.file_compression or self.stream_compression


def split_location(location: str) -> tuple[str, int | None]:
    """Path and offset of `PATH@OFFSET`; a file that is really called so wins.

    Raises SourceError when what follows the @ is meant as an offset and is none.
    """
    path, at, offset = location.rpartition("@")
    if not at or not path or os.path.lexists(location) or not offset[:1].isdigit():
        return location, None
    try:
        return path, parse_size(offset)
    except ValueError as error:
        raise SourceError(str(error), hint="write PATH@OFFSET") from error


def locate_stream(
    source: Source,
    *,
    offset: int | None = None,
    search: bool = False,
    budget: UnpackBudget | None = None,
) -> tuple[Source, Container]:
    """The Source that holds the stream (source itself, or it unpacked), and where it starts there.

    Of a compressed file the offset counts in the unpacked bytes, as all offsets that are told,
    unless there is a stream at it as it is.  budget is what is left where source was unpacked
    itself.  Raises FormatError when there is no stream, UnsupportedError for a compression that
    cannot be undone here or that unpacks to too much.
    """
    head = source.read_upto(0, 16)
    compression = compression_of(head)
    if compression and not (offset and _stream_at(source, offset)):
        return _packed(source, compression, offset=offset, search=search)
    if offset is not None:
        if offset >= source.size:
            raise FormatError(
                "the offset lies outside the file",
                code="offset",
                offset=offset,
                expected=f"an offset below {source.size:#x}",
                found=f"{offset:#x}",
            )
        return source, Container("offset" if offset else "bare", offset)
    if head in (QEMU_SAVE_MAGIC, QEMU_SAVE_PARTIAL):
        return _libvirt(source, budget)
    if head.startswith(QEMU_VM_FILE_MAGIC):
        return source, Container("bare", 0)
    foreign = foreign_file(source.read_upto(0, _FOREIGN_HEAD))
    if search and not (foreign and foreign.holds_bytes_of_others):
        found = _search(source)
        if found is not None:
            return source, Container("offset", found)
    raise _no_stream(head, foreign, search=search)


def _no_stream(head: bytes, foreign: Foreign | None, *, search: bool) -> FormatError:
    further = (
        "no stream was found further in either"
        if search
        else "if the stream starts further in, give PATH@OFFSET or --search"
    )
    message = "this is neither a QEMU migration stream nor a libvirt save image"
    if foreign:
        message, further = f"this is {foreign.what}, not a save", foreign.advice
    return FormatError(
        message if head else "the file is empty",
        code="magic",
        offset=0,
        path="header.magic",
        expected=f"{QEMU_VM_FILE_MAGIC!r} or {QEMU_SAVE_MAGIC!r}",
        found=repr(head) if head else "nothing",
        hint=further if head else "",
    )


def _stream_at(source: Source, offset: int) -> bool:
    return source.read_upto(offset, len(QEMU_VM_FILE_MAGIC)) == QEMU_VM_FILE_MAGIC


def _packed(
    source: Source, compression: str, *, offset: int | None, search: bool
) -> tuple[Source, Container]:
    """A whole file that is compressed; what is in it may be a save, but not packed once more."""
    budget = UnpackBudget.of(source.size)
    unpacked, why = spool_compressed(source, 0, compression, budget)
    try:
        if compression_of(unpacked.read_upto(0, 16)):
            raise UnsupportedError(
                "this is compressed more than once",
                path=compression,
                hint="unpack it first",
            )
        inner, container = locate_stream(unpacked, offset=offset, search=search, budget=budget)
    except FormatError as error:
        unpacked.close()
        if not why:
            raise
        raise FormatError(
            f"{why}, and nothing usable comes before that", offset=0, path=compression
        ) from error
    except BaseException:
        unpacked.close()
        raise
    cut_short = why or container.cut_short
    return inner, replace(container, file_compression=compression, cut_short=cut_short)


def _libvirt(source: Source, budget: UnpackBudget | None) -> tuple[Source, Container]:
    byte_order, header, length = _libvirt_header(source)
    start = length + header.data_len
    if not header.data_len and not _stream_at(source, length):
        raise FormatError(
            "libvirt's header says that no domain XML follows",
            code="libvirt-xml",
            offset=20,
            path="libvirt.data_len",
            expected="the length of the domain XML",
            found="0",
        )
    cookie_follows = 0 < header.cookie_offset <= max(0, source.size - length)
    if start > source.size:
        raise FormatError(
            "the domain XML reaches past the end of the file",
            code="libvirt-xml",
            offset=length,
            path="libvirt.cookie" if cookie_follows else "libvirt.data_len",
            expected=f"at most {max(0, source.size - length)} bytes",
            found=str(header.data_len),
        )
    match = _DOMAIN_NAME.search(source.read_upto(length, min(header.data_len, 1 << 16)))
    domain = html.unescape(text(match[1])) if match else None
    libvirt = LibvirtSave(header, byte_order, length, domain, source)
    container = Container("libvirt", start, libvirt)
    compression = compression_of(source.read_upto(start, 16))
    if compression is None:
        return source, container
    unpacked, why = spool_compressed(source, start, compression, budget)
    return unpacked, Container("libvirt", 0, libvirt, stream_compression=compression, cut_short=why)


def _libvirt_header(source: Source) -> tuple[str, LibvirtHeader, int]:
    """Byte order, header and its length; a version beyond the known ones means the other order."""
    for byte_order, schema in LIBVIRT_HEADER.items():
        header, length = schema.parse(source.read_upto(0, schema.size), path="libvirt")
        if header.version <= QEMU_SAVE_VERSION:
            return byte_order, header, length
    raise FormatError(
        "unknown version of the libvirt save header",
        code="libvirt-version",
        offset=16,
        path="libvirt.version",
        expected=f"at most {QEMU_SAVE_VERSION} in either byte order",
        found=str(header.version),
    )


def _search(source: Source) -> int | None:
    """Offset of the first stream header in the data of the file, None if there is none."""
    overlap = len(_STREAM_HEAD) - 1
    for extent in source.extents():
        if not extent.data:
            continue
        for start in range(extent.start, extent.stop, _SEARCH_STEP):
            window = source.read_upto(start, _SEARCH_STEP + overlap)
            at = window.find(_STREAM_HEAD)
            if at >= 0:
                return start + at
    return None
