"""The body of a `ram` section, record by record; pages of ordinary streams as runs or batches.

Upstream: QEMU migration/ram.c ram_load_precopy().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.stream.blocklist import block_list, page_size_of_first_header
from fixedram_fmt.stream.pagebatch import page_runs
from fixedram_fmt.stream.ramstate import PAGE_FLAGS, RamState
from fixedram_fmt.stream.records import Cursor, Kind, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.stream.pagerecords import PageReader

__all__ = ["walk_ram"]

#: Records that are nothing but their word.
_BARE: dict[int, Kind] = {
    RamSaveFlag.EOS: Kind.EOS,
    RamSaveFlag.MULTIFD_FLUSH: Kind.MULTIFD_FLUSH,
    RamSaveFlag.HOOK: Kind.HOOK,
    RamSaveFlag.FULL: Kind.FULL,
}


def walk_ram(
    cursor: Cursor, state: RamState, pages: PageReader, path: str
) -> Iterator[Record[Any]]:
    """Every record from here to the EOS that ends this section's RAM part.

    Page records come as runs (PageRun), where state says so in batches (SentPages).
    """
    number = 0
    while True:
        here = f"{path}/record[{number}]"
        head = cursor.look(ram.RAM_RECORD, Kind.EOS, here)
        word = head.value.word
        if state.target_page_size is None and word & RamSaveFlag.MEM_SIZE:
            state.target_page_size = page_size_of_first_header(cursor, state)
        flags = word & (state.page_size - 1)
        kind = flags & ~RamSaveFlag.CONTINUE
        if kind & PAGE_FLAGS and kind & (kind - 1) == 0:
            batches = pages.read(head, path, number)
            if state.batched:
                yield from (batch.record(cursor) for batch in batches)
            else:
                yield from page_runs(batches, cursor)
            number = pages.next_number
            continue
        number += 1
        if kind == RamSaveFlag.MEM_SIZE:
            yield from block_list(cursor, state, path, here)
        elif kind in _BARE:
            yield cursor.take(ram.RAM_RECORD, _BARE[kind], here)
            if kind == RamSaveFlag.EOS:
                return
        else:
            raise FormatError(
                "unknown combination of RAM_SAVE_FLAG bits",
                code="flags",
                offset=cursor.offset,
                path=here,
                expected="one of MEM_SIZE, EOS, PAGE, ZERO, ...",
                found=f"{word:#x} (flags {flags:#x})",
            )
