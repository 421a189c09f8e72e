"""What may follow at a place of a stream, by its first bytes: nothing is read beyond them.

How credible it is that the stream goes on so, whatever it leads to, is judged in footers.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.base import is_printable
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.ramstate import can_follow_list
from fixedram_fmt.stream.records import Cursor, Kind

if TYPE_CHECKING:
    from collections.abc import Container

    from fixedram_fmt.io.source import Source

__all__ = [
    "COMMAND_MAX",
    "ID_CEILING",
    "block_list_can_go_on",
    "can_follow",
    "can_follow_without_footer",
    "is_command",
    "is_name",
    "section_after_footer",
]

COMMAND_MAX = int(max(MigCmd))
#: Ids of the sections that machines have are smaller.
ID_CEILING = 1 << 16

_STARTS = (SectionType.SECTION_START, SectionType.SECTION_FULL)
_PARTS = (SectionType.SECTION_PART, SectionType.SECTION_END)


def is_name(idstr: bytes) -> bool:
    """Whether bytes can name a section: printable ASCII."""
    return bool(idstr) and is_printable(idstr)


def is_command(number: int) -> bool:
    """Whether a command has this number."""
    return 0 < number <= COMMAND_MAX


def can_follow(cursor: Cursor, ahead: int, part_ids: Container[int]) -> bool:
    """Whether what lies ahead bytes from here can begin a section, a part, a command or the end.

    part_ids are the ids of the sections so far.
    """
    head = cursor.peek(1, ahead)
    kind = head[0] if head else None
    if kind in _STARTS:
        return _section_header(cursor, ahead) is not None
    try:
        if kind in _PARTS:
            part = cursor.look(stream.SECTION_PART, Kind.SECTION_PART, "", ahead).value
            return part.section_id in part_ids
        if kind == SectionType.COMMAND:
            return is_command(cursor.look(stream.COMMAND, Kind.COMMAND, "", ahead).value.command)
    except FormatError:
        return False
    return kind == SectionType.EOF


def can_follow_without_footer(cursor: Cursor, ahead: int, part_ids: Container[int]) -> bool:
    """The same in a stream without footers, where an EOF byte alone says too little."""
    if cursor.peek(1, ahead) != b"\0":
        return can_follow(cursor, ahead, part_ids)
    head = cursor.peek(6, ahead + 1)
    return not head or (head[0] == SectionType.VMDESCRIPTION and head[5:6] in (b"", b"{"))


def section_after_footer(
    source: Source, footer: int, section_id: int
) -> stream.SectionHeader | None:
    """The header of a section after the footer at an offset, if both are what machines have.

    Other bytes look so by chance once in many GiB.
    """
    if section_id >= ID_CEILING:
        return None
    header = _section_header(Cursor(source, footer + stream.SECTION_FOOTER.size), 0)
    return header if header and header.section_id < ID_CEILING else None


def _section_header(cursor: Cursor, ahead: int) -> stream.SectionHeader | None:
    """The header of a START or FULL with the name that a section can have."""
    head = cursor.peek(1, ahead)
    if not head or head[0] not in _STARTS:
        return None
    try:
        header = cursor.look(stream.SECTION, Kind.SECTION_FULL, "", ahead).value
    except FormatError:
        return None
    return header if is_name(header.idstr) else None


def block_list_can_go_on(cursor: Cursor, ahead: int) -> bool:
    """Whether what can follow a block's entry or its pages lies ahead bytes from here."""
    if cursor.offset + ahead < 0 or ahead > cursor.remaining:
        return False
    try:
        word = cursor.look(ram.RAM_RECORD, Kind.EOS, "", ahead).value.word
        if can_follow_list(word, ram.TARGET_PAGE_SIZE_MIN):
            return True
        return is_name(cursor.look(ram.BLOCK_ENTRY, Kind.BLOCK, "", ahead).value.idstr)
    except FormatError:
        return False
