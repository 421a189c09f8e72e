"""The body of a `ram` section: block list, fixed layout headers, and records of ordinary streams.

Upstream: QEMU migration/ram.c ram_load_precopy(), parse_ramblocks(), parse_ramblock(),
parse_ramblock_mapped_ram(), ram_block_from_stream().
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.bitmap import PageSet
from fixedram_fmt.blocks import Note, RamBlock
from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.records import Cursor, Kind, PageRun, Record
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.ram import RamSaveFlag, is_page_size

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["BLOCKS_CEILING", "DEFAULT_PAGE_SIZE", "RamState", "walk_ram"]

#: More RAM blocks than any machine has; beyond it a list is damage.
BLOCKS_CEILING = 65536

#: Target page size of most machines, used while the stream has not told.
DEFAULT_PAGE_SIZE = 4096

#: Sizes tried where nothing tells: the usual one, the larger ones, then the smaller.
_LIKELY_SIZES = (4096, 8192, 16384, 32768, 65536, 2048, 1024, 512, 256)

#: No guest has memory at such addresses: a word beyond is page data, not a record.
_ADDRESS_CEILING = 1 << 52

_NOTES_CEILING = 1000

_PAGE_FLAGS = int(
    RamSaveFlag.ZERO | RamSaveFlag.PAGE | RamSaveFlag.COMPRESS_PAGE | RamSaveFlag.XBZRLE
)

#: Records that are nothing but their word.
_BARE: dict[int, Kind] = {
    RamSaveFlag.EOS: Kind.EOS,
    RamSaveFlag.MULTIFD_FLUSH: Kind.MULTIFD_FLUSH,
    RamSaveFlag.HOOK: Kind.HOOK,
    RamSaveFlag.FULL: Kind.FULL,
}

#: How far the records of one run are looked for at a time: records at first, bytes at most.
_FIRST_LOOK = 4
_RUN_WINDOW = 1 << 20


@dataclass(slots=True)
class RamState:
    """What the records of a RAM section mean depends on this; grows while the stream is walked."""

    mapped: bool = False
    ignore_shared: bool = False
    target_page_size: int | None = None
    blocks: list[RamBlock] = field(default_factory=list)
    page_sets: dict[bytes, PageSet] = field(default_factory=dict)
    last_idstr: bytes | None = None
    #: By how much all offsets in the headers are wrong: the image was cut out of its container.
    offset_bias: int = 0
    notes: list[Note] = field(default_factory=list)

    @property
    def page_size(self) -> int:
        """The target's page size, or the usual one while it is unknown."""
        return self.target_page_size or DEFAULT_PAGE_SIZE

    def note(self, offset: int, path: str, message: str) -> None:
        """Remember something odd; a hostile file does not get to fill memory with oddities."""
        if len(self.notes) < _NOTES_CEILING:
            self.notes.append(Note(offset, path, message))


def walk_ram(cursor: Cursor, state: RamState, path: str) -> Iterator[Record[Any]]:
    """Every record from here to the EOS that ends this section's RAM part."""
    number = 0
    while True:
        word = cursor.look(ram.RAM_RECORD, Kind.EOS, f"{path}/record[{number}]").value.word
        if state.target_page_size is None and word & RamSaveFlag.MEM_SIZE:
            state.target_page_size = _page_size_of_first_header(cursor, state)
        flags = word & (state.page_size - 1)
        kind = flags & ~int(RamSaveFlag.CONTINUE)
        here = f"{path}/record[{number}]"
        if kind == RamSaveFlag.MEM_SIZE:
            yield from _block_list(cursor, state, path, here)
        elif kind in _BARE:
            yield cursor.take(ram.RAM_RECORD, _BARE[kind], here)
            if kind == RamSaveFlag.EOS:
                return
        elif kind & _PAGE_FLAGS and kind & (kind - 1) == 0:
            yield _page_record(cursor, state, flags, here)
        else:
            raise FormatError(
                "unknown combination of RAM_SAVE_FLAG bits",
                offset=cursor.offset,
                path=here,
                expected="one of MEM_SIZE, EOS, PAGE, ZERO, ...",
                found=f"{word:#x} (flags {flags:#x})",
            )
        number += 1


# -- the list of blocks ---------------------------------------------------------------------------


