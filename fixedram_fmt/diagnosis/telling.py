"""From what a log says to a Diagnosis: each message with its meaning, in the order of causes."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, BinaryIO

from fixedram_fmt.diagnosis.cause import Cause, Diagnosis, Rank
from fixedram_fmt.diagnosis.collecting import Collected, Heard, collect
from fixedram_fmt.diagnosis.lines import LINE_CEILING, opened

if TYPE_CHECKING:
    from fixedram_fmt.diagnosis.entry import Entry

__all__ = ["of_log"]


def of_log(log: str | bytes | BinaryIO) -> Diagnosis:
    """What a log alone says."""
    return _told(collect(opened(log)))


def _told(collected: Collected) -> Diagnosis:
    heard = collected.in_order()
    return Diagnosis(
        path=None,
        causes=tuple(_cause(one, _section(one, heard), _reason(one, heard)) for one in heard),
        unknown=_counted(collected.unknown),
        warnings=(*_counted(collected.warnings), *_notes(collected)),
        lines=collected.lines,
        attempts=collected.attempt,
    )


def _cause(heard: Heard, section: dict[str, str], reason: Entry | None) -> Cause:
    said, entry = heard.said, heard.said.entry
    rules = entry.rules if reason is None else tuple(dict.fromkeys((*reason.rules, *entry.rules)))
    meaning, fix = _told_with(entry.meaning, said.holes), _told_with(entry.fix, said.holes)
    if reason is not None:
        meaning, fix = f"{meaning} {reason.meaning}", f"{reason.fix} {fix}"
    return Cause(
        message=said.message,
        rule=rules[0] if rules else None,
        offset=None,
        path="",
        side=entry.side if reason is None else reason.side,
        explanation=meaning,
        fix=fix,
        values={**section, **said.holes},
        since=said.text.since,
        source=entry.origin,
        line=heard.line,
        rules=rules,
        more=tuple(f"fixedram rules {rule}" for rule in rules[:1]),
        rank=entry.rank,
        key=entry.key,
        attempt=heard.attempt,
        times=heard.times,
    )


def _reason(heard: Heard, all_heard: list[Heard]) -> Entry | None:
    """The reason of QEMU's last line, for a message that does not say a cause itself.

    Only where no other message of the attempt does.
    """
    if heard.said.entry.rank not in (Rank.PART, Rank.SECTION):
        return None
    of_attempt = [one.said.entry for one in all_heard if one.attempt == heard.attempt]
    if any(entry.rank is Rank.CAUSE for entry in of_attempt):
        return None
    return next((entry for entry in of_attempt if entry.refines), None)


def _told_with(sentence: str, holes: dict[str, str]) -> str:
    """A sentence of the catalogue; a hole that a message cut short does not fill is left out."""
    parts = []
    for literal, name, _, _ in Formatter().parse(sentence):
        parts += [literal, "" if name is None else holes.get(name, "...")]
    return "".join(parts)


def _section(heard: Heard, all_heard: list[Heard]) -> dict[str, str]:
    """The section that a message without one is about: that of the next outer message with one."""
    if heard.said.entry.rank.distance >= Rank.SECTION.distance:
        return {}
    for one in all_heard:
        outer = one.said.entry.rank is Rank.SECTION and "name" in one.said.holes
        same = one.attempt == heard.attempt and one.line >= heard.line
        if outer and same:
            instance = one.said.holes.get("instance")
            return {"section": one.said.holes["name"]} | (
                {"instance": instance} if instance is not None else {}
            )
    return {}


def _counted(lines: dict[str, int]) -> tuple[str, ...]:
    return tuple(text if times == 1 else f"{text} ({times} times)" for text, times in lines.items())


def _notes(collected: Collected) -> list[str]:
    notes = []
    if collected.heard and collected.heard[-1].attempt < collected.attempt:
        notes.append(
            f"the last start in this log (number {collected.attempt}) tells no known failure;"
            " what follows is of earlier ones"
        )
    if collected.left_out:
        notes.append(f"{collected.left_out} earlier messages are left out")
    if collected.cut_lines:
        notes.append(
            f"{collected.cut_lines} lines are longer than {LINE_CEILING >> 10} KiB: they were read"
            " in pieces, and what stands across two pieces was not seen"
        )
    return notes
