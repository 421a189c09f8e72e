"""A save image of libvirt: header, domain XML, cookie, and the stream, perhaps compressed.

Upstream: libvirt src/qemu/qemu_saveimage.c.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fixedram_fmt.container.bare import stream_at
from fixedram_fmt.container.described import LibvirtSummary
from fixedram_fmt.container.wrapper import Part, Place, Recognized
from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.documents import DOCUMENT_CEILING
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_SAVE_VERSION,
    LibvirtHeader,
    SaveFormat,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from fixedram_fmt.container.wrapper import Wrapper
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.io.unpacking import UnpackBudget

__all__ = ["LibvirtSave"]

_DOMAIN_NAME = re.compile(rb"<name>([^<]{1,255})</name>")


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtSave(Recognized):
    """What libvirt's header says; xml_offset is where the domain XML begins in source."""

    header: LibvirtHeader
    xml_offset: int
    domain: str | None

    kind: ClassVar[str] = "libvirt"
    holds_stream: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """By either magic."""
        return head.startswith((QEMU_SAVE_MAGIC, QEMU_SAVE_PARTIAL))

    @classmethod
    def open(cls, place: Place, budget: UnpackBudget | None) -> Self:
        """Read the header, and where the stream begins."""
        del budget
        byte_order, header, length = _header(place)
        xml = Place(place.source, place.offset + length)
        _check_xml(place, xml, header)
        match = _DOMAIN_NAME.search(xml.source.read_upto(xml.offset, min(header.data_len, 1 << 16)))
        return cls(
            outer=place,
            inner=Place(place.source, xml.offset + header.data_len),
            byte_order=byte_order,
            header=header,
            xml_offset=xml.offset,
            domain=html.unescape(text(match[1])) if match else None,
        )

    def takes(self, inner: type[Wrapper], between: Sequence[Wrapper]) -> bool:
        """The stream, compressed once at most."""
        return inner.packs and not between

    @property
    def source(self) -> Source:
        """Where header and XML are read: not the stream's Source when that is compressed."""
        return self.outer.source

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

    def offset_of(self, field: str) -> int:
        """Where a field of the header lies in source."""
        schema = LIBVIRT_HEADER[str(self.byte_order)]
        spans = schema.spans(schema.build(self.header))
        return self.outer.offset + next(span.offset for span in spans if span.name == field)

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
        return self.source.read_upto(self.xml_offset + start, length).partition(b"\0")[0]

    def parts(self) -> Iterator[Part]:
        """The header, the XML, the cookie, and the zeros after each."""
        start, xml, stop = self.outer.offset, self.xml_offset, self.inner.offset
        yield Part("libvirt_header", "libvirt/header", start, xml - start, self.header)
        texts = [("xml", xml, self.xml, xml + self.xml_length)]
        if self.cookie is not None:
            texts.append(("cookie", xml + self.xml_length, self.cookie, stop))
        for name, offset, text_, end in texts:
            length = min(len(text_) + 1, end - offset)
            if length:
                yield Part(f"libvirt_{name}", f"libvirt/{name}", offset, length)
            if offset + length < end:
                path, rest = f"libvirt/padding[{name}]", end - offset - length
                yield Part("libvirt_padding", path, offset + length, rest, note="room for edits")

    def describe(self) -> dict[str, Any]:
        """The header as plain values."""
        header = LibvirtSummary(
            version=self.header.version,
            byte_order=self.byte_order or "",
            format=self.format,
            was_running=bool(self.header.was_running),
            partial=self.partial,
            data_len=self.header.data_len,
            cookie_offset=self.header.cookie_offset,
            domain=self.domain,
        )
        return {"libvirt": header}


def _header(place: Place) -> tuple[str, LibvirtHeader, int]:
    """Byte order, header and its length; a version beyond the known ones means the other order."""
    for byte_order, schema in LIBVIRT_HEADER.items():
        data = place.source.read_upto(place.offset, schema.size)
        header, length = schema.parse(data, offset=place.offset, path="libvirt")
        if header.version <= QEMU_SAVE_VERSION:
            return byte_order, header, length
    raise FormatError(
        "unknown version of the libvirt save header",
        code="libvirt-version",
        offset=place.offset + 16,
        path="libvirt.version",
        expected=f"at most {QEMU_SAVE_VERSION} in either byte order",
        found=str(header.version),
    )


def _check_xml(place: Place, xml: Place, header: LibvirtHeader) -> None:
    """FormatError where the header does not lead to the stream."""
    if not header.data_len and not stream_at(xml):
        raise FormatError(
            "libvirt's header says that no domain XML follows",
            code="libvirt-xml",
            offset=place.offset + 20,
            path="libvirt.data_len",
            expected="the length of the domain XML",
            found="0",
        )
    room = max(0, xml.source.size - xml.offset)
    if header.data_len > room:
        raise FormatError(
            "the domain XML reaches past the end of the file",
            code="libvirt-xml",
            offset=xml.offset,
            path="libvirt.cookie" if 0 < header.cookie_offset <= room else "libvirt.data_len",
            expected=f"at most {room} bytes",
            found=str(header.data_len),
        )
