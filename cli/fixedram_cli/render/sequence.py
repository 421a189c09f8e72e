"""A load as a sequence chart: what main meets, what the channels do, where main waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fixedram_cli.render.terminal import count, unicode_terminal, visible
from fixedram_fmt.multifd.timeline import FATAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from fixedram_fmt.multifd.timeline import Call, Event, Timeline

__all__ = ["print_chart", "print_comparison", "print_explanation"]

#: More channels than this are told as a number.
_LANES = 4
#: Title, then paragraphs; a design's name stands in front of what it does.
_EXPLANATION = (
    (
        "The question",
        (
            (
                "",
                "With a fixed layout the main thread reads the list of RAM blocks and hands runs of"
                " present pages to receive channels, which read at their own pace. Somebody must"
                " wait for them before the load is declared done, or the guest starts on memory"
                " that is not there yet. Who waits, and when? And can it be done twice?",
            ),
        ),
    ),
    (
        "What was proposed",
        (
            (
                "fixed-ram-v4",
                "The sender puts MULTIFD_FLUSH before the last EOS; the receiver waits there, once:"
                " the channels quit at the sync, a second one would wait for ever. With"
                " multifd_flush_after_each_section on the sender writes no FLUSH at all, and this"
                " receiver never waits.",
            ),
            (
                "per-ram-load",
                "Wait at the end of every ram_load(). There is one for each section, START, each"
                " PART and END, and all pages are handed out in START: most waits have nothing to"
                " wait for, and a wait must be possible more than once.",
            ),
            (
                "reentrant",
                "Make the sync one that can be done again: a channel that wakes without a job"
                " answers and goes on waiting. It is done at each FLUSH, and at each EOS with the"
                " property on. An image without FLUSH is still never waited for with it off.",
            ),
        ),
    ),
    (
        "What was merged, and why it is right",
        (
            (
                "mapped-ram",
                "Wait once, at the end of the list of blocks, where all pages have been handed out."
                " That depends on no flag of the stream: PARTs and their EOS carry nothing with a"
                " fixed layout, so nothing should depend on them. FLUSH became an invalid flag"
                " there, and the property has no effect.",
            ),
        ),
    ),
    (
        "What stayed open",
        (
            (
                "",
                "A channel that dies with an error never posts, and main waits for it. In fixedram"
                " load a channel that fails posts once more, as its last will, and main finds the"
                " error. spec/promela has all three as models that a checker goes through.",
            ),
        ),
    ),
)
_TEXT_WIDTH = 90


def print_explanation(out: Console) -> None:
    """What the discussion was about, on one screen."""
    from textwrap import wrap

    for title, paragraphs in _EXPLANATION:
        _line(out, Text(title, style="bold"))
        for name, text in paragraphs:
            label = f"{name:<14}" if name else ""
            for number, part in enumerate(wrap(text, min(_TEXT_WIDTH, out.width) - 2 - len(label))):
                shown = label if not number else " " * len(label)
                _line(out, Text(f"  {shown}", style="cyan").append(part, style="not cyan"))
        _line(out, Text())


@dataclass(frozen=True, slots=True)
class _Signs:
    """What lines are drawn with."""

    work: str
    idle: str
    wait: str
    arrow: str
    cross: str


_DRAWN = _Signs("█", "│", "═", "►", "✗")
_ASCII = _Signs("#", "|", "=", ">", "x")


_ENDS = {"flush-refused": "refused", "second-sync-hangs": "hangs"}


def _ends(line: Timeline) -> dict[int | None, str]:
    """At which record the load ends badly, and how."""
    return {hazard.offset: _ENDS[hazard.kind] for hazard in line.hazards if hazard.kind in _ENDS}


def _line(out: Console, text: Text) -> None:
    out.print(text, soft_wrap=True)


def _title(line: Timeline) -> str:
    prop = "on" if line.property_on else "off"
    return (
        f"{line.loader.name}, {count(line.channels, 'channel')},"
        f" multifd_flush_after_each_section {prop}"
    )


# -- one loader -----------------------------------------------------------------------------------


def print_chart(out: Console, line: Timeline, path: str) -> None:
    """The whole load, main on the left, channels on the right; like calls as one line."""
    signs = _DRAWN if unicode_terminal() else _ASCII
    lanes = min(line.channels, _LANES)
    _line(out, Text(visible(path), style="bold"))
    _line(out, Text(f"  {_title(line)}: {line.loader.text}"))
    _line(out, Text())
    head = f"  {'ram_load()':<12} {'offset':>12}  {'record':<14} {'main':<34}"
    channels = "  ".join(f"ch{number}" for number in range(lanes))
    more = f"  +{line.channels - lanes}" if line.channels > lanes else ""
    _line(out, Text(head + channels + more, style="dim"))
    busy, ends = False, _ends(line)
    for calls in _alike(line.calls):
        for event in calls[0].events:
            for text in _event_lines(event, calls, signs, lanes, busy=busy):
                _line(out, text)
            if event.offset in ends:
                _line(out, Text(f"{'':42}{signs.cross} {ends[event.offset]}", style="bold red"))
            busy = (busy or event.jobs > 0) and event.action != "sync"
    _line(out, Text())
    for text in _verdict(line, signs):
        _line(out, text)


def _alike(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Calls, neighbours that hold the same together."""
    group: list[Call] = []
    for call in calls:
        if group and _shape(group[-1]) != _shape(call):
            yield group
            group = []
        group.append(call)
    if group:
        yield group


