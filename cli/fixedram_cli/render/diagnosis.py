"""A diagnosis for people: the nearest cause in full, the others in a line each."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.terminal import console, count, print_line, visible
from fixedram_fmt.diagnosis import Side
from fixedram_fmt.loaders import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from fixedram_fmt.diagnosis import Cause, Diagnosis

__all__ = ["print_diagnosis"]

_SIDES = {
    Side.IMAGE: "the image: the file itself is damaged, cut or edited",
    Side.RECEIVER: "the receiver: the VM that is to load the image",
    Side.SENDER: "the sender: the VM has to save again, in another way",
    Side.HOST: "the host: its files, rights, memory or kernel",
    Side.COMMAND: "the command: what was typed or set",
}
#: Values of a message that stand in its text; the others come from the image.
_OF_IMAGE = ("section", "found", "expected")
_LABEL = 10
_WIDTH = 100
_LISTED = 12


def print_diagnosis(told: Diagnosis) -> None:
    """Everything that is known."""
    out = console()
    top, *others = told.causes or (None,)
    if top is None:
        _print_nothing(out, told)
    else:
        _print_top(out, top)
        _print_others(out, top, [one for one in others if one is not None])
    _print_lines(out, "lines that look like errors and are not known:", told.unknown, "yellow")
    _print_lines(out, "notes:", told.warnings, "cyan")


def _print_nothing(out: Console, told: Diagnosis) -> None:
    if told.verdict is Outcome.LOADS:
        text = f"{told.path}: loads, as far as validate can tell"
        print_line(out, Text(visible(text), style="green"))
    if told.lines:
        read = count(told.lines, "line")
        print_line(out, Text(f"no known message of a failure in {read}"))
    elif told.verdict is None:
        print_line(out, Text("there is nothing in the log"))


def _print_top(out: Console, cause: Cause) -> None:
    print_line(out, Text(visible(cause.message), style="bold red"))
    for label, value in _rows(cause):
        for number, line in enumerate(wrap(visible(value), min(_WIDTH, out.width) - _LABEL - 2)):
            head = Text(f"  {label if not number else '':<{_LABEL}}", style="dim")
            print_line(out, head.append(line, style="not dim"))
    for number, command in enumerate(cause.more):
        head = Text(f"  {'more' if not number else '':<{_LABEL}}", style="dim")
        print_line(out, head.append(visible(command), style="cyan not dim"))


def _rows(cause: Cause) -> Iterator[tuple[str, str]]:
    yield "meaning", cause.explanation
    yield "change", _SIDES[cause.side]
    yield "do", cause.fix
    if cause.offset is not None or cause.path:
        place = [] if cause.offset is None else [f"{cause.offset:#x}"]
        yield "where", " in ".join((*place, *([cause.path] if cause.path else [])))
    held = [f"{name} {cause.values[name]}" for name in _OF_IMAGE if name in cause.values]
    if held:
        yield "image", ", ".join(held)
    if cause.line is not None:
        times = f", {cause.times} times" if cause.times > 1 else ""
        yield "log", f"line {cause.line}{times}" + (f", since {cause.since}" if cause.since else "")
    if cause.source:
        yield "source", cause.source


def _print_others(out: Console, top: Cause, others: Sequence[Cause]) -> None:
    of_last = [one for one in others if one.attempt == top.attempt]
    _print_lines(out, "it is followed by:", [one.message for one in of_last], "")
    earlier: dict[int, Cause] = {}
    for one in others:
        if one.attempt != top.attempt:
            earlier.setdefault(one.attempt, one)
    _print_lines(
        out,
        "earlier attempts in the log failed by:",
        [f"line {one.line}: {one.message} ({one.side})" for one in earlier.values()],
        "",
    )


def _print_lines(out: Console, title: str, lines: Sequence[str], style: str) -> None:
    if not lines:
        return
    print_line(out, Text())
    print_line(out, Text(title, style="bold"))
    for line in lines[:_LISTED]:
        print_line(out, Text(f"  {visible(line)}", style=style))
    if len(lines) > _LISTED:
        print_line(out, Text(f"  and {len(lines) - _LISTED} more (--json has them)", style="dim"))
