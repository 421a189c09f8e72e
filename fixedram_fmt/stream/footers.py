"""Finds where device bodies end when no description says so: by footers whose rest adds up.

A body may hold anything, a footer's bytes too.  So each place that could be a footer is judged by
what follows it: a section (whose own end must be such a place again), a command, the end.  An end
of a body is as good as what its chain of sections leads to (Rank), best first: RAM that begins or
goes on (the guest's memory may hold whole streams, so that nothing after it counts); the end of
the stream after a `globalstate`, which QEMU sends as the last of what a machine starts with; then,
as anything else may be a file that was cut off, the chain with more sections, wherever it leads,
unless further sections come after that.  Of ends that lead to the same the first counts: what
follows the stream may be an older one.

Places are collected in one pass and judged from the last to the first, each once, so that the work
is that of the file's length, whatever a body holds.  Where more places look like a footer than any
machine has devices, the first and the last of them are judged and the rest is told.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import defaultdict
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError, TruncatedError
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.ram import RAM_IDSTR, TARGET_PAGE_SIZE_MIN, RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.footerplaces import collect_places
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.ramstate import ADDRESS_CEILING
from fixedram_fmt.stream.records import Cursor, Kind
from fixedram_fmt.stream.successors import is_command, is_name, section_after_footer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.io.source import Source

__all__ = ["GLOBALSTATE_IDSTR", "BodyEnd", "FooterChain"]

#: No further than this are footers looked for; devices of a large machine take some MiB.
_SEARCH_CEILING = 1 << 28
#: Commands and records of hand-coded sections that are walked to judge places, in all.
_RECORDS_CEILING = 1 << 15
#: Places inside one body whose sections are read.
_INNER_CEILING = 64

_SIZE = stream.SECTION_FOOTER.size
_RAM_FLAGS = sum(RamSaveFlag)

#: Sent by every machine since 2.4 (where footers begin), last of what it starts with: migration/
#: global_state.c vmstate_globalstate, hw/core/machine.c qdev_machine_creation_done().
GLOBALSTATE_IDSTR = b"globalstate"
_GLOBALSTATE_SIZE = 104


class _Standing(IntEnum):
    """How credible what follows a place is."""

    IMPOSSIBLE = 0
    NOT_JUDGED = 1
    #: The end of the stream or of the file, though sections come after it.
    LEAVES_SECTIONS = 2
    #: Sections, then the end or a file that is cut off: which of these is a matter of chance.
    GOES_ON = 3
    ENDS = 4
    RAM_GOES_ON = 5
    RAM_BEGINS = 6


class _End(IntEnum):
    """Where a chain of sections leads to; of chains of one length the higher counts."""

    OTHER = 0
    CUT_IN_BODY = 1
    TRAILING = 2
    CUT_OFF = 3
    DESCRIBED = 4
    SOUND = 5


#: Ends at an EOF byte.
_EOFS = (_End.TRAILING, _End.DESCRIBED, _End.SOUND)
#: Ends that leave a part of the file unread.
_LEAVING = (_End.CUT_IN_BODY, _End.TRAILING)


class _Rank(NamedTuple):
    """What a chain leads to, and how many sections it has on the way."""

    standing: _Standing
    length: int = 0
    end: _End = _End.OTHER

    def after_one_more(self) -> _Rank:
        if self.standing is _Standing.ENDS:
            return self
        return self._replace(length=self.length + 1)

    def leads_where(self, other: _Rank) -> bool:
        """Whether it is to the same kind of end as other."""
        return (self.standing, self.end) == (other.standing, other.end)

    def at_most_cut_off(self) -> _Rank:
        """The same where something is on the way that no writer sends."""
        if self.standing > _Standing.GOES_ON:
            return _Rank(_Standing.GOES_ON, self.length, _End.CUT_OFF)
        return self._replace(end=min(self.end, _End.CUT_OFF))

    def after_globalstate(self) -> _Rank:
        """The same with globalstate on the way: an EOF byte is the end then."""
        goes_on = self.standing in (_Standing.LEAVES_SECTIONS, _Standing.GOES_ON)
        if goes_on and self.end in _EOFS:
            return _Rank(_Standing.ENDS)
        return self


def _goes_on(end: _End) -> _Rank:
    return _Rank(_Standing.GOES_ON, 0, end)


_IMPOSSIBLE = _Rank(_Standing.IMPOSSIBLE)
_NOT_JUDGED = _Rank(_Standing.NOT_JUDGED)
_CUT_IN_BODY = _goes_on(_End.CUT_IN_BODY)


class BodyEnd(NamedTuple):
    """Where a body ends; others is how many other ends lead to a rest of the same kind.

    verified is False where not every place that may be the end could be judged.
    """

    offset: int
    verified: bool
    others: int


class _Best(NamedTuple):
    """The best of the places from one on: the first of that rank, and how many end alike."""

    offset: int
    rank: _Rank
    alike: int


class _Judged:
    """Places of one section id, added from the last to the first."""

    def __init__(self) -> None:
        self._negated: list[int] = []
        self._ranks: list[_Rank] = []
        self._best: list[_Best] = []

    def add(self, offset: int, rank: _Rank) -> None:
        """One more place, before all others."""
        best = _Best(offset, rank, 1)
        if self._best:
            last = self._best[-1]
            same = rank.leads_where(last.rank)
            alike = last.alike + same
            if rank < last.rank:
                best = _Best(last.offset, last.rank, alike)
            elif same:
                best = _Best(offset, rank, alike)
        self._negated.append(-offset)
        self._ranks.append(rank)
        self._best.append(best)

    def best_from(self, offset: int) -> _Best | None:
        """The best of the places at offset and after it."""
        count = bisect_left(self._negated, -offset + 1)
        return self._best[count - 1] if count else None

    def rank_at(self, offset: int) -> _Rank | None:
        """The rank of the place at exactly this offset."""
        at = bisect_left(self._negated, -offset)
        found = at < len(self._negated) and self._negated[at] == -offset
        return self._ranks[at] if found else None


class FooterChain:
    """The footers of a stream from offset start on, judged by what follows each.

    sections are those that began before: their ids are not given again; those that have not ended
    have parts.
    """

    def __init__(self, source: Source, start: int, sections: Mapping[int, Section]) -> None:
        self._source = source
        self._known = {number: one.idstr for number, one in sections.items()}
        self._started = {number for number, one in sections.items() if not one.full}
        self._open = {number for number in self._started if not sections[number].ended}
        self._has_ram = RAM_IDSTR in self._known.values()
        self._records_left = _RECORDS_CEILING
        self._of_id: dict[int, _Judged] = defaultdict(_Judged)
        self._stop = min(source.size, start + _SEARCH_CEILING)
        self._good, self._last = collect_places(source, start, self._stop, self._started)
        self._last_section = self._find_last_section()
        for offset, section_id in heapq.merge(
            reversed(self._good.places()), reversed(self._last.places()), reverse=True
        ):
            self._of_id[section_id].add(offset, self._judge(offset + _SIZE, section_id))

    def end_of(self, body: int, section: Section) -> BodyEnd | None:
        """Where the body of section that begins at offset body ends; None: nothing leads on."""
        judged = self._of_id.get(section.section_id)
        if judged and section.idstr == GLOBALSTATE_IDSTR:
            exact = judged.rank_at(body + _GLOBALSTATE_SIZE)
            if exact and exact.standing > _Standing.NOT_JUDGED:
                return BodyEnd(body + _GLOBALSTATE_SIZE, verified=True, others=0)
        best = judged.best_from(body) if judged else None
        if best is None or best.rank.standing is _Standing.IMPOSSIBLE:
            return None
        judged_all = not self._good.dropped(body, best.offset)
        verified = best.rank.standing is not _Standing.NOT_JUDGED and judged_all
        return BodyEnd(best.offset, verified, best.alike - 1)

    def sections_in(self, start: int, stop: int) -> list[tuple[bytes, int]]:
        """idstr and instance of sections after the first places in [start, stop)."""
        found = []
        for place, section_id in self._good.between(start, stop, _INNER_CEILING):
            header = section_after_footer(self._source, place, section_id)
            if header is not None:
                found.append((header.idstr, header.instance_id))
        return found

    def _find_last_section(self) -> int:
        """Where the last footer lies that a section comes after; -1: nowhere that is looked."""
        for place, section_id in self._good.places()[: -_INNER_CEILING - 1 : -1]:
            if section_after_footer(self._source, place, section_id):
                return place
        return -1

    def covers(self, body: int) -> bool:
        """Whether what can end a body that begins at offset body was looked at."""
        return body < self._stop and not self._good.dropped(body, body)

    # -- what follows -----------------------------------------------------------------------------

    def _judge(self, offset: int, before: int) -> _Rank:
        """How credible it is that the stream goes on at offset, after a footer of id before."""
        cursor = Cursor(self._source, offset)
        try:
            while True:
                head = cursor.peek(1)
                if not head:
                    return _goes_on(_End.CUT_OFF)
                if head[0] != SectionType.COMMAND:
                    return self._judge_next(cursor, head[0], before)
                if self._records_left <= 0:
                    return _NOT_JUDGED
                self._records_left -= 1
                if not _passed_command(cursor):
                    return _IMPOSSIBLE
        except TruncatedError:
            return _CUT_IN_BODY
        except FixedRamError:
            return _IMPOSSIBLE

    def _cut_in_body(self, offset: int) -> _Rank:
        return self._unless_sections(_End.CUT_IN_BODY, offset)

    def _unless_sections(self, end: _End, offset: int) -> _Rank:
        """The rank of a chain that ends at offset: unlikely if sections come after it."""
        leaves = end in _LEAVING and self._last_section > offset
        return _Rank(_Standing.LEAVES_SECTIONS if leaves else _Standing.GOES_ON, 0, end)

    def _judge_next(self, cursor: Cursor, kind: int, before: int) -> _Rank:
        if kind == SectionType.EOF:
            return self._unless_sections(_kind_of_end(cursor), cursor.offset)
        if kind in (SectionType.SECTION_PART, SectionType.SECTION_END):
            part = cursor.take(stream.SECTION_PART, Kind.SECTION_PART, "").value.section_id
            if part not in self._started:
                return _IMPOSSIBLE
            rank = self._judge_after_body(cursor, self._known[part], part)
            # Readers take a part of a section that has ended; nobody sends one.
            return rank if part in self._open else rank.at_most_cut_off()
        if kind in (SectionType.SECTION_START, SectionType.SECTION_FULL):
            return self._judge_section(cursor, before)
        return _IMPOSSIBLE

    def _judge_section(self, cursor: Cursor, before: int) -> _Rank:
        header = cursor.take(stream.SECTION, Kind.SECTION_FULL, "").value
        taken = header.section_id in self._known or header.section_id == before
        if taken or not is_name(header.idstr):
            return _IMPOSSIBLE
        if header.idstr == RAM_IDSTR:
            return _IMPOSSIBLE if self._has_ram else _judge_first_ram(cursor)
        if header.idstr == GLOBALSTATE_IDSTR:
            return self._judge_after_globalstate(cursor, header.section_id)
        return self._judge_after_body(cursor, header.idstr, header.section_id)

    def _judge_after_body(self, cursor: Cursor, idstr: bytes, section_id: int) -> _Rank:
        """The rank of what follows a body at cursor."""
        judged = self._of_id.get(section_id)
        if idstr == RAM_IDSTR:
            rank = self._judge_ram_part(cursor, judged)
        elif idstr in FRAMINGS:
            for _ in FRAMINGS[idstr](cursor, ""):
                self._records_left -= 1
                if self._records_left <= 0:
                    return _NOT_JUDGED
            rank = self._judge_footer_at(cursor, judged)
        else:
            best = judged.best_from(cursor.offset) if judged else None
            # Its footer may be nowhere: the file is cut off in its body, or this is no section.
            rank = best.rank if best else self._cut_in_body(cursor.offset)
        return rank.after_one_more()

    def _judge_after_globalstate(self, cursor: Cursor, section_id: int) -> _Rank:
        """The rank of what follows a body of the length that globalstate has; else as any other."""
        judged = self._of_id.get(section_id)
        exact = judged.rank_at(cursor.offset + _GLOBALSTATE_SIZE) if judged else None
        if exact is None or exact.standing is _Standing.IMPOSSIBLE:
            return self._judge_after_body(cursor, b"", section_id)
        return exact.after_one_more().after_globalstate()

    def _judge_footer_at(self, cursor: Cursor, judged: _Judged | None) -> _Rank:
        """The rank of a body that must end right here."""
        if cursor.remaining < _SIZE or cursor.offset >= self._stop:
            return _CUT_IN_BODY
        if self._good.dropped(cursor.offset, cursor.offset):
            return _NOT_JUDGED
        rank = judged.rank_at(cursor.offset) if judged else None
        return _IMPOSSIBLE if rank is None else rank

    def _judge_ram_part(self, cursor: Cursor, judged: _Judged | None) -> _Rank:
        """The body of a part of RAM: an EOS, or records which are not walked here."""
        word = cursor.peek(8)
        number = int.from_bytes(word, "big")
        if len(word) < 8:
            return _CUT_IN_BODY
        if number == RamSaveFlag.EOS:
            cursor.skip(8, Kind.EOS, "", None)
            return self._judge_footer_at(cursor, judged)
        sends = number & _RAM_FLAGS and number < ADDRESS_CEILING
        return _Rank(_Standing.RAM_GOES_ON) if sends else _IMPOSSIBLE


def _passed_command(cursor: Cursor) -> bool:
    """Go after the command at cursor and what is packaged in it; False: it is none."""
    command = cursor.take(stream.COMMAND, Kind.COMMAND, "").value
    if command.packaged_length is not None:
        cursor.skip(command.packaged_length, Kind.PACKAGED, "", None)
    return is_command(command.command)


def _judge_first_ram(cursor: Cursor) -> _Rank:
    """RAM starts with the size of all blocks: whole pages, and a flag in the bits below."""
    word = cursor.peek(8)
    if len(word) < 8:
        return _CUT_IN_BODY
    number = int.from_bytes(word, "big")
    starts = number % TARGET_PAGE_SIZE_MIN == RamSaveFlag.MEM_SIZE
    return _Rank(_Standing.RAM_BEGINS) if starts else _IMPOSSIBLE


def _kind_of_end(cursor: Cursor) -> _End:
    """What follows the EOF byte at cursor: nothing or a description, or anything."""
    json_at = 1 + stream.VMDESCRIPTION.size
    head = cursor.peek(json_at + 1)
    if len(head) == 1:
        return _End.SOUND
    if head[1] != SectionType.VMDESCRIPTION or head[json_at:] not in (b"", b"{"):
        return _End.TRAILING
    stop = json_at + int.from_bytes(head[2:json_at], "big")
    if len(head) <= json_at or stop > cursor.remaining:
        return _End.CUT_OFF
    if cursor.peek(1, stop - 1) != b"}":
        return _End.TRAILING
    return _End.SOUND if stop == cursor.remaining else _End.DESCRIBED