def _block_list(cursor: Cursor, state: RamState, path: str, here: str) -> Iterator[Record[Any]]:
    """MEM_SIZE and the entries behind it, until their lengths sum up to what it says."""
    mem_size = cursor.take(ram.RAM_RECORD, Kind.MEM_SIZE, here)
    yield mem_size
    remaining = mem_size.value.word & ~(state.page_size - 1)
    visited: set[int] = set()
    while remaining > 0:
        if cursor.peek(1) == b"\0":
            state.note(
                cursor.offset,
                here,
                f"the list of blocks ends {remaining} bytes short of the sum in MEM_SIZE",
            )
            return
        if cursor.offset in visited or len(state.blocks) >= BLOCKS_CEILING:
            raise FormatError(
                "the list of RAM blocks does not end",
                offset=cursor.offset,
                path=here,
                expected=f"at most {BLOCKS_CEILING} blocks, each read once",
            )
        visited.add(cursor.offset)
        block_path = f"{path}/block[{len(state.blocks)}]"
        block = yield from _block(cursor, state, block_path)
        if block.used_length > remaining:
            state.note(
                block.entry_offset,
                block_path,
                f"used_length exceeds what is left of the sum in MEM_SIZE ({remaining} bytes)",
            )
        remaining -= block.used_length
        if block.has_pages:
            _jump_behind_pages(cursor, state, block)
    if not state.mapped:
        lengths = {block.idstr: block.used_length for block in state.blocks}
        state.page_sets = PageSet.for_blocks(lengths, state.page_size)


def _jump_behind_pages(cursor: Cursor, state: RamState, block: RamBlock) -> None:
    """The stream goes on behind the pages, wherever the header says that is."""
    if block.pages_offset < cursor.offset:
        state.note(
            block.header_offset or block.entry_offset,
            block.path,
            f"pages_offset {block.pages_offset:#x} points back into the stream",
        )
    if block.pages_stop < 0:
        raise FormatError(
            "the stream would go on before the file",
            offset=block.header_offset,
            path=block.path,
            expected="an offset of the file",
            found=str(block.pages_stop),
        )
    if block.pages_stop > cursor.source.size:
        raise TruncatedError(
            "the file ends inside the pages of a RAM block",
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
        idstr=entry.value.idstr,
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
        if not any(before.has_pages for before in state.blocks):
            state.offset_bias = _offset_bias(cursor, header, block.used_length)
        block = state.blocks[-1] = _with_header(block, header, state.offset_bias)
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

    QEMU puts the bitmap right behind the header.  Where the header points elsewhere, and only that
    difference leads to something that can follow the block's pages, the image was moved without
    its offsets.
    """
    bias = header.value.bitmap_offset - header.stop
    if bias == 0 or not header.value.bitmap_offset:
        return 0
    behind = header.value.pages_offset + used_length - cursor.offset
    if _list_goes_on(cursor, behind) or not _list_goes_on(cursor, behind - bias):
        return 0
    return bias


def _list_goes_on(cursor: Cursor, ahead: int) -> bool:
    """Whether what can follow a block's entry or its pages lies ahead bytes from here."""
    if cursor.offset + ahead < 0 or ahead > cursor.remaining:
        return False
    try:
        word = cursor.look(ram.RAM_RECORD, Kind.EOS, "", ahead).value.word
        if _can_follow_list(word, ram.TARGET_PAGE_SIZE_MIN):
            return True
        name = cursor.look(ram.BLOCK_ENTRY, Kind.BLOCK, "", ahead).value.idstr
    except FormatError:
        return False
    return bool(name) and all(0x20 <= byte < 0x7F for byte in name)


def _can_follow_list(word: int, page_size: int) -> bool:
    """Whether word is EOS or begins exactly one page, at an address a guest can have."""
    flags = word & (page_size - 1) & ~int(RamSaveFlag.CONTINUE)
    one_page = flags & _PAGE_FLAGS != 0 and flags & (flags - 1) == 0
    return (one_page or flags == int(RamSaveFlag.EOS)) and word < _ADDRESS_CEILING


def _looks_like_header(cursor: Cursor, ahead: int) -> ram.MappedRamHeader | None:
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
            _looks_like_header(cursor, address) is None
            and _looks_like_header(cursor, address + size) is not None
        )
    try:
        value = cursor.look(ram.POSTCOPY_PAGE_SIZE, Kind.POSTCOPY_PAGE_SIZE, "").value.page_size
    except TruncatedError:
        return False
    if value <= ram.TARGET_PAGE_SIZE_MAX or value & (value - 1) or value >= _ADDRESS_CEILING:
        return False
    # An address can be a power of two as well: what follows decides.
    return not (state.ignore_shared and _list_goes_on(cursor, address))


def _page_size_of_first_header(cursor: Cursor, state: RamState) -> int | None:
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
        header = _looks_like_header(cursor, ahead)
        if header is not None:
            return header.page_size
    return None


# -- pages of an ordinary stream ------------------------------------------------------------------


