"""Tiny migration streams made in memory, laid out as QEMU lays them out.

Every byte that is written is noted with the kind it must be found as (`StreamBuilder.parts`), so
that a reader's view of the file can be compared with the writer's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fixedram_fmt.container.locate import locate_stream
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType

__all__ = [
    "QEMU_ALIGNMENT",
    "Block",
    "StreamBuilder",
    "bitmap_bytes",
    "complete",
    "device",
    "open_bytes",
    "ordinary_image",
    "page",
    "tiny_image",
    "uint",
]

QEMU_ALIGNMENT = 0x100000

#: kind, offset in the file, length
Part = tuple[str, int, int]


def open_bytes(data: bytes, **options: Any) -> Image:
    """The image that lies in memory; options are those of locate_stream, and host_long."""
    host_long = options.pop("host_long", None)
    inner, container = locate_stream(Source.from_buffer(data), **options)
    return Image(inner, container, host_long=host_long)


def complete(image: Image) -> bool:
    """Whether the image was read to its end without an oddity."""
    assert image.stopped is None, str(image.stopped)
    return image.complete and not image.notes


def page(number: int, page_size: int) -> bytes:
    """A page that is not zero and that no other number gives."""
    return (number * 0x9E3779B1 + 1 & 0xFFFFFFFF).to_bytes(4, "little") * (page_size // 4)


def bitmap_bytes(present: set[int], pages: int, host_long: HostLong = HostLong.LITTLE_64) -> bytes:
    """One bit a page in host longs, as a loop over the bits."""
    bits = host_long.size * 8
    longs = [0] * ((pages + bits - 1) // bits)
    for number in present:
        longs[number // bits] |= 1 << number % bits
    order = "big" if host_long.big_endian else "little"
    return b"".join(value.to_bytes(host_long.size, order) for value in longs)


@dataclass(frozen=True)
class Block:
    """A RAM block: its memory, whose zero pages are absent, and what is odd about it."""

    idstr: bytes
    memory: bytes
    stale: dict[int, bytes] = field(default_factory=dict)
    ignored: bool = False
    region_address: int | None = None
    postcopy_page_size: int | None = None
    tail: frozenset[int] = frozenset()

    def present(self, page_size: int) -> set[int]:
        return {
            number
            for number in range(len(self.memory) // page_size)
            if any(self.memory[number * page_size : (number + 1) * page_size])
        }


def uint(name: str, size: int = 4, **more: Any) -> dict[str, Any]:
    """A field of a vmdesc."""
    return {"name": name, "type": f"uint{size * 8}", "size": size, **more}


def device(
    name: str, size: int, *, instance_id: int = 0, subsections: Any = None
) -> dict[str, Any]:
    """An entry of a vmdesc's `devices` whose fields take size bytes."""
    entry: dict[str, Any] = {
        "name": name,
        "instance_id": instance_id,
        "vmsd_name": name,
        "version": 1,
        "fields": [{"name": "state", "type": "buffer", "size": size}],
    }
    if subsections is not None:
        entry["subsections"] = subsections
    return entry