def _shape(call: Call) -> object:
    if not call.section.startswith("part"):
        return call.section, call.offset
    return [
        (event.flag, event.action, event.jobs, bool(event.pending), event.reached)
        for event in call.events
    ]


def _event_lines(
    event: Event, calls: Sequence[Call], signs: _Signs, lanes: int, *, busy: bool
) -> Iterator[Text]:
    name = event.section
    if len(calls) > 1:
        name = f"{len(calls)} parts"
    lane = signs.work if busy else signs.idle
    where = f"  {name:<12} {event.offset:>#12x}  {event.flag:<14} "
    if event.jobs:
        told = f"hands out {count(event.jobs, 'job')} "
        arrow = f"{told}{'-' * max(0, 32 - len(told))}{signs.arrow} "
        yield Text(where + arrow + _lanes(signs.work, lanes), style="bold")
        where = " " * len(where)
        lane = signs.work
    if event.action == "sync":
        pending = f"{event.pending:,} pending" if event.pending else "nothing pending"
        told = f"sync_main(): {pending} "
        bar = f"{told}{signs.wait * max(0, 33 - len(told))} "
        yield Text(where + bar).append(_lanes(lane, lanes, signs.wait), style="bold green")
        return
    if not event.jobs:
        told = "" if event.reached else "(not reached)"
        yield Text(f"{where}{told:<34}{_lanes(lane, lanes)}", style="dim")


def _lanes(sign: str, lanes: int, between: str = " ") -> str:
    return (between * 4).join([sign] * lanes)


def _verdict(line: Timeline, signs: _Signs) -> Iterator[Text]:
    syncs = f"{count(line.jobs, 'job')}, {count(line.syncs, 'sync')}"
    yield Text(f"  {count(len(line.calls), 'call')} of ram_load(), {syncs}")
    for hazard in line.hazards:
        fatal = hazard.kind in FATAL
        where = f" at {hazard.offset:#x}" if hazard.offset is not None else ""
        text = Text(f"  {signs.cross if fatal else '-'} {hazard.kind}{where}: ")
        yield text.append(visible(hazard.message), style="bold red" if fatal else "yellow")
    if line.is_safe:
        yield Text("  all jobs are done before the load is", style="green")


# -- several loaders ------------------------------------------------------------------------------


def print_comparison(out: Console, lines: Sequence[Timeline], path: str) -> None:
    """What each loader does at each record, and how it ends."""
    signs = _DRAWN if unicode_terminal() else _ASCII
    _line(out, Text(visible(path), style="bold"))
    prop = "on" if lines[0].property_on else "off"
    title = f"  the receiver's multifd_flush_after_each_section is {prop}"
    _line(out, Text(title, style="dim"))
    _line(out, Text())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("  ram_load()", "record", *(line.loader.name for line in lines)):
        table.add_column(name, no_wrap=True)
    longest = max(lines, key=lambda line: len(line.calls))
    columns = [list(_cells(line)) for line in lines]
    for section, record, cells in _merged(longest, columns):
        table.add_row(f"  {section}", record, *(_cell(cell, signs) for cell in cells))
    table.add_row("")
    table.add_row("  syncs", "", *(str(line.syncs) for line in lines))
    table.add_row("  the load", "", *(_outcome(line) for line in lines))
    out.print(table)
    out.print()
    for line in lines:
        for hazard in line.hazards:
            style = "red" if hazard.kind in FATAL else "yellow"
            text = Text(f"  {line.loader.name}: ", style="bold")
            _line(out, text.append(f"{hazard.kind}: {visible(hazard.message)}", style=style))


def _cells(line: Timeline) -> Iterator[str]:
    """A word for each record: what the loader does there, or how it ends."""
    ends = _ends(line)
    for event in line.events:
        if not event.reached:
            yield ""
        elif event.offset in ends:
            yield ends[event.offset]
        elif event.action == "sync":
            yield f"sync {event.pending}" if event.pending else "sync"
        else:
            yield "."


def _merged(
    longest: Timeline, columns: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str, list[str]]]:
    """Section, record and cells; rows of PARTs that say the same are one."""
    rows = [
        (event.section, event.flag, [cell or "" for cell in cells])
        for event, cells in zip(longest.events, zip_longest(*columns, fillvalue=""), strict=False)
    ]
    at = 0
    while at < len(rows):
        stop = at + 1
        while (
            stop < len(rows)
            and rows[at][0].startswith("part")
            and rows[stop][0].startswith("part")
            and rows[stop][1:] == rows[at][1:]
        ):
            stop += 1
        section = rows[at][0] if stop - at == 1 else f"{stop - at} parts"
        yield section, rows[at][1], rows[at][2]
        at = stop


def _cell(cell: str, signs: _Signs) -> Text:
    if cell in ("refused", "hangs"):
        return Text(f"{signs.cross} {cell}", style="bold red")
    return Text(cell, style="bold green" if cell.startswith("sync") else "dim")


def _outcome(line: Timeline) -> Text:
    words = {
        "cleanup-before-io": "done too early",
        "second-sync-hangs": "hangs",
        "flush-refused": "refused",
        "capability-refused": "refused",
        "incomplete": "refused",
    }
    for hazard in line.hazards:
        if hazard.kind in words:
            return Text(words[hazard.kind], style="bold red")
    return Text("safe", style="green")
