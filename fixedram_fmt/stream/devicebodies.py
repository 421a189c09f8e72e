"""Where the body of a device section ends: nothing in the stream says so.

Three ways, in this order: the section's own framing where QEMU writes it by hand, the size that
the description (vmdesc) gives, and a search for the footer that is verified by what follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError, TruncatedError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.footers import BodyEnd, FooterChain
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.records import Cursor, DeviceBody, Kind, Record
from fixedram_fmt.stream.successors import can_follow, can_follow_without_footer

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.stream.vmdesc import DeviceDescription

    Tell = Callable[[int, str, str, str], None]

__all__ = ["DeviceBodies"]


class DeviceBodies:
    """Delimits the bodies of one stream; tell is told what is odd (offset, path, message, code).

    described are the descriptions by name and instance_id; one that fits is taken out.
    """

    def __init__(self, tell: Tell) -> None:
        self.described: dict[tuple[str, int], list[DeviceDescription]] = {}
        self._tell = tell
        self._chain: FooterChain | None = None
        self._chains_left = _CHAINS_CEILING
        self._tries_left = _TRIES_CEILING
        self._last_stop = 0

    def body(
        self,
        cursor: Cursor,
        section: Section,
        known: Mapping[int, Section],
        path: str,
        *,
        footers: bool,
    ) -> Record[DeviceBody]:
        """A record over the body of section that starts at cursor, which goes behind it.

        known are the sections so far, footers tells that this stream has them.  Raises FormatError
        when no way leads to an end.
        """
        framing = FRAMINGS.get(section.idstr)
        if framing is not None:
            inner = Cursor(cursor.source, cursor.offset)
            try:
                for _ in framing(inner, path):
                    pass
            except TruncatedError as error:
                raise _cut_off(cursor, section, path) from error
            length, how = inner.offset - cursor.offset, "framing"
        elif (size := self._described(cursor, section, known, footers=footers)) is not None:
            length, how = size, "vmdesc"
        else:
            length, how = self._search(cursor, section, known, path, footers), "footer"
        body = DeviceBody(section.idstr, section.instance_id, how)
        record = cursor.skip(length, Kind.DEVICE, path, body)
        self._last_stop = record.stop
        return record

    def _described(
        self, cursor: Cursor, section: Section, known: Container[int], *, footers: bool
    ) -> int | None:
        """The size that the description gives, if it leads to something credible."""
        candidates = self.described.get((section.name, section.instance_id))
        if not section.full or not candidates:
            return None
        size = candidates[-1].size
        if (
            _footer_at(cursor, size, section.section_id)
            or (not footers and can_follow_without_footer(cursor, size, known))
            or _another_footer_at(cursor, size, known)
        ):
            return candidates.pop().size
        return None

    def _search(
        self,
        cursor: Cursor,
        section: Section,
        known: Mapping[int, Section],
        path: str,
        footers: bool,
    ) -> int:
        """Bytes to the footer of section that the rest of the stream speaks for."""
        chain = self._chain_at(cursor, section, known)
        found = chain.end_of(cursor.offset, section) if chain else None
        if found is None:
            found = self._first_possible(cursor, section.section_id, known)
        if found is None:
            raise self._no_end(cursor, section, path, footers=footers)
        if chain and _holds_sections(chain.sections_in(cursor.offset, found.offset), known):
            raise _overwritten(cursor, section, path)
        if not found.verified:
            self._tell(cursor.offset, path, _UNVERIFIED, "device-end-unverified")
        elif found.others and section.full:
            # The ends of later parts lead to a consistent rest as well: that is no doubt.
            text = f"{found.others + 1} ends lead to a consistent rest; the most likely is taken"
            self._tell(cursor.offset, path, text, "device-end-ambiguous")
        return found.offset - cursor.offset

    def _no_end(self, cursor: Cursor, section: Section, path: str, *, footers: bool) -> FormatError:
        """Why no end is found: the file is cut off in this body, or something is damaged."""
        chain, stop = self._chain, cursor.source.size
        whole = chain is not None and chain.covers(cursor.offset)
        if footers and not self.described and whole and chain:
            if not chain.sections_in(cursor.offset, stop):
                return _cut_off(cursor, section, path)
            return _overwritten(cursor, section, path)
        return FormatError(
            f"the end of the state of {section.label} cannot be found",
            code="device-end",
            offset=cursor.offset,
            path=path,
            expected="a description of it, or its footer",
            found="neither",
        )

    def _chain_at(
        self, cursor: Cursor, section: Section, known: Mapping[int, Section]
    ) -> FooterChain | None:
        """The chain to ask about a body at cursor: a new one where that begins anew."""
        chain = self._chain
        fits = chain and chain.covers(cursor.offset) and self._follows(cursor, section)
        if not fits and self._chains_left:
            self._chains_left -= 1
            chain = self._chain = FooterChain(cursor.source, cursor.offset, known)
        return chain

    def _follows(self, cursor: Cursor, section: Section) -> bool:
        """Whether nothing but a footer and this body's header lies after the last body."""
        header = section.body_offset - section.offset
        if section.body_offset != cursor.offset:
            header = stream.SECTION_PART.size
        return cursor.offset - header - self._last_stop in (0, stream.SECTION_FOOTER.size)

    def _first_possible(
        self, cursor: Cursor, section_id: int, known: Container[int]
    ) -> BodyEnd | None:
        """The first footer of section_id with anything after it that can follow, unverified."""
        footer, step, low = _footer(section_id), _FIRST_STEP, cursor.offset
        stop = min(cursor.source.size, cursor.offset + _SEARCH_CEILING)
        while low < stop and self._tries_left:
            window = cursor.source.read_upto(low, step + len(footer) - 1)
            at = window.find(footer)
            while at >= 0 and self._tries_left:
                self._tries_left -= 1
                after = Cursor(cursor.source, low + at + len(footer))
                if can_follow(after, 0, known):
                    return BodyEnd(low + at, verified=False, others=0)
                at = window.find(footer, at + 1)
            low, step = low + step, min(step * 2, _STEP)
        return None


