"""What stands before the stream in a new file: the container of the image, or another.

A container that `copy` keeps or makes has a row in _HEADS; of any other the stream is taken out as
soon as something moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from fixedram_fmt.container.domain import main_memory
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_SAVE_VERSION,
    LibvirtHeader,
    SaveFormat,
)
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import Copied, Literal
from fixedram_fmt.write.piece import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.container.wrapper import Container
    from fixedram_fmt.image import Image
    from fixedram_fmt.write.elements import Content
    from fixedram_fmt.write.rewriteoptions import RewriteOptions

__all__ = [
    "XML_ROOM",
    "container_pieces",
    "is_mapped",
    "libvirt_head",
    "libvirt_pieces",
    "same_container",
    "set_right",
    "stub_domain",
    "with_xml",
]

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


def container_pieces(image: Image, options: RewriteOptions) -> Iterator[Piece]:
    """The pieces before the stream of a new file by options; none where it has no container.

    None either for one that begins inside another: it goes with what precedes the stream.
    """
    head = _HEADS.get(options.container or image.container.kind)
    nested = any(one.outer.offset for one in image.container.wrappers if not one.packs)
    if head is not None and options.start is None and (options.container or not nested):
        yield from head(image, options)


def same_container(container: Container, *, mapped: bool) -> Iterator[Piece]:
    """The container as it was, around another kind of stream: mapped has a fixed layout."""
    saved = container.find(LibvirtSave)
    if saved is not None:
        save_format = SaveFormat.SPARSE if mapped else SaveFormat.RAW
        header = replace(saved.header, format=save_format)
        yield from libvirt_pieces(header, _same_xml(saved), str(saved.byte_order))


def is_mapped(image: Image) -> bool:
    """Whether image has a fixed layout."""
    return any(block.mapped for block in image.blocks)


def _libvirt(image: Image, options: RewriteOptions) -> Iterator[Piece]:
    """Header and XML of a libvirt save image."""
    save_format = SaveFormat.SPARSE if is_mapped(image) else SaveFormat.RAW
    if options.compress is not None:
        save_format = SaveFormat[options.compress.upper()]
    saved = image.container.find(LibvirtSave)
    if saved is None:
        xml = options.xml or _domain(image)
        yield from libvirt_head(xml, save_format, was_running=bool(options.running))
        return
    header, area = saved.header, _same_xml(saved)
    if options.xml is not None:
        header, data = with_xml(saved, options.xml)
        area = Literal(data)
    header = set_right(header, running=options.running, complete=options.mark_complete)
    if options.moves or options.compress or image.container.stream_compression:
        header = replace(header, format=save_format)
    yield from libvirt_pieces(header, area, str(saved.byte_order))


#: By kind of container: the pieces of a new one, which follows the image's own where it has one.
_HEADS: dict[str, Callable[[Image, RewriteOptions], Iterator[Piece]]] = {
    LibvirtSave.kind: _libvirt,
}


def _same_xml(saved: LibvirtSave) -> Content:
    return Copied(saved.source, saved.xml_offset, saved.header.data_len)


def _domain(image: Image) -> bytes:
    memory = main_memory({block.name: block.used_length for block in image.blocks})
    cpus = sum(section.name == "cpu_common" for section in image.sections)
    return stub_domain(image.machine, memory, max(1, cpus))


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
    """Header and XML at the start of the file; the stream goes right after them."""
    head = Literal(LIBVIRT_HEADER[byte_order].build(header))
    return [
        Piece(Kind.LIBVIRT_HEADER, "libvirt/header", 0, head, header),
        Piece(Kind.LIBVIRT_XML, "libvirt/xml", head.length, xml),
    ]
