"""Finds where device bodies end when no description says so: by footers whose rest adds up.

A body may hold anything, a footer's bytes too.  So each place that could be a footer is judged by
what follows it: a section (whose own end must be such a place again), a command, the end.  An end
of a body is as good as what its chain of sections leads to, best first: RAM that begins or goes on
(the guest's memory may hold whole streams, so that nothing behind counts); the end of the stream at
the end of the file; one with a description, and something behind that; a file cut off between
sections; the end of the stream with anything behind it; a file cut off in a body.  Of ends that
lead to the same the one with more sections on the way counts, then the first.

Places are collected in one pass and judged from the last to the first, each once, so that the work
is that of the file's length, whatever a body holds.  Where more places look like a footer than any
machine has devices, the first and the last of them are judged and the rest is told.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import FixedRamError, TruncatedError
from fixedram_fmt.records import Cursor, Kind
from fixedram_fmt.schema import stream
from fixedram_fmt.schema.base import is_printable
from fixedram_fmt.schema.ram import RAM_IDSTR, TARGET_PAGE_SIZE_MIN, RamSaveFlag
from fixedram_fmt.schema.stream import MigCmd, SectionType
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.ramstate import ADDRESS_CEILING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.source import Source

    Places = tuple[np.ndarray, np.ndarray]

__all__ = ["BodyEnd", "FooterChain", "is_name"]

#: No further than this are footers looked for; devices of a large machine take some MiB.
_SEARCH_CEILING = 1 << 28
_STEP = 1 << 20
#: Of more places than twice this, those in the middle are not judged.  Machines have some hundred
#: devices, and a body holds such a place by chance once in hundreds of MiB.
_PLACES_KEPT = 1 << 13
#: The same for an EOF byte with anything behind it, which many zeros look like.
_LAST_PLACES_KEPT = 1 << 10
#: Commands and records of hand-coded sections that are walked to judge places, in all.
_RECORDS_CEILING = 1 << 15

_SIZE = stream.SECTION_FOOTER.size
#: How far the look at a place goes: footer, VMDESCRIPTION's header and a brace.
_REACH = _SIZE + 1 + stream.VMDESCRIPTION.size + 1

_RAM_FLAGS = sum(RamSaveFlag)
_COMMAND_MAX = int(max(MigCmd))

# How credible what follows a place is.
(
    _IMPOSSIBLE,
    _NOT_JUDGED,
    _CUT_IN_BODY,
    _TRAILING,
    _CUT_OFF,
    _DESCRIBED,
    _SOUND,
    _RAM_GOES_ON,
    _RAM_BEGINS,
) = range(9)


class _Rank(NamedTuple):
    """What a chain leads to, and how many sections it has on the way."""

    end: int
    length: int = 0

    def behind_one_more(self) -> _Rank:
        return _Rank(self.end, self.length + 1)


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
            alike = last.alike + (rank.end == last.rank.end)
            if rank < last.rank:
                best = _Best(last.offset, last.rank, alike)
            elif rank.end == last.rank.end:
                best = _Best(offset, rank, alike)
        self._negated.append(-offset)
        self._ranks.append(rank)
        self._best.append(best)

    def best_from(self, offset: int) -> _Best | None:
        """The best of the places at offset and behind it."""
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
        self._good, self._last = _Kept(_PLACES_KEPT), _Kept(_LAST_PLACES_KEPT)
        self._collect(start)
        for offset, section_id in heapq.merge(
            reversed(self._good.places()), reversed(self._last.places()), reverse=True
        ):
            self._of_id[section_id].add(offset, self._rank(offset + _SIZE, section_id))

    def end_of(self, body: int, section_id: int) -> BodyEnd | None:
        """Where the body of section_id that begins at offset body ends; None: nothing leads on."""
        judged = self._of_id.get(section_id)
        best = judged.best_from(body) if judged else None
        if best is None or best.rank.end == _IMPOSSIBLE:
            return None
        verified = best.rank.end != _NOT_JUDGED and not self._good.dropped(body, best.offset)
        return BodyEnd(best.offset, verified, best.alike - 1)

    def covers(self, body: int) -> bool:
        """Whether what can end a body that begins at offset body was looked at."""
        return body < self._stop and not self._good.dropped(body, body)

    # -- places -----------------------------------------------------------------------------------

    def _collect(self, start: int) -> None:
        """Keep every place that looks like a footer: its offset and section id."""
        import numpy as np

        known = np.array(sorted(self._started), dtype=np.uint32)
        for low in range(start, self._stop, _STEP):
            window = self._source.read_upto(low, min(_STEP, self._stop - low) + _REACH)
            places = _places_in(np.frombuffer(window, dtype=np.uint8), known)
            for kept, (offsets, ids) in zip((self._good, self._last), places, strict=True):
                kept.add(offsets + low, ids)

    # -- what follows -----------------------------------------------------------------------------

    def _rank(self, offset: int, before: int) -> _Rank:
        """How credible it is that the stream goes on at offset, behind a footer of id before."""
        cursor = Cursor(self._source, offset)
        try:
            while True:
                head = cursor.peek(1)
                if not head:
                    return _Rank(_CUT_OFF)
                if head[0] != SectionType.COMMAND:
                    return self._rank_of(cursor, head[0], before)
                if self._records_left <= 0:
                    return _Rank(_NOT_JUDGED)
                self._records_left -= 1
                if not _passed_command(cursor):
                    return _Rank(_IMPOSSIBLE)
        except TruncatedError:
            return _Rank(_CUT_IN_BODY)
        except FixedRamError:
            return _Rank(_IMPOSSIBLE)

    def _rank_of(self, cursor: Cursor, kind: int, before: int) -> _Rank:
        if kind == SectionType.EOF:
            return _Rank(_rank_of_end(cursor))
        if kind in (SectionType.SECTION_PART, SectionType.SECTION_END):
            part = cursor.take(stream.SECTION_PART, Kind.SECTION_PART, "").value.section_id
            if part not in self._started:
                return _Rank(_IMPOSSIBLE)
            rank = self._rank_body(cursor, self._known[part], part)
            # Readers take a part of a section that has ended; nobody sends one.
            return rank if part in self._open else min(rank, _Rank(_CUT_OFF, rank.length))
        if kind in (SectionType.SECTION_START, SectionType.SECTION_FULL):
            return self._rank_section(cursor, before)
        return _Rank(_IMPOSSIBLE)

    def _rank_section(self, cursor: Cursor, before: int) -> _Rank:
        header = cursor.take(stream.SECTION, Kind.SECTION_FULL, "").value
        taken = header.section_id in self._known or header.section_id == before
        if taken or not is_name(header.idstr):
            return _Rank(_IMPOSSIBLE)
        if header.idstr == RAM_IDSTR:
            return _Rank(_IMPOSSIBLE) if self._has_ram else _rank_of_ram(cursor)
        return self._rank_body(cursor, header.idstr, header.section_id)

    def _rank_body(self, cursor: Cursor, idstr: bytes, section_id: int) -> _Rank:
        """The rank of what follows a body at cursor."""
        judged = self._of_id.get(section_id)
        if idstr == RAM_IDSTR:
            rank = self._rank_ram_part(cursor, judged)
        elif idstr in FRAMINGS:
            for _ in FRAMINGS[idstr](cursor, ""):
                self._records_left -= 1
                if self._records_left <= 0:
                    return _Rank(_NOT_JUDGED)
            rank = self._rank_at(cursor, judged)
        else:
            best = judged.best_from(cursor.offset) if judged else None
            # Its footer may be nowhere: the file is cut off in its body, or this is no section.
            rank = best.rank if best else _Rank(_CUT_IN_BODY)
        return rank.behind_one_more()

    def _rank_at(self, cursor: Cursor, judged: _Judged | None) -> _Rank:
        """The rank of a body that must end right here."""
        if cursor.remaining < _SIZE or cursor.offset >= self._stop:
            return _Rank(_CUT_IN_BODY)
        if self._good.dropped(cursor.offset, cursor.offset):
            return _Rank(_NOT_JUDGED)
        rank = judged.rank_at(cursor.offset) if judged else None
        return rank or _Rank(_IMPOSSIBLE)

    def _rank_ram_part(self, cursor: Cursor, judged: _Judged | None) -> _Rank:
        """The body of a part of RAM: an EOS, or records which are not walked here."""
        word = cursor.peek(8)
        number = int.from_bytes(word, "big")
        if len(word) < 8:
            return _Rank(_CUT_IN_BODY)
        if number == RamSaveFlag.EOS:
            cursor.skip(8, Kind.EOS, "", None)
            return self._rank_at(cursor, judged)
        sends = number & _RAM_FLAGS and number < ADDRESS_CEILING
        return _Rank(_RAM_GOES_ON if sends else _IMPOSSIBLE)


def _passed_command(cursor: Cursor) -> bool:
    """Go behind the command at cursor and what is packaged in it; False: it is none."""
    command = cursor.take(stream.COMMAND, Kind.COMMAND, "").value
    if command.packaged_length is not None:
        cursor.skip(command.packaged_length, Kind.PACKAGED, "", None)
    return 0 < command.command <= _COMMAND_MAX


def _rank_of_ram(cursor: Cursor) -> _Rank:
    """RAM starts with the size of all blocks: whole pages, and a flag in the bits below."""
    word = cursor.peek(8)
    if len(word) < 8:
        return _Rank(_CUT_IN_BODY)
    number = int.from_bytes(word, "big")
    starts = number % TARGET_PAGE_SIZE_MIN == RamSaveFlag.MEM_SIZE
    return _Rank(_RAM_BEGINS if starts else _IMPOSSIBLE)


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
    if cursor.peek(1, stop - 1) != b"}":
        return _TRAILING
    return _SOUND if stop == cursor.remaining else _DESCRIBED


def is_name(idstr: bytes) -> bool:
    """Whether bytes can name a section: printable ASCII."""
    return bool(idstr) and is_printable(idstr)


# -- collecting places ----------------------------------------------------------------------------


class _Kept:
    """The first and the last `half` of the places that are added in their order."""

    def __init__(self, half: int) -> None:
        self._half = half
        self._count = 0
        self._first: list[tuple[int, int]] = []
        self._last: list[tuple[int, int]] = []

    def add(self, offsets: np.ndarray, ids: np.ndarray) -> None:
        """More places, behind all others."""
        self._count += len(offsets)
        room = self._half - len(self._first)
        self._first += zip(offsets[:room].tolist(), ids[:room].tolist(), strict=True)
        tail = slice(max(room, len(offsets) - self._half), None)
        self._last += zip(offsets[tail].tolist(), ids[tail].tolist(), strict=True)
        del self._last[: -self._half]

    def places(self) -> list[tuple[int, int]]:
        """Those that are kept, in their order: offset and section id."""
        return self._first + self._last

    def dropped(self, start: int, stop: int) -> bool:
        """Whether places that begin in start .. stop were dropped."""
        whole = self._count == len(self._first) + len(self._last)
        return not whole and start < self._last[0][0] and stop > self._first[-1][0]


def _places_in(window: np.ndarray, known: np.ndarray) -> tuple[Places, Places]:
    """Footers in window by what follows them: a section, a part, a command, the end; or trailing.

    known are the ids that parts can have.  Offsets are relative to the window; those in its last
    _REACH bytes are found only where nothing follows the window.
    """
    import numpy as np

    full = len(window) >= _STEP + _REACH
    at = np.flatnonzero(window[: _STEP if full else None] == SectionType.SECTION_FOOTER)
    at = at[at + _SIZE <= len(window)]
    # Behind the file's end everything is zero, and `left` bytes are there.
    padded = np.concatenate([window, np.zeros(_REACH + 1, dtype=np.uint8)])
    at = at[padded[at + _SIZE] <= SectionType.COMMAND]
    kind, left = padded[at + _SIZE], len(window) - _SIZE - at

    def byte(ahead: int) -> np.ndarray:
        return padded[at + _SIZE + ahead]

    begins = (kind == SectionType.SECTION_START) | (kind == SectionType.SECTION_FULL)
    printable = (byte(6) >= 0x20) & (byte(6) < 0x7F)
    begins &= (left < 7) | ((byte(5) != 0) & printable)
    part = (kind == SectionType.SECTION_PART) | (kind == SectionType.SECTION_END)
    part &= (left < 5) | np.isin(_be32(padded, at + _SIZE + 1), known)
    command = (kind == SectionType.COMMAND) & (byte(1) == 0) & (byte(2) <= _COMMAND_MAX)
    ends = (kind == SectionType.EOF) & (byte(1) == SectionType.VMDESCRIPTION)
    ends &= (left < 7) | (byte(6) == ord("{"))
    good = begins | part | command | ends | (left <= 1)
    ids = _be32(padded, at + 1)
    trailing = (kind == SectionType.EOF) & ~good & (ids < 1 << 16)
    return (at[good], ids[good]), (at[trailing], ids[trailing])


def _be32(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The big-endian numbers of four bytes at these offsets."""
    import numpy as np

    number = np.zeros(len(at), dtype=np.uint32)
    for ahead in range(4):
        number = number << np.uint32(8) | data[at + ahead]
    return number
