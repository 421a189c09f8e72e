"""Whether an EOF byte is the end of a stream: what comes before and after it.

Upstream: QEMU hw/core/machine.c qdev_machine_creation_done(), migration/global_state.c
vmstate_globalstate, migration/savevm.c should_send_vmdesc().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import TruncatedError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.footerplaces import collect_places
from fixedram_fmt.stream.footers import GLOBALSTATE_IDSTR
from fixedram_fmt.stream.successors import section_after_footer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.stream.records import Cursor

__all__ = ["check_end", "is_confirmed", "sections_follow"]

#: Zeros after an EOF byte that are more than a part of something.
_ZEROS = 64
#: How far sections are looked for after an EOF byte.
_CEILING = 1 << 24
_PLACES = 64


def check_end(cursor: Cursor, sections: Iterable[Section], path: str) -> None:
    """Refuse the EOF byte at cursor if zeros or sections follow it and nothing confirms it.

    A file whose save was cut off between two sections can go on with zeros, or with what it held
    before.  The stream is one with footers.
    """
    after = cursor.peek(_ZEROS, 1)
    if not after or is_confirmed(cursor, sections):
        return
    if any(after) and not sections_follow(cursor.source, cursor.offset + 1):
        return
    last = max(sections, key=lambda section: section.offset, default=None)
    raise TruncatedError(
        f"the save may end after {last.label if last else 'the head'} and be incomplete",
        code="end-unconfirmed",
        offset=cursor.offset,
        path=path,
        expected="globalstate before EOF, or a description after it",
        found="an EOF byte with sections after it" if any(after) else "nothing but zeros",
    )


def is_confirmed(cursor: Cursor, sections: Iterable[Section]) -> bool:
    """Whether a description follows the EOF byte at cursor, or globalstate has come before it.

    globalstate is the last section that a machine starts with; only machines before 2.4, which
    send no footers, lack it.
    """
    if cursor.peek(1, 1) == bytes([SectionType.VMDESCRIPTION]):
        header = cursor.peek(stream.VMDESCRIPTION.size, 1)
        length = int.from_bytes(header[1:], "big")
        if len(header) == stream.VMDESCRIPTION.size and len(header) + length < cursor.remaining:
            return True
    return any(section.idstr == GLOBALSTATE_IDSTR for section in sections)


def sections_follow(source: Source, start: int) -> bool:
    """Whether a section comes after a footer in the first bytes from start on."""
    good, _ = collect_places(source, start, min(source.size, start + _CEILING), set())
    return any(
        section_after_footer(source, place, section_id)
        for place, section_id in good.places()[:_PLACES]
    )
