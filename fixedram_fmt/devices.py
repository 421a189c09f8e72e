"""Where the body of a device section ends: nothing in the stream says so.

Three ways, in this order: the section's own framing where QEMU writes it by hand, the size that
the description (vmdesc) gives, and a search for the footer that is verified by what follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.framing import FRAMINGS
from fixedram_fmt.records import Cursor, DeviceBody, Kind, Record
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Container

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.vmstate.vmdesc import DeviceDescription

__all__ = ["device_body", "section_can_start"]

#: No device body longer than this is searched for its footer.
_BODY_CEILING = 1 << 28
_FIRST_STEP = 1 << 12
_SEARCH_STEP = 1 << 20


def device_body(
    cursor: Cursor,
    section: Section,
    described: dict[tuple[str, int], deque[DeviceDescription]],
    known_ids: Container[int],
    path: str,
    *,
    footers: bool,
) -> Record[DeviceBody]:
    """A record over the body of section that starts at cursor, which goes behind it.

    described are the descriptions not used so far; one that fits is taken out.  footers tells that
    this stream has them.  Raises FormatError when no way leads to an end.
    """
    length, how = _delimit(cursor, section, described, known_ids, path, footers=footers)
    body = DeviceBody(section.idstr, section.instance_id, how)
    return cursor.skip(length, Kind.DEVICE, path, body)


def _delimit(
    cursor: Cursor,
    section: Section,
    described: dict[tuple[str, int], deque[DeviceDescription]],
    known_ids: Container[int],
    path: str,
    *,
    footers: bool,
) -> tuple[int, str]:
    framing = FRAMINGS.get(section.idstr)
    if framing is not None:
        inner = Cursor(cursor.source, cursor.offset)
        for _ in framing(inner, path):
            pass
        return inner.offset - cursor.offset, "framing"
    candidates = described.get((section.name, section.instance_id))
    if section.full and candidates:
        size = candidates[0].size
        if _footer_at(cursor, size, section.section_id) or (
            not footers and _next_starts_at(cursor, size, known_ids)
        ):
            candidates.popleft()
            return size, "vmdesc"
        if _another_footer_at(cursor, size, known_ids):
            candidates.popleft()
            return size, "vmdesc"
    return _search_footer(cursor, section.section_id, known_ids, path), "footer"


# -- what can follow a body -----------------------------------------------------------------------


def _footer_at(cursor: Cursor, ahead: int, section_id: int) -> bool:
    return cursor.peek(stream.SECTION_FOOTER.size, ahead) == _footer(section_id)


def _another_footer_at(cursor: Cursor, ahead: int, known_ids: Container[int]) -> bool:
    """Whether a footer with a wrong id lies ahead bytes from here, and a section behind it."""
    mark = bytes([SectionType.SECTION_FOOTER])
    behind = ahead + stream.SECTION_FOOTER.size
    return cursor.peek(1, ahead) == mark and section_can_start(cursor, behind, known_ids)


def _footer(section_id: int) -> bytes:
    footer = stream.SectionFooter(SectionType.SECTION_FOOTER, section_id)
    return stream.SECTION_FOOTER.build(footer)


def _next_starts_at(cursor: Cursor, ahead: int, known_ids: Container[int]) -> bool:
    """Whether a stream without footers goes on ahead bytes from here."""
    if cursor.peek(1, ahead) == b"\0":
        return _ends_after(cursor, ahead + 1)
    return section_can_start(cursor, ahead, known_ids)


def section_can_start(cursor: Cursor, ahead: int, known_ids: Container[int]) -> bool:
    """Whether what lies ahead bytes from here can begin a section, a command or the end."""
    head = cursor.peek(1, ahead)
    if not head:
        return False
    kind = head[0]
    try:
        if kind in (SectionType.SECTION_START, SectionType.SECTION_FULL):
            name = cursor.look(stream.SECTION, Kind.SECTION_FULL, "", ahead).value.idstr
            return bool(name) and all(0x20 <= byte < 0x7F for byte in name)
        if kind in (SectionType.SECTION_PART, SectionType.SECTION_END):
            part = cursor.look(stream.SECTION_PART, Kind.SECTION_PART, "", ahead).value
            return part.section_id in known_ids
        if kind == SectionType.COMMAND:
            command = cursor.look(stream.COMMAND, Kind.COMMAND, "", ahead).value.command
            return 0 < command <= max(stream.MigCmd)
    except FormatError:
        return False
    return kind == SectionType.EOF


def _search_footer(cursor: Cursor, section_id: int, known_ids: Container[int], path: str) -> int:
    """Bytes to the first footer of section_id with a credible section behind it.

    The byte behind a footer may be EOF, which any zero looks like: such a footer counts only when
    no other is found, or when the file or the description begins right behind it.
    """
    needle = _footer(section_id)
    limit = min(cursor.remaining, _BODY_CEILING)
    fallback = None
    ahead, step = 0, _FIRST_STEP
    while ahead < limit:
        # Most bodies are short, a few hold a whole screen: look further each time.
        window = cursor.source.read_upto(cursor.offset + ahead, step + len(needle) - 1)
        at = window.find(needle)
        while at >= 0:
            behind = ahead + at + len(needle)
            if behind == cursor.remaining:
                # The file ends here: a save that never finished.
                fallback = ahead + at
            elif section_can_start(cursor, behind, known_ids):
                if cursor.peek(1, behind) != b"\0" or _ends_after(cursor, behind + 1):
                    return ahead + at
                fallback = ahead + at if fallback is None else fallback
            at = window.find(needle, at + 1)
        ahead += step
        step = min(step * 4, _SEARCH_STEP)
    if fallback is not None:
        return fallback
    raise FormatError(
        "the end of a device's state cannot be found",
        code="device-end",
        offset=cursor.offset,
        path=path,
        expected="a description of it, or its footer",
        found=f"neither in {limit} bytes",
    )


def _ends_after(cursor: Cursor, ahead: int) -> bool:
    head = cursor.peek(6, ahead)
    return not head or (head[0] == SectionType.VMDESCRIPTION and head[5:6] in (b"", b"{"))
