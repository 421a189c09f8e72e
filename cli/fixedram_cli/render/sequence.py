"""A load as a sequence chart: what main meets, what the channels do, where main waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.terminal import count, print_line, unicode_terminal, visible
from fixedram_fmt.multifd.timeline import FATAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from fixedram_fmt.multifd.timeline import Call, Event, Timeline

__all__ = ["print_chart", "print_comparison"]

#: More channels than this are told as a number.
_LANES = 4
#: Records of pages, of which ordinary streams are full: neighbours are shown as one.
_PAGES = frozenset(("PAGE", "ZERO", "XBZRLE", "COMPRESS_PAGE"))


@dataclass(frozen=True, slots=True)
class _Signs:
    """What lines are drawn with."""

    work: str
    idle: str
    wait: str
    hand: str
    arrow: str
    cross: str


_DRAWN = _Signs("█", "│", "═", "─", "►", "✗")
_ASCII = _Signs("#", "|", "=", "-", ">", "x")


def _signs() -> _Signs:
    return _DRAWN if unicode_terminal() else _ASCII


# -- what is told, and what is told as one --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A record, or several alike, as each of the timelines has it; none where a call was cut."""

    name: str
    offset: int
    flag: str
    records: int
    events: tuple[Event, ...]


def _rows(lines: Sequence[Timeline]) -> Iterator[_Row]:
    """The records of timelines of one image; neighbouring PARTs that say the same are one."""
    ends = {event.offset for line in lines for event in _last_event(line)}
    calls = zip(*(line.calls for line in lines), strict=True)
    for _, alike in groupby(calls, lambda same: [_shape(call, ends) for call in same]):
        group = list(alike)
        first = group[0]
        name = first[0].section if len(group) == 1 else f"{len(group):,} parts"
        if not first[0].events:
            yield _Row(name, first[0].offset, "", 0, ())
        records = zip(*([number for _, number in _told(call[0])] for call in group), strict=True)
        for number, *told in zip(records, *map(_told, first), strict=True):
            event = told[0][0]
            yield _Row(name, event.offset, _flag(event), sum(number), tuple(one for one, _ in told))


def _last_event(line: Timeline) -> Iterator[Event]:
    """The event that ends a load badly, if one does: refused, or the sync that hangs."""
    for event in line.events:
        if event.refused:
            yield event
    if any(hazard.kind == "second-sync-hangs" for hazard in line.hazards):
        yield line.syncs[-1].event


def _shape(call: Call, ends: set[int]) -> object:
    """Equal for calls that can be shown as one."""
    if not call.section.startswith("part"):
        return call.offset
    return [
        (_flag(event), event.action, event.jobs, event.pending, event.reached, event.offset in ends)
        for event, _ in _told(call)
    ]


def _flag(event: Event) -> str:
    return "pages" if event.flag in _PAGES else event.flag


def _told(call: Call) -> Iterator[tuple[Event, int]]:
    """The events that are shown, with how many they stand for: those of pages together."""
    for is_page, group in groupby(call.events, lambda event: event.flag in _PAGES):
        events = list(group)
        if is_page:
            yield events[0], len(events)
        else:
            yield from ((event, 1) for event in events)