class StreamBuilder:
    """Appends to data; base is where the stream starts in the file, align that of the pages."""

    def __init__(
        self,
        *,
        base: int = 0,
        page_size: int = 256,
        align: int = 512,
        host_long: HostLong = HostLong.LITTLE_64,
        ignore_shared: bool = False,
    ) -> None:
        self.base = base
        self.page_size = page_size
        self.align = align
        self.host_long = host_long
        self.ignore_shared = ignore_shared
        self.data = bytearray()
        self.parts: list[Part] = []

    @property
    def offset(self) -> int:
        """Where the next byte goes in the file."""
        return self.base + len(self.data)

    def file(self) -> bytes:
        """The whole file, with what lies before the stream."""
        return b"\xa5" * self.base + bytes(self.data)

    def put(self, kind: str, data: bytes) -> StreamBuilder:
        """Append data as one part."""
        if data:
            self.parts.append((kind, self.offset, len(data)))
        self.data += data
        return self

    # -- around the RAM -------------------------------------------------------------------------

    def header(self, version: int = 3) -> StreamBuilder:
        self.put("file_header", stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", version)))
        return self

    def configuration(
        self,
        machine: bytes = b"pc-i440fx-11.1",
        capabilities: tuple[bytes, ...] | None = (b"mapped-ram",),
        *,
        page_bits: int | None = None,
        uuid: bytes | None = None,
    ) -> StreamBuilder:
        value = stream.Configuration(SectionType.CONFIGURATION, machine)
        self.put("configuration", stream.CONFIGURATION.build(value))
        if page_bits is not None:
            self.subsection(b"configuration/target-page-bits")
            bits = stream.TARGET_PAGE_BITS.build(stream.TargetPageBits(page_bits))
            self.put("target_page_bits", bits)
        if capabilities is not None:
            self.subsection(b"configuration/capabilities")
            count = stream.Capabilities(len(capabilities))
            self.put("capabilities", stream.CAPABILITIES.build(count))
            for name in capabilities:
                self.put("capability", stream.CAPABILITY.build(stream.Capability(name)))
        if uuid is not None:
            self.subsection(b"configuration/uuid")
            self.put("uuid", stream.UUID.build(stream.Uuid(uuid)))
        return self

    def subsection(self, idstr: bytes, version: int = 1) -> StreamBuilder:
        value = stream.Subsection(SectionType.SUBSECTION, idstr, version)
        self.put("subsection", stream.SUBSECTION.build(value))
        return self

    def start(
        self,
        section_id: int,
        idstr: bytes,
        *,
        full: bool = False,
        instance_id: int = 0,
        version: int = 4,
    ) -> StreamBuilder:
        kind = SectionType.SECTION_FULL if full else SectionType.SECTION_START
        value = stream.SectionHeader(kind, section_id, idstr, instance_id, version)
        self.put(kind.name.lower(), stream.SECTION.build(value))
        return self

    def part(self, section_id: int, *, end: bool = False) -> StreamBuilder:
        kind = SectionType.SECTION_END if end else SectionType.SECTION_PART
        self.put(kind.name.lower(), stream.SECTION_PART.build(stream.SectionPart(kind, section_id)))
        return self

    def footer(self, section_id: int) -> StreamBuilder:
        value = stream.SectionFooter(SectionType.SECTION_FOOTER, section_id)
        self.put("section_footer", stream.SECTION_FOOTER.build(value))
        return self

    def full(
        self,
        section_id: int,
        idstr: bytes,
        body: bytes,
        *,
        instance_id: int = 0,
        footer: bool = True,
    ) -> StreamBuilder:
        """A whole device section."""
        self.start(section_id, idstr, full=True, instance_id=instance_id, version=1)
        self.put("device", body)
        return self.footer(section_id) if footer else self

    def command(self, command: int, data: bytes = b"") -> StreamBuilder:
        value = stream.Command(SectionType.COMMAND, command, data)
        self.put("command", stream.COMMAND.build(value))
        return self

    def eof(self) -> StreamBuilder:
        self.put("eof", stream.EOF.build(stream.Eof(SectionType.EOF)))
        return self

    def vmdesc(self, document: Any) -> StreamBuilder:
        """The description; bytes are taken as they are."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        value = stream.Vmdescription(SectionType.VMDESCRIPTION, len(raw))
        self.put("vmdescription", stream.VMDESCRIPTION.build(value))
        self.put("vmdescription_json", raw)
        return self

    def described(self, *devices: dict[str, Any], page_size: int | None = None) -> StreamBuilder:
        """EOF and a description of devices."""
        document = {"configuration": {}, "page_size": page_size or self.page_size}
        return self.eof().vmdesc({**document, "devices": list(devices)})

    # -- RAM records ----------------------------------------------------------------------------

    def word(self, kind: str, flags: int, address: int = 0) -> StreamBuilder:
        self.put(kind, ram.RAM_RECORD.build(ram.RamRecord(address | flags)))
        return self

    def eos(self) -> StreamBuilder:
        return self.word("eos", RamSaveFlag.EOS)

    def mem_size(self, *blocks: Block) -> StreamBuilder:
        total = sum(len(block.memory) for block in blocks)
        return self.word("mem_size", RamSaveFlag.MEM_SIZE, total)

    def entry(self, block: Block) -> StreamBuilder:
        """The list entry of a block, up to where a header would be."""
        value = ram.BlockEntry(block.idstr, len(block.memory))
        self.put("block", ram.BLOCK_ENTRY.build(value))
        if block.postcopy_page_size is not None:
            size = ram.PostcopyPageSize(block.postcopy_page_size)
            self.put("postcopy_page_size", ram.POSTCOPY_PAGE_SIZE.build(size))
        if self.ignore_shared:
            address = ram.RegionAddress(block.region_address or 0)
            self.put("region_address", ram.REGION_ADDRESS.build(address))
        return self

    def mapped_header(self, bitmap_offset: int, pages_offset: int, **more: int) -> StreamBuilder:
        value = ram.MappedRamHeader(
            more.get("version", 1), more.get("page_size", self.page_size),
            bitmap_offset, pages_offset,
        )  # fmt: skip
        self.put("mapped_ram_header", ram.MAPPED_RAM_HEADER.build(value))
        return self

    def mapped(self, block: Block, *, shift: int = 0) -> StreamBuilder:
        """A block of the fixed layout, with bitmap and pages; shift makes its offsets wrong."""
        self.entry(block)
        if block.ignored:
            return self.mapped_header(0, 0)
        present = block.present(self.page_size)
        count = len(block.memory) // self.page_size
        bits = bitmap_bytes(present | set(block.tail), count, self.host_long)
        bitmap_offset = self.offset + ram.MAPPED_RAM_HEADER.size
        pages_offset = -(-(bitmap_offset + len(bits)) // self.align) * self.align
        self.mapped_header(bitmap_offset + shift, pages_offset + shift)
        self.put("bitmap", bits)
        self.put("padding", bytes(pages_offset - self.offset))
        self._pages(block, present, count)
        return self

    def _pages(self, block: Block, present: set[int], count: int) -> None:
        """Maximal runs of present and of absent pages as one part each."""
        size = self.page_size
        first = 0
        for number in range(1, count + 1):
            if number < count and (number in present) == (first in present):
                continue
            run = b"".join(
                block.memory[at * size : (at + 1) * size]
                if at in present
                else block.stale.get(at, bytes(size))
                for at in range(first, number)
            )
            self.put("pages", run)
            first = number
        self.put("pages", block.memory[count * size :])

    def mapped_ram(self, *blocks: Block, section_id: int = 2, parts: int = 1) -> StreamBuilder:
        """The whole ram section of a mapped image: START with the layout, PARTs, END."""
        self.start(section_id, b"ram").mem_size(*blocks)
        for block in blocks:
            self.mapped(block)
        self.eos().footer(section_id)
        for _ in range(parts):
            self.part(section_id).eos().footer(section_id)
        return self.part(section_id, end=True).eos().footer(section_id)

    def listed(self, *blocks: Block) -> StreamBuilder:
        """MEM_SIZE and the list of an ordinary stream."""
        self.mem_size(*blocks)
        for block in blocks:
            self.entry(block)
        return self

    def record(
        self, kind: str, address: int, payload: bytes, idstr: bytes | None = None
    ) -> StreamBuilder:
        """A record with a page; without idstr it has CONTINUE. Parts: one a record."""
        flags = RamSaveFlag[kind.upper()] | (RamSaveFlag.CONTINUE if idstr is None else 0)
        data = ram.RAM_RECORD.build(ram.RamRecord(address | flags))
        if idstr is not None:
            data += ram.PAGE_IDSTR.build(ram.PageIdstr(idstr))
        if kind == "xbzrle":
            data += ram.XBZRLE_PAGE.build(ram.XbzrlePage(1, len(payload)))
        elif kind == "compress_page":
            data += ram.COMPRESS_PAGE.build(ram.CompressPage(len(payload)))
        self.put(kind, data + payload)
        return self


def tiny_image(**options: Any) -> StreamBuilder:
    """A mapped image of some 4 KiB: two blocks, two devices, a description."""
    size = options.get("page_size", 256)
    first = Block(
        b"pc.ram",
        page(1, size) * 2 + bytes(size) * 2 + page(2, size) + bytes(size),
        stale={3: page(9, size)},
    )
    second = Block(b"/rom@etc/acpi/tables", bytes(size) + page(3, size))
    builder = StreamBuilder(**options).header().configuration()
    builder.mapped_ram(first, second)
    builder.command(11)
    builder.full(3, b"timer", bytes(range(20)))
    builder.full(4, b"0000:00:02.0/vga", b"\x7e" * 30)
    return builder.described(device("timer", 20), device("0000:00:02.0/vga", 30))


def ordinary_image(page_size: int = 256) -> StreamBuilder:
    """An ordinary stream of some KiB with every kind of page record."""
    blocks = (Block(b"pc.ram", bytes(page_size * 16)), Block(b"vga", bytes(page_size * 4)))
    builder = StreamBuilder(page_size=page_size).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(*blocks).eos().footer(2)
    builder.part(2)
    builder.record("page", 0, page(1, page_size), b"pc.ram")
    for number in (1, 2, 3, 7):
        builder.record("page", number * page_size, page(number + 1, page_size))
    builder.record("zero", 0, b"\0", b"vga")
    builder.record("zero", page_size, b"\0")
    builder.record("zero", page_size * 2, b"\x01")
    if page_size > RamSaveFlag.MULTIFD_FLUSH:
        builder.word("multifd_flush", RamSaveFlag.MULTIFD_FLUSH)
    builder.eos().footer(2)
    builder.part(2, end=True)
    builder.record("xbzrle", page_size, b"\x02\x01\xff", b"pc.ram")
    if page_size > 256:
        builder.record("compress_page", page_size * 2, b"zlib?")
    builder.eos().footer(2)
    builder.full(3, b"timer", bytes(range(20)))
    return builder.described(device("timer", 20))
