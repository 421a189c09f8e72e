"""What stands before the stream in a libvirt save image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_SAVE_VERSION,
    LibvirtHeader,
    SaveFormat,
)
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import Literal
from fixedram_fmt.write.piece import Piece

if TYPE_CHECKING:
    from fixedram_fmt.container.locate import LibvirtSave
    from fixedram_fmt.write.elements import Content

__all__ = ["XML_ROOM", "libvirt_head", "libvirt_pieces", "set_right", "stub_domain", "with_xml"]

_DOMAIN_XML = """\
<domain type='qemu'>
  <name>fixedram</name>
  <memory unit='bytes'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type{machine}>hvm</type>
  </os>
</domain>
"""

#: Zeros that libvirt leaves after XML and cookie, so that the XML can be edited in the file.
XML_ROOM = 64 << 10
_UNUSED = bytes(14 * 4)


def stub_domain(machine: str | None, memory: int, vcpus: int = 1) -> bytes:
    """The least a domain needs to be taken for one: machine and memory, and no devices."""
    name = f" machine={quoteattr(machine)}" if machine and machine.isprintable() else ""
    return _DOMAIN_XML.format(machine=name, memory=memory, vcpus=vcpus).encode()


def set_right(
    header: LibvirtHeader, *, running: bool | None = None, complete: bool = False
) -> LibvirtHeader:
    """header with the run state changed (None: as it is), and marked as complete if asked for."""
    if running is not None:
        header = replace(header, was_running=int(running))
    return replace(header, magic=QEMU_SAVE_MAGIC) if complete else header


def with_xml(save: LibvirtSave, xml: bytes) -> tuple[LibvirtHeader, bytes]:
    """The header and the area after it with another XML; the cookie stays, and room for edits.

    Upstream: src/qemu/qemu_saveimage.c virQEMUSaveDataWrite().
    """
    area = xml.rstrip(b"\0") + b"\0"
    cookie = save.cookie
    offset = len(area) if cookie is not None else 0
    if cookie is not None:
        area += cookie + b"\0"
    length = save.header.data_len
    if len(area) > length:
        length = len(area) + XML_ROOM
    header = replace(save.header, data_len=length, cookie_offset=offset)
    return header, area.ljust(length, b"\0")


def libvirt_head(
    xml: bytes,
    save_format: SaveFormat,
    *,
    byte_order: str = "little",
    was_running: bool = False,
    partial: bool = False,
) -> list[Piece]:
    """A new header, and xml with the NUL libvirt ends it with and the room that it leaves."""
    xml = xml.rstrip(b"\0")
    xml = xml.ljust(len(xml) + 1 + XML_ROOM, b"\0")
    magic = QEMU_SAVE_PARTIAL if partial else QEMU_SAVE_MAGIC
    header = LibvirtHeader(
        magic, QEMU_SAVE_VERSION, len(xml), int(was_running), save_format, 0, _UNUSED
    )
    return libvirt_pieces(header, Literal(xml), byte_order)


def libvirt_pieces(header: LibvirtHeader, xml: Content, byte_order: str) -> list[Piece]:
    """Header and XML at the start of the file; the stream goes right behind them."""
    head = Literal(LIBVIRT_HEADER[byte_order].build(header))
    return [
        Piece(Kind.LIBVIRT_HEADER, "libvirt/header", 0, head, header),
        Piece(Kind.LIBVIRT_XML, "libvirt/xml", head.length, xml),
    ]