def _cut_off(cursor: Cursor, section: Section, path: str) -> TruncatedError:
    found = f"{cursor.remaining} bytes of it to the end of the file"
    zeros = _zeros_before_end(cursor.source, cursor.offset)
    if zeros > _ZEROS_TOLD:
        found += f", the last {zeros} of them zeros"
    return TruncatedError(
        f"the save ends inside {section.label}: the guest was not completely saved",
        code="device-cut",
        offset=cursor.offset,
        path=path,
        expected=f"its footer, 7e and section id {section.section_id}",
        found=found,
    )


def _overwritten(cursor: Cursor, section: Section, path: str) -> FormatError:
    return FormatError(
        f"no footer of {section.label}, though other sections follow",
        code="device-end",
        offset=cursor.offset,
        path=path,
        expected=f"its footer, 7e and section id {section.section_id}, before other sections",
        found="sections inside its state",
        hint="the save ends inside it and an older one follows, or it is damaged",
    )


def _holds_sections(inside: list[tuple[bytes, int]], known: Mapping[int, Section]) -> bool:
    """Whether sections inside a body are those of a stream: one of this, or several others.

    A save that was cut off is followed by an older one where a file or disk is used again.
    """
    if not inside:
        return False
    before = {(one.idstr, one.instance_id) for one in known.values() if not one.is_ram}
    return len(set(inside)) >= _OTHERS_OF_STREAM or not before.isdisjoint(inside)


def _zeros_before_end(source: Source, start: int) -> int:
    """How many zeros end the file, from start on; no further back than is searched for footers."""
    stop = source.size
    low = max(start, stop - _SEARCH_CEILING)
    while stop > low:
        step = max(low, stop - _STEP)
        data = source.read_exact(step, stop - step).rstrip(b"\0")
        if data:
            return source.size - step - len(data)
        stop = step
    return source.size - low


#: More zeros than this at the end of the file are told: they may be none of the state's.
_ZEROS_TOLD = 64
#: So many different sections in one body do not stand there by chance.
_OTHERS_OF_STREAM = 3

_UNVERIFIED = "this end could not be verified: what follows does not add up, or is too much"

#: Stretches without a description in one stream: RAM lies between them, or they are very long.
_CHAINS_CEILING = 8
_SEARCH_CEILING = 1 << 28
_FIRST_STEP = 1 << 14
_STEP = 1 << 20
#: Footers that are tried where no chain leads on, in one stream.
_TRIES_CEILING = 1 << 14


# -- what can follow a body -----------------------------------------------------------------------


def _footer_at(cursor: Cursor, ahead: int, section_id: int) -> bool:
    return cursor.peek(stream.SECTION_FOOTER.size, ahead) == _footer(section_id)


def _another_footer_at(cursor: Cursor, ahead: int, known_ids: Container[int]) -> bool:
    """Whether a footer with a wrong id lies ahead bytes from here, and a section after it."""
    mark = bytes([SectionType.SECTION_FOOTER])
    after = ahead + stream.SECTION_FOOTER.size
    return cursor.peek(1, ahead) == mark and can_follow(cursor, after, known_ids)


def _footer(section_id: int) -> bytes:
    footer = stream.SectionFooter(SectionType.SECTION_FOOTER, section_id)
    return stream.SECTION_FOOTER.build(footer)
