"""RAM records: those that are nothing but a word, and the mask of their flags."""

from __future__ import annotations

from typing import Any

import pytest

from fixedram_fmt import Image
from fixedram_fmt.schema.ram import RamSaveFlag
from support.builders import Block, StreamBuilder, complete, open_bytes, page

BLOCKS = (Block(b"a", page(1, 4096) + bytes(4096)), Block(b"b", bytes(4096) + page(2, 4096)))


@pytest.mark.parametrize("flag", ["HOOK", "FULL", "MULTIFD_FLUSH"])
def test_bare_records_are_kept(flag: str) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    builder.word(flag.lower(), RamSaveFlag[flag]).eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert complete(image)
        assert flag.lower() in [str(record.kind) for record in image.records()]


@pytest.mark.parametrize("flags", [0, 0x18, 0x0A, 0x14, 0x400, 0x20, 0xFFF])
def test_unknown_flags_stop_the_walk_where_they_are(flags: int) -> None:
    builder = StreamBuilder(page_size=4096).header().configuration(capabilities=None)
    builder.start(2, b"ram").listed(Block(b"a", bytes(4096)))
    at = builder.offset
    builder.word("?", flags, 0x5000).eos().footer(2)
    with open_bytes(builder.described().file()) as image:
        assert image.stopped is not None
        assert image.stopped.offset == at


@pytest.mark.parametrize("size", [256, 512, 1024, 4096, 8192, 65536])
@pytest.mark.parametrize("capability", [b"mapped-ram", b"fixed-ram"])
def test_flag_mask_follows_the_page_size_of_the_header(size: int, capability: bytes) -> None:
    """3 pages: the sum in MEM_SIZE has bits that would be flags with a larger page size."""
    blocks = [Block(b"one", page(1, size)), Block(b"two", bytes(size) + page(2, size))]
    builder = StreamBuilder(page_size=size, align=size).header().configuration(b"m", (capability,))
    builder.mapped_ram(*blocks).described()
    with open_bytes(builder.file()) as image:
        assert complete(image)
        assert image.target_page_size == size
        assert [block.page_size for block in image.blocks] == [size, size]
        assert [block.used_length for block in image.blocks] == [size, 2 * size]


def kinds(image: Image) -> list[Any]:
    return [str(record.kind) for record in image.records()]


def test_records_come_in_the_order_they_were_written() -> None:
    builder = StreamBuilder(page_size=4096, align=4096).header().configuration()
    builder.mapped_ram(*BLOCKS, parts=3).described()
    with open_bytes(builder.file()) as image:
        assert [(str(r.kind), r.offset, r.length) for r in image.records()] == [
            part for part in builder.parts if part[0] not in ("bitmap", "padding", "pages")
        ]
        assert kinds(image) == kinds(image)
