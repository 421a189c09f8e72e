"""Places that look like footers: collected in one pass, the first and the last of them kept."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.successors import COMMAND_MAX, ID_CEILING

if TYPE_CHECKING:
    import numpy as np

    from fixedram_fmt.io.source import Source

    Places = tuple[np.ndarray, np.ndarray]

__all__ = ["KeptPlaces", "collect_places"]

_STEP = 1 << 20
#: Of more places than twice this, those in the middle are not judged.  Machines have some hundred
#: devices, and a body holds such a place by chance once in hundreds of MiB.
_PLACES_KEPT = 1 << 13
#: The same for an EOF byte with anything after it, which many zeros look like.
_LAST_PLACES_KEPT = 1 << 10

_SIZE = stream.SECTION_FOOTER.size
#: How far the look at a place goes: footer, VMDESCRIPTION's header and a brace.
_REACH = _SIZE + 1 + stream.VMDESCRIPTION.size + 1


def collect_places(
    source: Source, start: int, stop: int, started: set[int]
) -> tuple[KeptPlaces, KeptPlaces]:
    """Every place in [start, stop) that looks like a footer: its offset and section id.

    Those with a section, a part, a command or the end after them; those with an EOF byte and
    anything after that.  started are the ids that parts can have.
    """
    import numpy as np

    kept = KeptPlaces(_PLACES_KEPT), KeptPlaces(_LAST_PLACES_KEPT)
    known = np.array(sorted(started), dtype=np.uint32)
    for low in range(start, stop, _STEP):
        window = source.read_upto(low, min(_STEP, stop - low) + _REACH)
        found = _places_in(np.frombuffer(window, dtype=np.uint8), known)
        for places, (offsets, ids) in zip(kept, found, strict=True):
            places.add(offsets + low, ids)
    return kept


class KeptPlaces:
    """The first and the last `half` of the places that are added in their order."""

    def __init__(self, half: int) -> None:
        self._half = half
        self._count = 0
        self._first: list[tuple[int, int]] = []
        self._last: list[tuple[int, int]] = []

    def add(self, offsets: np.ndarray, ids: np.ndarray) -> None:
        """More places, after all others."""
        self._count += len(offsets)
        room = self._half - len(self._first)
        self._first += zip(offsets[:room].tolist(), ids[:room].tolist(), strict=True)
        tail = slice(max(room, len(offsets) - self._half), None)
        self._last += zip(offsets[tail].tolist(), ids[tail].tolist(), strict=True)
        del self._last[: -self._half]

    def places(self) -> list[tuple[int, int]]:
        """Those that are kept, in their order: offset and section id."""
        return self._first + self._last

    def between(self, start: int, stop: int, most: int) -> list[tuple[int, int]]:
        """The first of those that are kept and begin in [start, stop), most at the most."""
        found: list[tuple[int, int]] = []
        for kept in (self._first, self._last):
            low = bisect_left(kept, (start, 0))
            high = bisect_left(kept, (stop, 0), low)
            found += kept[low : min(high, low + most - len(found))]
        return found

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
    command = (kind == SectionType.COMMAND) & (byte(1) == 0) & (byte(2) <= COMMAND_MAX)
    ends = (kind == SectionType.EOF) & (byte(1) == SectionType.VMDESCRIPTION)
    ends &= (left < 7) | (byte(6) == ord("{"))
    good = begins | part | command | ends | (left <= 1)
    ids = _be32(padded, at + 1)
    trailing = (kind == SectionType.EOF) & ~good & (ids < ID_CEILING)
    return (at[good], ids[good]), (at[trailing], ids[trailing])


def _be32(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The big-endian numbers of four bytes at these offsets."""
    import numpy as np

    number = np.zeros(len(at), dtype=np.uint32)
    for ahead in range(4):
        number = number << np.uint32(8) | data[at + ahead]
    return number
