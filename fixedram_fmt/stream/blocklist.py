"""The list of RAM blocks behind MEM_SIZE, and the header of the fixed layout behind each entry.

Upstream: QEMU migration/ram.c parse_ramblocks(), parse_ramblock(), parse_ramblock_mapped_ram().
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.blocks import RamBlock
from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.ram import is_page_size
from fixedram_fmt.stream.ramstate import ADDRESS_CEILING, RamState
from fixedram_fmt.stream.records import Cursor, Kind, Record
from fixedram_fmt.stream.successors import block_list_can_go_on

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = [
    "BLOCKS_CEILING",
    "block_list",
    "looks_like_header",
    "page_size_of_first_header",
]

#: More RAM blocks than any machine has; beyond it a list is damage.
BLOCKS_CEILING = 65536


def block_list(cursor: Cursor, state: RamState, path: str, here: str) -> Iterator[Record[Any]]:
    """MEM_SIZE and the entries after it, until their lengths sum up to what it says."""
    mem_size = cursor.take(ram.RAM_RECORD, Kind.MEM_SIZE, here)
    yield mem_size
    remaining = mem_size.value.word & ~(state.page_size - 1)
    while remaining > 0:
        if cursor.peek(1) == b"\0":
            state.note(
                cursor.offset,
                here,
                f"the list of blocks ends {remaining} bytes short of the sum in MEM_SIZE",
                "list-short",
            )
            return
        if cursor.offset in state.visited or len(state.blocks) >= BLOCKS_CEILING:
            raise FormatError(
                "the list of RAM blocks does not end",
                code="list-endless",
                offset=cursor.offset,
                path=here,
                expected=f"at most {BLOCKS_CEILING} blocks, each read once",
            )
        state.visited.add(cursor.offset)
        block_path = f"{path}/block[{len(state.blocks)}]"
        cursor.block = len(state.blocks)
        block = yield from _block(cursor, state, block_path)
        cursor.block = None
        if block.used_length > remaining:
            state.note(
                block.entry_offset,
                block_path,
                f"used_length exceeds what is left of the sum in MEM_SIZE ({remaining} bytes)",
                "list-long",
            )
        remaining -= block.used_length
        if block.has_pages:
            _jump_behind_pages(cursor, state, block)
    state.listed = True


def _jump_behind_pages(cursor: Cursor, state: RamState, block: RamBlock) -> None:
    """The stream goes on after the pages, wherever the header says that is."""
    if block.pages_offset < cursor.offset:
        state.note(
            block.header_offset or block.entry_offset,
            block.path,
            f"pages_offset {block.pages_offset:#x} points back into the stream",
        )
    if block.pages_offset < 0:
        raise FormatError(
            "the pages would lie before the file",
            code="pages-past-end",
            offset=block.header_offset,
            path=block.path,
            expected="an offset of the file",
            found=str(block.pages_offset),
        )
    if block.pages_stop > cursor.source.size:
        raise TruncatedError(
            "the file ends inside the pages of a RAM block",
            code="pages-past-end",
            offset=cursor.source.size,
            path=block.path,
            expected=f"pages up to {block.pages_stop:#x}",
            found=f"the end of the file at {cursor.source.size:#x}",
        )
    cursor.offset = block.pages_stop


def _block(cursor: Cursor, state: RamState, path: str) -> Generator[Record[Any], None, RamBlock]:
    entry = cursor.take(ram.BLOCK_ENTRY, Kind.BLOCK, f"{path}/entry")
    yield entry
    block = RamBlock(
        index=len(state.blocks),
        path=path,
        idstr=c_string(entry.value.idstr),
        used_length=entry.value.used_length,
        page_size=state.page_size,
        entry_offset=entry.offset,
    )
    if _postcopy_page_size_follows(cursor, state):
        size = cursor.take(ram.POSTCOPY_PAGE_SIZE, Kind.POSTCOPY_PAGE_SIZE, f"{path}/page_size")
        yield size
        block = replace(block, postcopy_page_size=size.value.page_size)
    if state.ignore_shared:
        address = cursor.take(ram.REGION_ADDRESS, Kind.REGION_ADDRESS, f"{path}/region_address")
        yield address
        block = replace(block, region_address=address.value.region_address)
    # Known from here on, even when the file ends before its header does.
    state.blocks.append(block)
    if state.mapped:
        header = cursor.take(ram.MAPPED_RAM_HEADER, Kind.MAPPED_RAM_HEADER, f"{path}/header")
        if not state.bias_known:
            state.offset_bias = _offset_bias(cursor, header, block.used_length)
        block = state.blocks[-1] = _with_header(block, header, state.offset_bias)
        state.bias_known |= block.has_pages
        yield header
    return block


def _with_header(
    block: RamBlock, header: Record[ram.MappedRamHeader], offset_bias: int
) -> RamBlock:
    value = header.value
    bias = offset_bias if value.bitmap_offset or value.pages_offset else 0
    return replace(
        block,
        mapped=True,
        page_size=value.page_size if is_page_size(value.page_size) else block.page_size,
        header_offset=header.offset,
        header_version=value.version,
        header_page_size=value.page_size,
        bitmap_offset=value.bitmap_offset - bias,
        pages_offset=value.pages_offset - bias,
    )


def _offset_bias(cursor: Cursor, header: Record[ram.MappedRamHeader], used_length: int) -> int:
    """By how much the offsets in the first header are wrong, 0 when they are right.

    QEMU puts the bitmap right after the header.  Where the header points elsewhere, and only that
    difference leads to something that can follow the block's pages, the image was moved without
    its offsets.
    """
    bias = header.value.bitmap_offset - header.stop
    if bias == 0 or not header.value.bitmap_offset:
        return 0
    if header.value.pages_offset - bias < 0:
        return 0
    after = header.value.pages_offset + used_length - cursor.offset
    if block_list_can_go_on(cursor, after) or not block_list_can_go_on(cursor, after - bias):
        return 0
    return bias


def looks_like_header(cursor: Cursor, ahead: int) -> ram.MappedRamHeader | None:
    """The MappedRamHeader ahead bytes from here, if what lies there can be one."""
    try:
        header = cursor.look(ram.MAPPED_RAM_HEADER, Kind.MAPPED_RAM_HEADER, "", ahead).value
    except FormatError:
        return None
    known = header.version == ram.MAPPED_RAM_HDR_VERSION
    return header if known and is_page_size(header.page_size) else None


def _postcopy_page_size_follows(cursor: Cursor, state: RamState) -> bool:
    """Whether a u64 page size stands before what must follow the entry.

    Nothing in the stream says that postcopy-ram was on, so it is told from the bytes: with a fixed
    layout by where the header is, otherwise by a power of two that is neither a name's length
    (its first byte is 0) nor a RAM record (it has no flag).
    """
    address = ram.REGION_ADDRESS.size if state.ignore_shared else 0
    if state.mapped:
        size = ram.POSTCOPY_PAGE_SIZE.size
        return (
            looks_like_header(cursor, address) is None
            and looks_like_header(cursor, address + size) is not None
        )
    try:
        value = cursor.look(ram.POSTCOPY_PAGE_SIZE, Kind.POSTCOPY_PAGE_SIZE, "").value.page_size
    except TruncatedError:
        return False
    if value <= ram.TARGET_PAGE_SIZE_MAX or value & (value - 1) or value >= ADDRESS_CEILING:
        return False
    # An address can be a power of two as well: what follows decides.
    return not (state.ignore_shared and block_list_can_go_on(cursor, address))


def page_size_of_first_header(cursor: Cursor, state: RamState) -> int | None:
    """The page size that the first block's header names, before the list is read."""
    if not state.mapped:
        return None
    here = ram.RAM_RECORD.size
    try:
        entry = cursor.look(ram.BLOCK_ENTRY, Kind.BLOCK, "", here)
    except FormatError:
        return None
    here += entry.length + (ram.REGION_ADDRESS.size if state.ignore_shared else 0)
    for ahead in (here, here + ram.POSTCOPY_PAGE_SIZE.size):
        header = looks_like_header(cursor, ahead)
        if header is not None:
            return header.page_size
    return None
