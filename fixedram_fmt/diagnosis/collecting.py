"""Goes through a log once: keeps each known message once an attempt, and what it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fixedram_fmt.diagnosis.cause import Rank
from fixedram_fmt.diagnosis.entry import harmless
from fixedram_fmt.diagnosis.lines import Line, lines_of
from fixedram_fmt.diagnosis.search import Said, index, words_of
from fixedram_fmt.diagnosis.template import Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Collected", "Heard", "collect"]

#: Distinct messages and lines that are kept; a log may have any number.
_KEPT = 200
_UNKNOWN_KEPT = 50
_SHOWN = 500
#: Lines of a text that someone may have typed rather than copied.
_SHORT = 8
#: Lines that a terminal may have made of one.
_JOINED_LINES = 3
#: So far into a log a message may begin on a line that has no time and no program's name.
_PASTED = 200
_JOINED_CEILING = 4096
#: Where a line of its own begins: a time, a program or a level before a colon.
_PREFIX = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:|[\w./-]{1,80}(?:\[\d{1,10}\])?: "
    r"|\[[^\]]{1,40}\] |-\w"
)
_FROM_QEMU = re.compile(r"(?:^|[\s:(])(?:[\w./-]{0,200}/)?(?:qemu(?:-[\w.-]{1,40})?|kvm): ")
_WARNING = re.compile(r"(?:^|[\s:])(?:warning|WARNING|Warning) ?: ")
_INFO = re.compile(r"(?:^|[\s:])(?:info|INFO|debug|DEBUG) ?: ")
_ERROR_WORDS = frozenset(
    ("error", "Error", "ERROR", "failed", "Failed", "FAILED", "failure", "cannot", "Cannot",
     "unable", "Unable", "invalid", "Invalid", "unexpected", "Unexpected", "unsupported",
     "Unsupported", "mismatch", "Mismatch", "denied", "refused", "aborting", "Assertion",
     "Segmentation", "fatal", "FATAL")
)  # fmt: skip
_OPTIONS = re.compile(r"(?:^|\s)-[A-Za-z][\w-]*(?!\S)")
#: Options that make a line a command line.
_COMMAND_OPTIONS = 4


@dataclass(slots=True)
class Heard:
    """A known message of one attempt; column is its place among those of its line."""

    said: Said
    line: int
    column: int
    attempt: int
    times: int = 1

    @property
    def nearness(self) -> tuple[int, int, int]:
        """Sorts by cause: by rank; of one rank the first line, and of a line its end.

        QEMU writes inner messages on lines before the outer, and within a line after them.
        """
        return self.said.entry.rank.distance, self.line, -self.column


@dataclass(slots=True)
class Collected:
    """What a log says."""

    heard: list[Heard] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    #: The number of the attempt that is being read; 0 before anything of one.
    attempt: int = 0
    left_out: int = 0
    cut_lines: int = 0

    def in_order(self) -> list[Heard]:
        """The nearest cause of the last attempt first."""
        return sorted(self.heard, key=lambda one: (-one.attempt, one.nearness))


def collect(log: BinaryIO) -> Collected:
    """All that a log says, in one pass and bounded memory."""
    reader = _Reader()
    head: list[Line] = []
    for line in lines_of(log):
        reader.take(line)
        if len(head) <= _SHORT:
            head.append(line)
    reader.take_cut()
    if not reader.heard and not reader.collected.warnings and len(head) <= _SHORT:
        reader.take_parts(head)
    reader.collected.heard = reader.heard
    return reader.collected


class _Cut(NamedTuple):
    """A message that is cut short, and where."""

    said: list[Said]
    line: int
    attempt: int


class _Before(NamedTuple):
    """A line that may go on in the next."""

    text: str
    words: list[str]


class _Reader:
    """The state between two lines: what may go on, and whether an attempt has ended."""

    def __init__(self) -> None:
        self.collected = Collected()
        self._known: dict[tuple[int, object], Heard] = {}
        self._before: list[_Before] = []
        #: Messages that are cut short, until it is known that the next line does not go on.
        self._cut: dict[str, _Cut] = {}
        self._ended = False
        self._number = 0

    @property
    def heard(self) -> list[Heard]:
        """The known messages, as they came."""
        return list(self._known.values())

    def take(self, line: Line) -> None:
        """One line of the log."""
        collected = self.collected
        collected.lines = line.number
        if line.cut and line.number != self._number:
            collected.cut_lines += 1
        self._number = line.number
        words = words_of(line.text)
        if self._is_start(line.text, words):
            self._before = []
            return
        said = index().find(line.text, words)
        goes_on = not _PREFIX.match(line.text)
        before = self._before if goes_on else []
        if before and _may_join([one.words for one in before], words):
            said = self._joined(line.text) or said
        self._remember(_Before(line.text, words), before, line.number if goes_on else 0)
        warned = [one for one in said if _is_warning(line.text, one)]
        said = [one for one in said if one not in warned]
        if said:
            self._hear(said, line.number)
        elif warned:
            _count(self.collected.warnings, warned[0].message)
        else:
            self._classify(line.text, words, line.number)

    def _remember(self, line: _Before, before: list[_Before], number: int) -> None:
        """Keep a line that the next may go on; number is 0 where the line begins one of its own.

        In a long log few lines follow one that begins so, or it would be joined line by line.
        """
        if number > _PASTED and len(before) in (0, _JOINED_LINES - 1):
            self._before = []
        else:
            self._before = [*before, line][1 - _JOINED_LINES :]

    def take_cut(self) -> None:
        """The messages that are cut short, where the attempt tells no whole one like it."""
        for cut in self._cut.values():
            self.collected.attempt = max(self.collected.attempt, cut.attempt)
            for column, one in enumerate(cut.said):
                self._keep(Heard(one, cut.line, column, cut.attempt))

    def take_parts(self, lines: Iterable[Line]) -> None:
        """Lines of a short text that says nothing known: each may be a part of a message."""
        for line in lines:
            ends = (line.text, _FROM_QEMU.split(line.text)[-1], line.text.rpartition(": ")[2])
            found = (index().find_part(end) for end in dict.fromkeys(ends))
            said = index().find_cut(line.text) or next(filter(None, found), [])
            if said:
                self._hear(said, line.number)
                self.collected.unknown.pop(line.text[:_SHOWN], None)

    def _is_start(self, text: str, words: list[str]) -> bool:
        """Whether the line says that a VM is started, or something else that is no error."""
        known = _harmless()
        if known.keys().isdisjoint(words):
            return False
        for template, starts in (one for word in set(words) for one in known.get(word, ())):
            if template.find(text):
                if starts:
                    self._begin()
                return True
        return False

    def _begin(self) -> None:
        self.collected.attempt += 1
        self._ended = False

    def _joined(self, text: str) -> list[Said]:
        """What was one line and is several here: a message whose words reach over the break."""
        for count in range(1, len(self._before) + 1):
            before = [one.text for one in self._before[-count:]]
            for glue in (" ", ""):
                line = glue.join((*before, text))
                if len(line) > _JOINED_CEILING:
                    continue
                edge = len(line) - len(text)
                found = index().find(line, words_of(line))
                if any(_reaches_over(one, edge, len(before[0])) for one in found):
                    for part in before:
                        self.collected.unknown.pop(part[:_SHOWN], None)
                        self._cut.pop(part, None)
                    return found
        return []

    def _hear(self, said: Iterable[Said], number: int) -> None:
        found = list(said)
        if self.collected.attempt == 0 or (
            self._ended and any(self._is_new_cause(one) for one in found)
        ):
            self._begin()
        for column, one in enumerate(found):
            self._keep(Heard(one, number, column, self.collected.attempt))
            self._ended = self._ended or one.entry.rank is Rank.LAST_LINE

    def _is_new_cause(self, said: Said) -> bool:
        known = (self.collected.attempt, said.identity) in self._known
        return not known and said.entry.rank.distance < Rank.LAST_LINE.distance

    def _keep(self, heard: Heard) -> None:
        key = (heard.attempt, heard.said.identity)
        known = self._known.get(key)
        if known is not None:
            known.times += 1
            return
        if len(self._known) >= _KEPT:
            self._forget()
        self._known[key] = heard

    def _forget(self) -> None:
        """Make room: the oldest goes first."""
        del self._known[next(iter(self._known))]
        self.collected.left_out += 1

    def _classify(self, text: str, words: list[str], number: int) -> None:
        """A line without a known message: a warning, an error that is not known, or neither."""
        if _WARNING.search(text[:400]):
            _count(self.collected.warnings, text)
        elif _INFO.search(text[:400]) or _is_command(text):
            return
        elif _FROM_QEMU.search(text[:400]) or not _ERROR_WORDS.isdisjoint(words):
            said = index().find_cut(text)
            if said and len(self._cut) < _UNKNOWN_KEPT:
                self._cut[text] = _Cut(said, number, max(1, self.collected.attempt))
            elif not said:
                _count(self.collected.unknown, text)


def _may_join(before: list[list[str]], words: list[str]) -> bool:
    """Whether lines together may hold a message: one has a word of it, or the break cut one."""
    anchors = index().anchors
    if not all(anchors.isdisjoint(one) for one in (*before, words)):
        return True
    return bool(before[-1] and words) and before[-1][-1] + words[0] in anchors


def _is_warning(text: str, said: Said) -> bool:
    """Whether QEMU only warns by a message."""
    return text[: said.match.start].endswith(("warning: ", "info: "))


def _reaches_over(said: Said, edge: int, first: int) -> bool:
    """Whether a message begins in the first of the lines and its own words are in the last."""
    return said.match.start < first and said.match.spans[-1][1] > edge


def _count(kept: dict[str, int], text: str) -> None:
    shown = text[:_SHOWN]
    if shown in kept or len(kept) < _UNKNOWN_KEPT:
        kept[shown] = kept.get(shown, 0) + 1


def _is_command(text: str) -> bool:
    """Whether the line is what libvirt logs of the command it starts QEMU by."""
    if text.endswith("\\") or text.startswith(("LC_ALL=", "PATH=", "HOME=", "XDG_", "QEMU_AUDIO")):
        return True
    return sum(1 for _ in zip(range(_COMMAND_OPTIONS), _options(text), strict=False)) >= (
        _COMMAND_OPTIONS
    )


def _options(text: str) -> Iterator[str]:
    return (one[0] for one in _OPTIONS.finditer(text))


@cache
def _harmless() -> dict[str, list[tuple[Template, bool]]]:
    """What is no error, by a word of it; and whether a VM is started there."""
    found: dict[str, list[tuple[Template, bool]]] = {}
    for one in harmless():
        template = Template(one.text)
        word = max(template.words, key=len)
        found.setdefault(word, []).append((template, one.starts))
    return found
