"""The records of a stream of Xen's libxl, and of libxc's streams in it: where each lies.

Upstream: Xen docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError, TruncatedError, UnsupportedError
from fixedram_fmt.schema import xen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import IntEnum

    from fixedram_fmt.io.source import Source

__all__ = ["XenPart", "xen_parts"]

_LIBXL_VERSION = 2
_LIBXC_VERSIONS = (2, 3)
#: Of PAGE_DATA records a saver puts 1024 pages into each: so many records are 16 TiB.
_RECORDS_CEILING = 1 << 22
_ROUND = xen.RECORD_ALIGNMENT - 1


@dataclass(frozen=True, slots=True)
class XenPart:
    """A header or a record with its padding: [offset, offset + length) of the source.

    name is `libxl_header`, `libxc_header`, or that of the record; of_libxc says whose it is.
    body is where a record's body begins, body_length how long it is; byte_order that of numbers in
    it.
    """

    name: str
    of_libxc: bool
    offset: int
    length: int
    value: Any
    byte_order: str = "little"
    body: int = 0
    body_length: int = 0


def xen_parts(source: Source, offset: int) -> Iterator[XenPart]:
    """What tiles the stream of libxl at offset, up to its END record.

    Raises TruncatedError where it ends before that, FormatError where it cannot be.
    """
    header, length = xen.LIBXL_HEADER.parse(
        source.read_upto(offset, xen.LIBXL_HEADER.size), offset=offset, path="libxl/header"
    )
    if header.ident != xen.LIBXL_MAGIC or header.version != _LIBXL_VERSION:
        raise UnsupportedError(
            "this is no stream of Xen's libxl that is known", offset=offset, path="libxl/header",
            expected=f"LibxlFmt, version {_LIBXL_VERSION}",
            found=f"{header.ident!r}, version {header.version}",
        )  # fmt: skip
    order = _order(header.options)
    yield XenPart("libxl_header", False, offset, length, header, order)
    position, count = offset + length, 0
    # Byte orders: of libxc's records while they are read, and where a checkpoint interrupted them.
    inner = checkpointed = ""
    while True:
        names: type[IntEnum] = xen.LibxcRecord if inner else xen.LibxlRecord
        part = _record(source, position, inner or order, names)
        yield part
        position += part.length
        count += 1
        if count > _RECORDS_CEILING:
            raise FormatError(
                "a stream of Xen has too many records", code="xen", offset=position, path="libxl",
                expected=f"at most {_RECORDS_CEILING}",
            )  # fmt: skip
        if inner and part.name in ("END", "CHECKPOINT"):
            # After a checkpoint libxc goes on where libxl's CHECKPOINT_END is.
            checkpointed = inner if part.name == "CHECKPOINT" else ""
            inner = ""
        elif not inner and part.name == "LIBXC_CONTEXT":
            for head in _libxc_headers(source, position):
                yield head
                position, inner = head.offset + head.length, head.byte_order
        elif not inner and part.name == "CHECKPOINT_END":
            inner = checkpointed
        elif not inner and part.name == "END":
            return


def _order(options: int) -> str:
    return "big" if options & xen.StreamOption.BIG_ENDIAN else "little"


def _libxc_headers(source: Source, offset: int) -> Iterator[XenPart]:
    """The image header and the domain header."""
    data = source.read_upto(offset, xen.LIBXC_HEADER.size)
    header, length = xen.LIBXC_HEADER.parse(data, offset=offset, path="libxc/header")
    known = header.marker == xen.LIBXC_MARKER and header.id == xen.LIBXC_MAGIC
    if not known or header.version not in _LIBXC_VERSIONS:
        raise FormatError(
            "this is no stream of Xen's libxc that is known", code="xen", offset=offset,
            path="libxc/header", expected="XENF, version 2 or 3",
            found=f"{header.id!r}, version {header.version}",
        )  # fmt: skip
    order = _order(header.options)
    yield XenPart("libxc_header", True, offset, length, header, order)
    offset += length
    schema = xen.DOMAIN_HEADER[order]
    domain, length = schema.parse(
        source.read_upto(offset, schema.size), offset=offset, path="libxc/domain"
    )
    yield XenPart("domain_header", True, offset, length, domain, order)


def _record(source: Source, offset: int, order: str, names: type[IntEnum]) -> XenPart:
    schema, of_libxc = xen.RECORD_HEADER[order], names is xen.LibxcRecord
    path = "libxc" if of_libxc else "libxl"
    header, length = schema.parse(
        source.read_upto(offset, schema.size), offset=offset, path=f"{path}/record"
    )
    whole = length + (header.body_length + _ROUND & ~_ROUND)
    if offset + whole > source.size:
        raise TruncatedError(
            "a stream of Xen ends inside a record", offset=offset, path=f"{path}/record",
            expected=f"{whole} bytes", found=str(source.size - offset),
        )  # fmt: skip
    try:
        name = names(header.type).name
    except ValueError:
        name = f"{header.type:#x}"
    return XenPart(
        name, of_libxc, offset, whole, header, order, offset + length, header.body_length
    )
