"""What stands before the stream in a libvirt save image."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from fixedram_fmt.build.elements import Literal
from fixedram_fmt.build.layout import Piece
from fixedram_fmt.records import Kind
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_SAVE_VERSION,
    LibvirtHeader,
    SaveFormat,
)

if TYPE_CHECKING:
    from fixedram_fmt.build.elements import Content

__all__ = ["libvirt_head", "libvirt_pieces", "stub_domain"]

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

_UNUSED = bytes(14 * 4)


def stub_domain(machine: str | None, memory: int, vcpus: int = 1) -> bytes:
    """The least a domain needs to be taken for one: machine and memory, and no devices."""
    name = f" machine={quoteattr(machine)}" if machine and machine.isprintable() else ""
    return _DOMAIN_XML.format(machine=name, memory=memory, vcpus=vcpus).encode()


def libvirt_head(
    xml: bytes,
    save_format: SaveFormat,
    *,
    byte_order: str = "little",
    was_running: bool = False,
    partial: bool = False,
) -> list[Piece]:
    """A new header, and xml with the NUL libvirt ends it with."""
    xml = xml.removesuffix(b"\0") + b"\0"
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