# -- one loader -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A line of the chart before the widths of its columns are known.

    told stands in the column of main, rule fills the rest of it up to the channels.
    """

    name: str
    offset: str
    flag: str
    told: str
    lane: str
    between: str = " "
    rule: str = ""
    style: str = "dim"


def print_chart(out: Console, line: Timeline, path: str) -> None:
    """The whole load, main on the left, channels on the right; like calls as one line."""
    signs = _signs()
    prop = "on" if line.property_on else "off"
    print_line(out, Text(visible(path), style="bold"))
    print_line(out, Text(f"  {line.loader.name}: {line.loader.text}"))
    told = f"{count(line.channels, 'channel')}, multifd_flush_after_each_section {prop}"
    print_line(out, Text(f"  {told}", style="dim"))
    print_line(out, Text())
    for text in _drawn(line, signs):
        print_line(out, text)
    print_line(out, Text())
    for text in _verdict(line, signs):
        print_line(out, text)


def _drawn(line: Timeline, signs: _Signs) -> Iterator[Text]:
    ends = set(_last_event(line))
    drawn = [part for row in _rows([line]) for part in _parts(row, line.channels, signs, ends)]
    if any(hazard.kind == "cleanup-before-io" for hazard in line.hazards):
        told = f"{signs.cross} declared done, nobody waited"
        drawn.append(_Drawn("", "", "", told, signs.work, style="bold red"))
    name = max([10, *(len(part.name) for part in drawn)])
    offset = max([7, *(len(part.offset) for part in drawn)])
    main = max([34, *(len(part.told) + 3 for part in drawn)])
    lanes = min(line.channels, _LANES)
    more = f"  +{line.channels - lanes}" if line.channels > lanes else ""
    heads = "  ".join(f"ch{number}" for number in range(lanes)) + more
    where = f"  {'ram_load()':<{name}} {'offset':>{offset}}  {'record':<13} "
    yield Text(f"{where}{'main':<{main}}{heads}", style="dim")
    for part in drawn:
        where = f"  {part.name:<{name}} {part.offset:>{offset}}  {part.flag:<13} "
        told = f"{part.told:<{main}}"
        if part.rule:
            told = f"{part.told:{part.rule[0]}<{main - 2}}{part.rule[1]} "
        channels = (part.between * 4).join([part.lane] * lanes)
        yield Text(f"{where}{told}{channels}", style=part.style)


def _parts(row: _Row, channels: int, signs: _Signs, ends: set[Event]) -> Iterator[_Drawn]:
    """The lines of a record: what it hands out, the wait, how it ends the load."""
    where = (row.name, f"{row.offset:#x}", row.flag)
    if not row.events:
        yield _Drawn(*where, f"{signs.cross} the stream stops", " ", style="bold red")
        return
    event = row.events[0]
    busy = event.pending > 0
    lane = signs.work if busy else signs.idle
    if event.jobs:
        told = f"hands out {count(event.jobs, 'job')} "
        rule = signs.hand + signs.arrow
        yield _Drawn(*where, told, signs.work, rule=rule, style="bold")
        where = ("", "", "")
    if event.action == "sync":
        jobs = count(event.pending, "job") if event.pending else "no jobs"
        told = f"sync_main(): {jobs}, {channels} ch "
        yield _Drawn(*where, told, lane, signs.wait, signs.wait * 2, "bold green")
    elif not event.jobs:
        records = f"{row.records:,} records" if row.flag == "pages" else ""
        yield _Drawn(*where, records if event.reached else "(not reached)", lane)
    if event in ends:
        told = "the load is refused" if event.refused else "main hangs"
        yield _Drawn("", "", "", f"{signs.cross} {told}", " ", style="bold red")


def _verdict(line: Timeline, signs: _Signs) -> Iterator[Text]:
    syncs = f"{count(line.jobs, 'job')}, {count(len(line.syncs), 'sync')}"
    yield Text(f"  {count(len(line.calls), 'call')} of ram_load(), {syncs}")
    for hazard in line.hazards:
        fatal = hazard.kind in FATAL
        where = f" at {hazard.offset:#x}" if hazard.offset is not None else ""
        text = Text(f"  {signs.cross if fatal else '-'} {hazard.kind}{where}: ")
        yield text.append(visible(hazard.message), style="bold red" if fatal else "yellow")
    if not line.is_safe:
        return
    if not line.calls:
        yield Text("  no RAM section: nobody hands out anything", style="yellow")
    elif not line.fixed:
        told = "an ordinary stream: main hands out nothing, and syncs only where multifd is on"
        yield Text(f"  {told}", style="yellow")
    else:
        yield Text("  all jobs are done before the load is", style="green")


# -- several loaders ------------------------------------------------------------------------------

_OUTCOMES = {
    "cleanup-before-io": "done too early",
    "second-sync-hangs": "hangs",
    "flush-refused": "refused",
    "capability-refused": "refused",
    "incomplete": "incomplete",
}


def print_comparison(out: Console, lines: Sequence[Timeline], path: str) -> None:
    """What each loader does at each record, and how it ends."""
    signs = _signs()
    print_line(out, Text(visible(path), style="bold"))
    prop = "on" if lines[0].property_on else "off"
    title = f"  the receiver's multifd_flush_after_each_section is {prop}"
    print_line(out, Text(title, style="dim"))
    print_line(out, Text())
    ends = [set(_last_event(line)) for line in lines]
    body = [
        [Text(row.name), Text(row.flag), *(map(_cell, row.events, ends, [signs] * len(lines)))]
        for row in _rows(lines)
        if row.events
    ]
    head = [Text(word) for word in ("ram_load()", "record", *(line.loader.name for line in lines))]
    syncs = [Text("syncs"), Text(), *(Text(str(len(line.syncs))) for line in lines)]
    outcome = [Text("the load"), Text(), *(_outcome(line) for line in lines)]
    table = [head, *body, syncs, outcome]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        if cells is syncs:
            print_line(out, Text())
        text = Text("  ", style="bold" if cells is head else "")
        for cell, width in zip(cells, widths, strict=True):
            text.append_text(cell).append(" " * (width + 2 - len(cell)))
        print_line(out, text)
    out.print()
    for line in lines:
        for hazard in line.hazards:
            style = "red" if hazard.kind in FATAL else "yellow"
            text = Text(f"  {line.loader.name}: ")
            print_line(out, text.append(f"{hazard.kind}: {visible(hazard.message)}", style=style))


def _cell(event: Event, ends: set[Event], signs: _Signs) -> Text:
    """A word for what the loader does at a record, or for how it ends there."""
    if not event.reached:
        return Text()
    if event in ends:
        word = "refused" if event.refused else "hangs"
        return Text(f"{signs.cross} {word}", style="bold red")
    if event.action == "sync":
        return Text(f"sync {event.pending:,}" if event.pending else "sync", style="bold green")
    return Text(".", style="dim")


def _outcome(line: Timeline) -> Text:
    for hazard in line.hazards:
        if hazard.kind in FATAL:
            return Text(_OUTCOMES[hazard.kind], style="bold red")
    return Text("safe", style="green")
