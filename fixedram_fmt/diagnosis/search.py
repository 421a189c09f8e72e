"""All known messages of a line: an index of words says which templates are worth a look."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fixedram_fmt.diagnosis.cause import Rank
from fixedram_fmt.diagnosis.entry import Entry, Text, catalogue
from fixedram_fmt.diagnosis.template import Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Index", "Said", "index", "said_in", "words_of"]

_WORDS = re.compile(r"[A-Za-z_]{2,}")
#: Characters and words by which a message that is cut short is known.
_CORE, _CORE_WORDS = 12, 2
#: Characters of a message that are kept.
_MESSAGE = 1000
#: Messages of one line that are looked at; QEMU 11 joins ten at most.
_IN_LINE = 64


_Text = tuple[Entry, Text]
_One = TypeVar("_One")


class _Core(NamedTuple):
    """Words of a text by which it is known, and which of its parts they are of."""

    entry: Entry
    text: Text
    part: int
    words: str


class Said(NamedTuple):
    """A message that is in a line."""

    entry: Entry
    text: Text
    match: Match
    message: str
    holes: dict[str, str]

    @property
    def identity(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """What makes two the same: the entry, and what stands in its holes."""
        return id(self.entry), tuple(sorted(self.holes.items()))


def words_of(line: str) -> list[str]:
    """The words of a line, as the index knows them."""
    return _WORDS.findall(line)


class Index:
    """Templates by the word that the fewest others have."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._texts = [(entry, text) for entry in entries for text in entry.wordings]
        self._by_word = _by_rarest_word((one, one[1].template.words) for one in self._texts)
        self._without = [one for one in self._texts if not one[1].template.words]
        #: A line without any of these words has no message, but for those without words.
        self.anchors = frozenset(self._by_word)
        cores = _cores(self._texts)
        self._cores = _by_rarest_word((one, words_of(one.words)) for one in cores)

    def find(self, line: str, words: list[str]) -> list[Said]:
        """The messages in a line, from left to right; words are the line's."""
        candidates = [one for word in _known(self._by_word, words) for one in self._by_word[word]]
        candidates += self._without
        found = [
            (entry, text, match)
            for entry, text in candidates
            for match in text.template.find(line)
            if not entry.whole or _is_whole(match, line)
        ]
        return _parted(line, _unshadowed(found)) if found else []

    def find_cut(self, line: str) -> list[Said]:
        """Messages of which only the longest words are in a line; none that several may be."""
        found = [
            (core.entry, core.text, match)
            for word in _known(self._cores, words_of(line))
            for core in self._cores[word]
            if (match := core.text.template.find_core(line, core.part, core.words)) is not None
        ]
        return _parted(line, _unshadowed(found)) if found else []

    def find_part(self, line: str) -> list[Said]:
        """Messages of which the line is a part, the most general ones."""
        if len(words_of(line)) < _CORE_WORDS or len(line) < _CORE:
            return []
        found = [
            (entry, text)
            for entry, text in self._texts
            if any(line in literal for literal, _, _ in text.template.parts)
        ]
        most = max((len(text.template.holes) for _, text in found), default=0)
        whole = Match(0, len(line), {}, ((0, len(line)),))
        return [
            Said(entry, text, whole, line, {})
            for entry, text in found
            if len(text.template.holes) == most
        ]


def _known(by_word: Mapping[str, object], words: list[str]) -> list[str]:
    """Those of the words of a line that are in an index, each once, in its order."""
    if by_word.keys().isdisjoint(words):
        return []
    return [word for word in dict.fromkeys(words) if word in by_word]


def _by_rarest_word(texts: Iterable[tuple[_One, Sequence[str]]]) -> dict[str, list[_One]]:
    """Texts with words, each under that of its words which the fewest others have."""
    listed = [(one, words) for one, words in texts if words]
    common = Counter(word for _, words in listed for word in set(words))
    found: dict[str, list[_One]] = defaultdict(list)
    for one, words in listed:
        found[min(words, key=lambda word: (common[word], -len(word)))].append(one)
    return found


def _cores(texts: Iterable[_Text]) -> list[_Core]:
    """Words by which texts are known; of several with the same the one with the most holes."""
    cores: dict[str, _Core] = {}
    for entry, text in texts:
        for part, words in text.template.cores:
            known = cores.get(words)
            holes = len(text.template.holes)
            if len(words_of(words)) >= _CORE_WORDS and (
                known is None or holes > len(known.text.template.holes)
            ):
                cores[words] = _Core(entry, text, part, words)
    return list(cores.values())


def _is_whole(match: Match, line: str) -> bool:
    before = line[: match.start]
    return match.stop >= len(line.rstrip(" .\"'")) and (not before or before.endswith(": "))


_Found = tuple[Entry, Text, "Match"]


def _unshadowed(found: list[_Found]) -> list[_Found]:
    """Those whose words are no part of the words of a longer one, from left to right."""
    taken: list[tuple[int, int]] = []
    kept: list[_Found] = []
    longest = sorted(found, key=lambda one: (-one[2].weight, len(one[2].spans), one[2].start))
    for one in longest[:_IN_LINE]:
        spans = one[2].spans
        if not any(a < stop and start < b for a, b in spans for start, stop in taken):
            taken += spans
            kept.append(one)
    return sorted(kept, key=lambda each: each[2].spans[0])


def _parted(line: str, found: list[_Found]) -> list[Said]:
    """Each with its own part of the line: a hole at the end stops where the next one begins."""
    parted = []
    for number, (entry, text, match) in enumerate(found):
        later = [one[2].start for one in found[number + 1 :] if one[2].start > match.start]
        after = min(later, default=len(line))
        stop, holes = min(match.stop, after), match.holes
        if match.tail is not None:
            held = line[match.spans[-1][1] : stop][:_MESSAGE].strip()
            holes = {**holes, match.tail: held.removesuffix(":").rstrip()}
        elif entry.rank is Rank.CAUSE and line.startswith(": ", stop):
            stop = after  # the text of an errno, or what another program says
        message = line[match.start : stop][:_MESSAGE].strip(": ")
        parted.append(Said(entry, text, match, message, holes))
    return parted


@cache
def index() -> Index:
    """The index of the whole catalogue."""
    return Index(catalogue())


def said_in(line: str) -> list[Said]:
    """The known messages in one line."""
    return index().find(line, words_of(line))
