"""Finds where device bodies end when no description says so: by footers whose rest adds up.

A body may hold anything, a footer's bytes too.  So each place that could be a footer is judged by
what follows it: a section (whose own end must be such a place again), a command, the end.  What
leads to a sound end of the stream beats what leads to the end of a file that is cut off, and of
those the longer chain wins.

All places are collected in one pass and judged from the last to the first, each once: the work is
that of the file's length, whatever a body holds.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.framing import FRAMINGS
from fixedram_fmt.records import Cursor, Kind
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import MigCmd, SectionType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.source import Source

__all__ = ["BodyEnd", "FooterChain"]

#: No further than this are footers looked for; devices of a large machine take some MiB.
_SEARCH_CEILING = 1 << 28
_STEP = 1 << 20
#: More places that look like a footer are not judged: the first one that looks right is taken.
_PLACES_CEILING = 1 << 17
_COMMANDS_CEILING = 64

_SIZE = stream.SECTION_FOOTER.size
#: A footer and behind it what can be a section with a name, a part, a command, or the end.
_PLACE = re.compile(
    rb"\x7e(?=(.{4})(?:"
    rb"[\x01\x04].{4}[\x01-\xff][\x20-\x7e]|[\x02\x03]|\x08\x00[\x01-\x1f]"
    rb"|\x00(?:\Z|\x06(?:.{4}\{|.{0,4}\Z))|\Z))",
    re.DOTALL,
)
#: A footer and an EOF byte with anything behind it, which many zeros look like.
_LAST_PLACE = re.compile(rb"\x7e(?=(\0\0..)\0)", re.DOTALL)
_LAST_PLACES_CEILING = 1 << 12
#: What the patterns look at in all.
_REACH = _SIZE + 7

_RAM = b"ram"

# How credible what follows a place is.
_IMPOSSIBLE, _CUT_IN_BODY, _TRAILING, _CUT_OFF, _GOES_ON, _SOUND = range(6)


class _Rank(NamedTuple):
    """What a chain leads to, and how many sections it has on the way."""

    end: int
    length: int


class BodyEnd(NamedTuple):
    """Where a body ends; others is how many other ends lead to as good a rest."""

    offset: int
    verified: bool
    others: int


class _Judged:
    """Places of one section id, from the last to the first, with the best rank up to each."""

    def __init__(self) -> None:
        self._negated: list[int] = []
        self._ranks: list[_Rank] = []
        self._best: list[_Rank] = []

    def add(self, offset: int, rank: _Rank) -> None:
        """One more place, before all others."""
        self._negated.append(-offset)
        self._ranks.append(rank)
        self._best.append(max(rank, self._best[-1]) if self._best else rank)

    def best_from(self, offset: int) -> _Rank | None:
        """The best rank of the places at offset and behind it."""
        count = self._count_from(offset)
        return self._best[count - 1] if count else None

    def ends_from(self, offset: int) -> BodyEnd | None:
        """The first of the best places at offset and behind it."""
        count = self._count_from(offset)
        if not count:
            return None
        best = self._best[count - 1]
        if best.end == _IMPOSSIBLE:
            return None
        same = [n for n in range(count) if self._ranks[n].end == best.end]
        first = max(n for n in same if self._ranks[n] == best)
        return BodyEnd(-self._negated[first], True, len(same) - 1)

    def _count_from(self, offset: int) -> int:
        return bisect_left(self._negated, -offset + 1)


class FooterChain:
    """The footers of a stream from offset start on, judged by what follows each.

    sections are those that began before: their ids are not given again, and have parts.
    """

    def __init__(self, source: Source, start: int, sections: Mapping[int, Section]) -> None:
        self._source = source
        self._sections = dict(sections)
        self._of_id: dict[int, _Judged] = defaultdict(_Judged)
        places = self._places(start, _PLACE, _PLACES_CEILING)
        last = self._places(start, _LAST_PLACE, _LAST_PLACES_CEILING)
        if max(len(last), len(places)) < _LAST_PLACES_CEILING:
            places = sorted({*places, *last})
        self._complete = len(places) < _PLACES_CEILING
        self._unjudged = [] if self._complete else places
        if self._complete:
            for offset, section_id in reversed(places):
                self._of_id[section_id].add(offset, self._rank(offset + _SIZE))

    def end_of(self, body: int, section_id: int) -> BodyEnd | None:
        """Where the body of section_id that begins at offset body ends; None: nothing leads on."""
        if self._complete:
            judged = self._of_id.get(section_id)
            found = judged.ends_from(body) if judged else None
        else:
            found = self._first_possible(body, section_id)
        return found or self._before_trailing(body, section_id)

    def _first_possible(self, body: int, section_id: int) -> BodyEnd | None:
        """The first place at which something can follow, whatever that leads to."""
        first = bisect_left(self._unjudged, (body, 0))
        for offset, found in islice(self._unjudged, first, None):
            if found == section_id and self._rank(offset + _SIZE).end != _IMPOSSIBLE:
                return BodyEnd(offset, False, 0)
        return None

    def _before_trailing(self, body: int, section_id: int) -> BodyEnd | None:
        """The first footer with an EOF byte behind it: anything may follow the end of a stream."""
        footer = stream.SectionFooter(SectionType.SECTION_FOOTER, section_id)
        needle = stream.SECTION_FOOTER.build(footer) + bytes([SectionType.EOF])
        for low in range(body, min(self._source.size, body + _SEARCH_CEILING), _STEP):
            at = self._source.read_upto(low, _STEP + len(needle) - 1).find(needle)
            if at >= 0:
                return BodyEnd(low + at, True, 0)
        return None

    # -- places -----------------------------------------------------------------------------------

    def _places(
        self, start: int, pattern: re.Pattern[bytes], ceiling: int
    ) -> list[tuple[int, int]]:
        """Every place that looks like a footer: offset and section id."""
        places: list[tuple[int, int]] = []
        size = self._source.size
        stop = min(size, start + _SEARCH_CEILING)
        for low in range(start, stop, _STEP):
            window = self._source.read_upto(low, _STEP + _REACH)
            last = low + len(window) == size
            for match in pattern.finditer(window):
                # What the next step begins with is left to it; `\Z` must be the file's end.
                at = match.start()
                if at >= _STEP or (not last and at + _REACH > len(window)):
                    break
                places.append((low + at, int.from_bytes(match[1], "big")))
                if len(places) >= ceiling:
                    return places
        return places

    # -- what follows -----------------------------------------------------------------------------

    def _rank(self, offset: int) -> _Rank:
        """How credible it is that the stream goes on at offset, right behind a footer."""
        cursor = Cursor(self._source, offset)
        try:
            for _ in range(_COMMANDS_CEILING):
                head = cursor.peek(1)
                if not head:
                    return _Rank(_CUT_OFF, 0)
                if head[0] != SectionType.COMMAND:
                    return self._rank_of(cursor, head[0])
                command = cursor.take(stream.COMMAND, Kind.COMMAND, "").value.command
                if not 0 < command <= max(MigCmd):
                    break
        except FixedRamError:
            return self._cut_or_not(cursor)
        return _Rank(_IMPOSSIBLE, 0)

    def _rank_of(self, cursor: Cursor, kind: int) -> _Rank:
        if kind == SectionType.EOF:
            return _Rank(_rank_of_end(cursor), 0)
        if kind in (SectionType.SECTION_PART, SectionType.SECTION_END):
            part = cursor.take(stream.SECTION_PART, Kind.SECTION_PART, "").value
            return _Rank(_GOES_ON if part.section_id in self._sections else _IMPOSSIBLE, 0)
        if kind not in (SectionType.SECTION_START, SectionType.SECTION_FULL):
            return _Rank(_IMPOSSIBLE, 0)
        header = cursor.take(stream.SECTION, Kind.SECTION_FULL, "").value
        if not is_name(header.idstr) or header.section_id in self._sections:
            return _Rank(_IMPOSSIBLE, 0)
        if header.idstr == _RAM:
            return _Rank(_GOES_ON, 0)
        return self._rank_body(cursor, header)

    def _rank_body(self, cursor: Cursor, header: stream.SectionHeader) -> _Rank:
        """The rank of what follows a section whose body is at cursor."""
        judged = self._of_id.get(header.section_id)
        framing = FRAMINGS.get(header.idstr)
        if framing is None:
            best = judged.best_from(cursor.offset) if judged else None
        else:
            for _ in framing(cursor, ""):
                pass
            best = judged.best_from(cursor.offset) if judged else None
        if best is None:
            # Its footer is nowhere: the file is cut off in its body, or this is no section.
            return _Rank(_CUT_IN_BODY, 1)
        return _Rank(best.end, best.length + 1)

    def _cut_or_not(self, cursor: Cursor) -> _Rank:
        """A structure that the file ends in is cut off; any other that fails is none."""
        return _Rank(_CUT_IN_BODY if cursor.remaining < 1 << 9 else _IMPOSSIBLE, 0)


def _rank_of_end(cursor: Cursor) -> int:
    """How credible the EOF byte at cursor is: nothing or a description behind it, or anything."""
    json_at = 1 + stream.VMDESCRIPTION.size
    head = cursor.peek(json_at + 1)
    if len(head) == 1:
        return _SOUND
    if head[1] != SectionType.VMDESCRIPTION or head[json_at:] not in (b"", b"{"):
        return _TRAILING
    stop = json_at + int.from_bytes(head[2:json_at], "big")
    if len(head) <= json_at or stop > cursor.remaining:
        return _CUT_OFF
    return _SOUND if cursor.peek(1, stop - 1) == b"}" else _TRAILING


def is_name(idstr: bytes) -> bool:
    """Whether bytes can name a section: printable ASCII."""
    return bool(idstr) and all(0x20 <= byte < 0x7F for byte in idstr)