def _page_record(cursor: Cursor, state: RamState, flags: int, path: str) -> Record[PageRun]:
    """A record that carries a page, and the run of like ones behind it."""
    start = cursor.offset
    word = cursor.take(ram.RAM_RECORD, Kind.PAGE, path).value.word
    address = word & ~(state.page_size - 1)
    if not flags & RamSaveFlag.CONTINUE:
        state.last_idstr = cursor.take(ram.PAGE_IDSTR, Kind.PAGE, f"{path}/idstr").value.idstr
    if state.last_idstr is None:
        raise FormatError(
            "CONTINUE without a block before it",
            offset=start,
            path=path,
            expected="the name of a block",
            hint="the stream's beginning is missing",
        )
    first = PageRun(state.last_idstr, address, 1, cursor.offset, 0)
    if flags & (RamSaveFlag.PAGE | RamSaveFlag.ZERO):
        kind = Kind.ZERO if flags & RamSaveFlag.ZERO else Kind.PAGE
        run = _run(cursor, state, kind, path, first)
    else:
        kind, length = _delta_length(cursor, flags, path)
        run = replace(first, data_offset=cursor.offset, stride=length)
        cursor.skip(length, kind, path, None)
    _account(state, run, path, start)
    return Record(kind, path, start, cursor.offset - start, run)


def _delta_length(cursor: Cursor, flags: int, path: str) -> tuple[Kind, int]:
    """Kind and payload length of an XBZRLE or COMPRESS_PAGE record, its header read."""
    if flags & RamSaveFlag.COMPRESS_PAGE:
        header = cursor.take(ram.COMPRESS_PAGE, Kind.COMPRESS_PAGE, path)
        return Kind.COMPRESS_PAGE, header.value.length
    delta = cursor.take(ram.XBZRLE_PAGE, Kind.XBZRLE, path)
    if delta.value.encoding != ram.ENCODING_FLAG_XBZRLE:
        raise FormatError(
            "unknown encoding of an XBZRLE page",
            offset=delta.offset,
            path=path,
            expected=str(ram.ENCODING_FLAG_XBZRLE),
            found=str(delta.value.encoding),
        )
    return Kind.XBZRLE, delta.value.length


def _run(cursor: Cursor, state: RamState, kind: Kind, path: str, first: PageRun) -> PageRun:
    """Lengthen a PAGE or ZERO record by the records that only count on from it."""
    fill = None
    if kind is Kind.ZERO:
        fill = cursor.take(ram.ZERO_PAGE, kind, path).value.fill
        payload = ram.ZERO_PAGE.size
    else:
        payload = _ordinary_page_size(cursor, state)
        cursor.skip(payload, kind, path, None)
    stride = ram.RAM_RECORD.size + payload
    flag = RamSaveFlag.ZERO if kind is Kind.ZERO else RamSaveFlag.PAGE
    word = first.address | flag | RamSaveFlag.CONTINUE
    followers = _count_followers(cursor, state, word, stride, fill)
    cursor.offset += followers * stride
    return replace(first, pages=1 + followers, stride=stride, fill=fill)


def _count_followers(
    cursor: Cursor, state: RamState, word: int, stride: int, fill: int | None
) -> int:
    """How many records from here on have the words that follow word, page by page.

    Only the words are looked at (and the fill of ZERO pages), a window of the file at a time.
    """
    word_size = ram.RAM_RECORD.size
    tail = b"" if fill is None else ram.ZERO_PAGE.build(ram.ZeroPage(fill))
    count = 0
    records = _FIRST_LOOK
    while True:
        # Most runs are short, some are gigabytes: look further each time.
        window = cursor.source.read_upto(cursor.offset + count * stride, records * stride)
        usable = len(window) // stride
        for at in range(0, usable * stride, stride):
            word += state.page_size
            if word >= 1 << 64 or not window.startswith(word.to_bytes(word_size, "big") + tail, at):
                return count
            count += 1
        if usable < records:
            return count
        records = min(records * 4, max(_FIRST_LOOK, _RUN_WINDOW // stride))


def _ordinary_page_size(cursor: Cursor, state: RamState) -> int:
    """Bytes of a PAGE payload; where nothing told them, the size that leads to a next record."""
    if state.target_page_size is None:
        state.target_page_size = next(
            (size for size in _LIKELY_SIZES if _record_lies_at(cursor, size)), DEFAULT_PAGE_SIZE
        )
    return state.target_page_size


def _record_lies_at(cursor: Cursor, page_size: int) -> bool:
    """Whether a RAM record with exactly one known meaning lies a page of page_size from here."""
    try:
        word = cursor.look(ram.RAM_RECORD, Kind.PAGE, "", page_size).value.word
    except TruncatedError:
        return False
    return _can_follow_list(word, page_size)


def _account(state: RamState, run: PageRun, path: str, offset: int) -> None:
    """Note which pages of a block an ordinary stream has set or cleared so far."""
    if not state.page_sets:
        return
    pages = state.page_sets.get(run.block)
    first = run.address // state.page_size
    if pages is None or not pages.mark(first, first + run.pages, present=run.fill != 0):
        state.note(
            offset,
            path,
            f"page {run.address:#x} lies outside every block called {text(run.block)!r}",
        )
