"""Small images made by the writer, in memory; builders.py makes them without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt import Image, Source
from fixedram_fmt.container.bare import at_offset
from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.write.faults import Fault

__all__ = ["PAGE", "image_of", "made", "ordinary", "ram_word"]

PAGE = 4096


def made(*, faults: Sequence[Fault] = (), **spec: Any) -> bytes:
    """The bytes of a synthesised image; small unless the spec says otherwise."""
    document = {
        "blocks": [
            {"name": "pc.ram", "size": 8 * PAGE, "pattern": "counter", "density": 0.5},
            {"name": "pc.rom", "size": 2 * PAGE, "pattern": "text"},
        ],
        "align": PAGE,
        "devices": [{"name": "timer", "data": "00" * 24}, {"name": "cpu", "data": "7e" * 40}],
        **spec,
    }
    output = BufferOutput()
    write_image(spec_from(document), output, faults)
    return bytes(output.data)


def image_of(raw: bytes, offset: int = 0) -> Image:
    """An Image on bytes in memory."""
    source = Source.from_buffer(raw)
    return Image(source, at_offset(source, offset))


def ram_word(address: int, *flags: RamSaveFlag) -> bytes:
    """The u64 of a RAM record."""
    word = address
    for flag in flags:
        word |= flag
    return ram.RAM_RECORD.build(ram.RamRecord(word))


def ordinary(records: bytes, *, length: int = 64 * PAGE) -> bytes:
    """An ordinary stream with one block `pc.ram` and the given RAM records in its START."""
    footer = stream.SectionFooter(SectionType.SECTION_FOOTER, 1)
    return b"".join([
        stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3)),
        stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc")),
        stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 1, b"ram", 0, 4)),
        ram_word(length, RamSaveFlag.MEM_SIZE),
        ram.BLOCK_ENTRY.build(ram.BlockEntry(b"pc.ram", length)),
        records,
        ram_word(0, RamSaveFlag.EOS),
        stream.SECTION_FOOTER.build(footer),
        stream.EOF.build(stream.Eof(SectionType.EOF)),
    ])  # fmt: skip
