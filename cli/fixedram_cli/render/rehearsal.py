"""How a rehearsal went, for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.terminal import console, count, print_line, visible
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.rehearsal import Rehearsal, RehearsalPlan
    from fixedram_fmt.rehearsal.rehearsed import ChangedArgument, MemoryCompared

__all__ = ["print_plan", "print_rehearsal"]

_ENDS = {
    "completed": ("loaded", "bold green"),
    "failed": ("refused", "bold red"),
    "crashed": ("crashed", "bold red"),
    "timeout": ("no end within the time limit", "bold red"),
    "not-started": ("QEMU did not start with these arguments", "bold red"),
}
_LINES = 20


def print_plan(plan: RehearsalPlan) -> None:
    """The command, for a shell, and what in it is not as it was given."""
    # Controls in arguments are quoted by the shell's own means and shown as what they are.
    print(visible(shlex.join(plan.argv)))
    out = console(stderr=True)
    for line in (*_changes(plan.changed), *_doubts(plan.uncertain)):
        print_line(out, line)


def print_rehearsal(done: Rehearsal) -> None:
    """What was started, how it ended, what its memory was, and why it failed."""
    out = console()
    for line in _lines(done):
        print_line(out, line)


def _lines(done: Rehearsal) -> Iterator[Text]:
    words, style = _ENDS[done.status]
    version = f" {done.qemu.version}" if done.qemu.version else ""
    yield Text(visible(f"{done.path} into {done.qemu.argv[0]}{version}"), style="bold")
    for one in done.adapted:
        yield Text(f"  {visible(one.message)}", style="red")
        yield Text(f"    so: {visible(one.change)}", style="green")
    line = Text("  ").append(words, style=style).append(f", {done.seconds:.2f} s")
    if done.exit_code is not None:
        line.append(f", exit code {done.exit_code}")
    yield line
    if done.memory is not None:
        yield from _memory(done.memory)
    for message in done.messages[:_LINES]:
        yield Text(f"  {visible(message)}", style="" if done.status == "completed" else "red")
    if len(done.messages) > _LINES:
        yield Text(f"  ... {count(len(done.messages) - _LINES, 'more line')}", style="dim")
    for cause in done.causes[:1]:
        yield Text(f"  {visible(cause.explanation)}")
        yield Text(f"    fix: {visible(cause.fix)}", style="green")
    if len(done.causes) > 1:
        more = count(len(done.causes) - 1, "more message is", "more messages are")
        yield Text(f"    {more} explained with --json", style="dim")
    yield from _changes(done.changed)
    yield from _doubts(done.uncertain)
    if done.status != "completed":
        yield Text(f"  with: {visible(shlex.join(done.qemu.argv))}", style="dim")


def _memory(memory: MemoryCompared) -> Iterator[Text]:
    told = f"{human_size(memory.compared)} of {human_size(memory.total)} compared"
    if not memory.compared:
        yield Text("  memory: nothing could be compared", style="yellow")
    elif memory.difference is None and not memory.finished:
        yield Text("  memory not all compared", style="yellow").append(f", {told}", style="default")
    elif memory.difference is None:
        yield Text("  memory equal", style="green").append(f", {told}", style="default")
    else:
        one = memory.difference
        yield Text("  memory differs", style="bold red").append(f", {told}", style="default")
        yield Text(
            f"    first at {one.address:#x}, {visible(one.block)} + {one.offset:#x}:"
            f" {one.expected} in the image, {one.found} in QEMU"
        )
        names = ", ".join(block.name for block in memory.blocks if not block.equal)
        yield Text(f"    in {visible(names)}")
    for note in memory.notes:
        yield Text(f"    {visible(note)}", style="dim")


def _changes(changed: Iterable[ChangedArgument]) -> Iterator[Text]:
    for one in changed:
        line = Text(f"  {visible(one.argument)}", style="dim")
        instead = f" -> {one.instead}" if one.instead else " left out"
        yield line.append(visible(f"{instead}: {one.why}"))


def _doubts(uncertain: Iterable[str]) -> Iterator[Text]:
    for sentence in uncertain:
        yield Text(f"  uncertain: {visible(sentence)}", style="yellow")
