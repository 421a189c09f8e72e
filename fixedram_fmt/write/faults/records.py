"""Faults of the RAM records: MEM_SIZE, flags, EOS, and the entries of the block list."""

from __future__ import annotations

from fixedram_fmt.schema.ram import RamRecord, RamSaveFlag
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import FixedBlock, Structure
from fixedram_fmt.write.faults.fault import Elements, Outcome, Pieces, on_elements, on_pieces

LOADS, REFUSES, WRONG = Outcome.LOADS, Outcome.REFUSES, Outcome.WRONG_MEMORY
CRASHES = Outcome.CRASHES


def _record(e: Elements, word: int) -> None:
    """A RAM record of its own in the first PART."""
    e.insert(e.index(Kind.SECTION_PART) + 1, Structure(Kind.EOS, "fault", RamRecord(word)))


def _flag(name: str, flag: int, text: str) -> None:
    @on_elements(f"flag-{name}", text, REFUSES)
    def _(e: Elements) -> None:
        _record(e, flag)


_flag("zero", RamSaveFlag.ZERO, "a ZERO record, which only ordinary streams have")
_flag("page", RamSaveFlag.PAGE, "a PAGE record, which only ordinary streams have")
_flag("xbzrle", RamSaveFlag.XBZRLE, "an XBZRLE record, which only ordinary streams have")
_flag("hook", RamSaveFlag.HOOK, "a HOOK record, which only RDMA has")
_flag("compress-page", RamSaveFlag.COMPRESS_PAGE, "a COMPRESS_PAGE record, gone since 9.1")
_flag("multifd-flush", RamSaveFlag.MULTIFD_FLUSH, "a MULTIFD_FLUSH, which the file needs not")
_flag("full", RamSaveFlag.FULL, "the obsolete flag FULL")
_flag("unknown", 0x400, "a flag that nobody has defined")
_flag("combined", RamSaveFlag.ZERO | RamSaveFlag.MULTIFD_FLUSH, "two flags that exclude each other")
_flag("none", 0, "a record without any flag")


@on_elements("no-mem-size", "the RAM section has no list of blocks", WRONG)
def _(e: Elements) -> None:
    start, stop = e.index(Kind.MEM_SIZE), e.index(Kind.EOS)
    del e.items[start:stop]


@on_elements("mem-size-too-large", "MEM_SIZE announces a page more than the blocks have", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word + e.page_size)


@on_elements("mem-size-too-small", "MEM_SIZE announces a page less than the blocks have", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word - e.page_size)


@on_elements("mem-size-huge", "MEM_SIZE announces almost 2^64 bytes", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.MEM_SIZE, word=((1 << 64) - e.page_size) | RamSaveFlag.MEM_SIZE)


@on_elements("mem-size-continued", "MEM_SIZE with CONTINUE set, which means nothing there", LOADS)
def _(e: Elements) -> None:
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word | RamSaveFlag.CONTINUE)


@on_elements("mem-size-twice", "the list of blocks comes a second time, empty", LOADS)
def _(e: Elements) -> None:
    _record(e, int(RamSaveFlag.MEM_SIZE))


@on_elements("no-eos", "the RAM section has no EOS", REFUSES)
def _(e: Elements) -> None:
    e.remove(Kind.EOS)


@on_elements("eos-with-address", "an EOS that carries an address", LOADS)
def _(e: Elements) -> None:
    e.change(Kind.EOS, word=0x123000 | RamSaveFlag.EOS)


# -- entries of the list --------------------------------------------------------------------------


@on_elements("unknown-block", "a block the receiver has not", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.BLOCK, idstr=b"imagined.ram")


@on_elements("hostile-block", "a block called like a path out of the folder", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.BLOCK, idstr=b"../../../tmp/owned")


@on_elements("escaping-block", "a block whose name clears the screen", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.BLOCK, idstr=b"\x1b[2J\x1b[31m[red]\x9b\xff")


@on_elements("empty-block-name", "a block with no name", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.BLOCK, idstr=b"")


@on_elements("long-block-name", "a block with a name of 255 bytes", REFUSES)
def _(e: Elements) -> None:
    e.change(Kind.BLOCK, idstr=b"n" * 255)


@on_elements("no-blocks", "a list without blocks", WRONG)
def _(e: Elements) -> None:
    start, stop = e.index(Kind.MEM_SIZE) + 1, e.index(Kind.EOS)
    del e.items[start:stop]
    e.change(Kind.MEM_SIZE, word=int(RamSaveFlag.MEM_SIZE))


@on_elements("missing-block", "the last block is not in the image", WRONG, blocks=2)
def _(e: Elements) -> None:
    entry = e.index(Kind.BLOCK, -1)
    length = e.value(Kind.BLOCK, -1).used_length
    stop = next(i for i in range(entry, len(e.items)) if isinstance(e.items[i], FixedBlock)) + 1
    del e.items[entry:stop]
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word - length)


@on_elements("duplicate-block", "the first block is there twice", LOADS)
def _(e: Elements) -> None:
    entry = e.index(Kind.BLOCK)
    stop = next(i for i in range(entry, len(e.items)) if isinstance(e.items[i], FixedBlock)) + 1
    length = e.value(Kind.BLOCK).used_length
    e.insert(stop, *e.items[entry:stop])
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word + length)


@on_elements("used-length-short", "the last block is shorter than the receiver's", WRONG)
def _(e: Elements) -> None:
    length = e.value(Kind.BLOCK, -1).used_length
    half = length // 2 // e.page_size * e.page_size
    e.change(Kind.BLOCK, -1, used_length=half)
    e.change(Kind.MEM_SIZE, word=e.value(Kind.MEM_SIZE).word - length + half)
    _cut_pages(e, half)


def _cut_pages(e: Elements, length: int) -> None:
    """The last block's bitmap and pages, as they are for a block of length bytes."""
    from dataclasses import replace

    from fixedram_fmt.write.patterns import MadeBitmap, MadePages, Memory

    index = e.index(Kind.MAPPED_RAM_HEADER, -1)
    block = e.items[index]
    if not isinstance(block, FixedBlock) or not isinstance(block.bitmap, MadeBitmap):
        return
    memory = block.bitmap.memory
    if not isinstance(memory, Memory):
        return
    memory = replace(memory, pages=length // block.header.page_size)
    e.items[index] = replace(
        block, bitmap=replace(block.bitmap, memory=memory), pages=MadePages(memory)
    )


@on_pieces("used-length-long", "the last block is a page longer than the receiver's", REFUSES)
def _(p: Pieces) -> None:
    value = p.piece(Kind.BLOCK, -1).value
    p.change(Kind.BLOCK, -1, used_length=value.used_length + p.page_size)
    p.change(Kind.MEM_SIZE, word=p.piece(Kind.MEM_SIZE).value.word + p.page_size)


@on_pieces("used-length-unaligned", "a block of half a page more", REFUSES)
def _(p: Pieces) -> None:
    value = p.piece(Kind.BLOCK).value
    p.change(Kind.BLOCK, used_length=value.used_length + p.page_size // 2)


@on_pieces("used-length-zero", "a block of no bytes", REFUSES)
def _(p: Pieces) -> None:
    p.change(Kind.BLOCK, used_length=0)


@on_pieces("used-length-huge", "a block of 2^63 bytes", CRASHES)
def _(p: Pieces) -> None:
    p.change(Kind.BLOCK, used_length=1 << 63)
