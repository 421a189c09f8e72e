"""Changes to images that the cases of rules refer to by name: what cannot be written as data."""

from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.libvirt import (
    LIBVIRT_HEADER,
    QEMU_SAVE_MAGIC,
    LibvirtHeader,
    SaveFormat,
)
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import FixedBlock, Hole, Literal, Raw, Structure
from fixedram_fmt.write.faults.fault import Elements, Pieces
from support.qcow2 import DiskBuilder, State
from support.synthetic import PAGE
from support.xen import XenSaveBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADER = Kind.MAPPED_RAM_HEADER

# -- the file -------------------------------------------------------------------------------------


def compressed(data: bytes) -> bytes:
    return lzma.compress(data)


def written_again(data: bytes) -> bytes:
    return data


def in_compressed_save(data: bytes) -> bytes:
    """A libvirt save whose compressed stream has a fixed layout."""
    xml = b"<domain><memory>256</memory><os><type>hvm</type></os></domain>\0"
    head = LibvirtHeader(QEMU_SAVE_MAGIC, 2, len(xml), 0, SaveFormat.GZIP, 0, bytes(56))
    return LIBVIRT_HEADER["little"].build(head) + xml + gzip.compress(data)


def without_xml(data: bytes) -> bytes:
    value, size = LIBVIRT_HEADER["little"].parse(data)
    return data[:size] + bytes(value.data_len) + data[size + value.data_len :]


def unused_fields_set(data: bytes) -> bytes:
    value, size = LIBVIRT_HEADER["little"].parse(data)
    return LIBVIRT_HEADER["little"].build(replace(value, unused=b"\1" * 56)) + data[size:]


def without_configuration(data: bytes) -> bytes:
    machine = stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc"))
    return data.replace(machine, b"")


# -- elements and pieces --------------------------------------------------------------------------


def same_section_id(e: Elements) -> None:
    first = e.value(Kind.SECTION_FULL).section_id
    e.change(Kind.SECTION_FULL, 1, section_id=first)
    footer = e.section(Kind.SECTION_FULL, 1).stop - 1
    item = e.items[footer]
    assert isinstance(item, Structure)
    e.items[footer] = replace(item, value=replace(item.value, section_id=first))


def ram_of_id_0(e: Elements) -> None:
    for index, item in enumerate(e.items):
        if isinstance(item, Structure) and getattr(item.value, "section_id", None) == 1:
            e.items[index] = replace(item, value=replace(item.value, section_id=0))


def no_ram(e: Elements) -> None:
    for kind in (Kind.SECTION_END, Kind.SECTION_PART, Kind.SECTION_START):
        del e.items[e.section(kind)]


def _fixed_block(e: Elements, number: int, **values: Hole) -> None:
    index = e.index(HEADER, number)
    block = e.items[index]
    assert isinstance(block, FixedBlock)
    e.items[index] = replace(block, **values)


def empty_block(e: Elements) -> None:
    length = e.value(Kind.BLOCK).used_length
    _fixed_block(e, 0, bitmap=Hole(0), pages=Hole(0))
    e.change(Kind.BLOCK, used_length=0)
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word - length)


def part_pages(e: Elements) -> None:
    """Half a page from one block to the other: the sum stays."""
    for number, more in ((0, 512), (1, -512)):
        length = e.value(Kind.BLOCK, number).used_length + more
        e.change(Kind.BLOCK, number, used_length=length)
        _fixed_block(e, number, pages=Hole(length))


def longer_device(e: Elements) -> None:
    index = e.index(Kind.DEVICE)
    item = e.items[index]
    assert isinstance(item, Raw)
    e.items[index] = replace(item, content=Literal(bytes(25)))


def described_page_size(e: Elements) -> None:
    """The description says that the target has pages of 12345 bytes."""
    _change_description(e, lambda document: document.update(page_size=12345))


_KEYS = ("name", "type", "size", "array_len")
Fields = list[list[Any]]


def describe(e: Elements, name: str, fields: Fields, subsections: Mapping[str, Fields]) -> None:
    """A device's state is described anew: of fields name, type, size, and how many elements."""

    def change(document: dict[str, Any]) -> None:
        (device,) = (one for one in document["devices"] if one["name"] == name)
        device |= {"vmsd_name": name.rpartition("/")[2], **_described(fields)}
        device["subsections"] = [
            {"vmsd_name": inner, "version": 1, **_described(own)}
            for inner, own in subsections.items()
        ]

    _change_description(e, change)


def _described(fields: Fields) -> dict[str, Any]:
    return {"fields": [dict(zip(_KEYS, one, strict=False)) for one in fields]}


def _change_description(e: Elements, change: Callable[[dict[str, Any]], None]) -> None:
    index = e.index(Kind.VMDESCRIPTION_JSON)
    item = e.items[index]
    assert isinstance(item, Raw)
    assert isinstance(item.content, Literal)
    document = json.loads(item.content.data)
    change(document)
    text = json.dumps(document).encode()
    e.items[index] = replace(item, content=Literal(text))
    e.change(Kind.VMDESCRIPTION, length=len(text))


def pages_at_512(p: Pieces) -> None:
    """Everything from the last block's pages on lies 512 bytes later."""
    start = p.index(Kind.PAGES, -1)
    p.change(HEADER, -1, pages_offset=p.piece(HEADER, -1).value.pages_offset + 512)
    p.items[start:] = [replace(item, offset=item.offset + 512) for item in p.items[start:]]


def cut_in_empty_pages(p: Pieces) -> None:
    p.size = p.piece(Kind.PAGES, -1).stop - PAGE


def bitmap_in_device(p: Pieces) -> None:
    """The last device's state begins with the very bits of a dense block of eight pages."""
    p.change(HEADER, -1, bitmap_offset=p.piece(Kind.DEVICE, -1).offset)


def in_a_qcow2(data: bytes) -> bytes:
    """A disk whose content is the stream."""
    return DiskBuilder(size=-(-len(data) // 4096) * 4096, content=data).build()


def in_snapshots(data: bytes, *names: str) -> bytes:
    """A disk with snapshots of those names, whose ids count from 1."""
    states = [State(data, name, str(number)) for number, name in enumerate(names, 1)]
    return DiskBuilder(states=states).build()


def in_a_save_of_xen(data: bytes) -> bytes:
    """A domain without memory, of whose emulator the stream is the state."""
    return XenSaveBuilder(emulator=data).build()


def in_a_qcow2_marked(data: bytes, features: int) -> bytes:
    disk = bytearray(in_a_qcow2(data))
    disk[79] |= features
    return bytes(disk)


def in_a_qcow2_of_huge_clusters(data: bytes) -> bytes:
    disk = bytearray(in_a_qcow2(data))
    disk[20:24] = b"\0\0\0\x3f"
    return bytes(disk)
