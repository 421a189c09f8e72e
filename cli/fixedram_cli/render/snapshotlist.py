"""What `fixedram snapshots` prints: a row a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import console, print_line, visible
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.snapshots import SnapshotInfo, SnapshotList

__all__ = ["print_snapshots"]

_HEADS = ("id", "name", "date (UTC)", "guest's clock", "state", "what it is")
#: Columns of numbers.
_RIGHT = {3, 4}
#: Characters of an id or a name; the file may have 64 KiB of each.
_NAME = 128


def print_snapshots(found: SnapshotList) -> None:
    """A table, as wide as what is in it."""
    from rich.text import Text

    out = console()
    if not found.snapshots:
        print_line(out, Text(f"{visible(found.path)}: no snapshots"))
        return
    rows = [_HEADS, *(tuple(_cells(one)) for one in found.snapshots)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_HEADS))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print_line(out, Text("  ".join(cells), style="" if number else "dim"))


def _cells(one: SnapshotInfo) -> Iterator[str]:
    yield visible(one.id[:_NAME])
    yield visible(one.name[:_NAME])
    yield one.date.replace("T", " ").rstrip("Z")
    minutes, seconds = divmod(one.vm_clock, 60)
    hours, minutes = divmod(int(minutes), 60)
    yield f"{hours:02}:{minutes:02}:{seconds:06.3f}"
    yield human_size(one.vm_state_size) if one.vm_state_size else "-"
    yield visible(_what(one))


def _what(one: SnapshotInfo) -> str:
    if one.problem:
        return f"{one.kind}: {one.problem}"
    if one.kind == "disk":
        return "the disk alone"
    words = [one.kind, one.machine or ""]
    if one.complete is False:
        words.append("not complete")
    return ", ".join(filter(None, words))
