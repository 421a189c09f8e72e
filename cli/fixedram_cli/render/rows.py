"""Rows under each other: repeated ones folded, bytes with their text, shades of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fixedram_cli.render.terminal import bar, count, print_line, visible
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

__all__ = ["folded", "print_shades", "text_of"]

_CELLS = 64
_TEXT = bytes(byte if 0x20 <= byte < 0x7F else ord(".") for byte in range(256))

Row = TypeVar("Row")


def folded(rows: Iterable[Row], *, with_last: bool = True) -> Iterator[tuple[int, Row | None]]:
    """Rows with their numbers; those that are as the one before are told once, as None.

    As hexdump does, the last is given all the same (with_last), so that one sees where it ends.
    """
    told = False
    before: Row | None = None
    waiting: tuple[int, Row] | None = None
    for number, row in enumerate(rows):
        if waiting is not None and not told:
            told = True
            yield waiting[0], None
        if number and row == before:
            waiting = number, row
        else:
            told, waiting, before = False, None, row
            yield number, row
    if waiting is not None and with_last:
        yield waiting
    elif waiting is not None and not told:
        yield waiting[0], None


def text_of(raw: bytes) -> str:
    """A character for each byte; a dot for what is no printable ASCII."""
    return raw.translate(_TEXT).decode("ascii")


def print_shades(out: Console, name: str, cells: Sequence[tuple[int, int]], page_size: int) -> None:
    """A map of cells (pages that count, pages): shades in rows that begin with their address."""
    from rich.text import Text

    per_cell = max(total for _, total in cells)
    about = f"one cell is {count(per_cell, 'page')}, {human_size(per_cell * page_size)}"
    out.print()
    print_line(out, Text(f"  {visible(name)}: {about}", style="dim"))
    starts = range(0, len(cells), _CELLS)
    pages = [0]
    for start in starts:
        pages.append(pages[-1] + sum(total for _, total in cells[start : start + _CELLS]))
    digits = len(f"{pages[-1] * page_size:x}")
    rows = [bar(cells[start : start + _CELLS]) for start in starts]
    for number, row in folded(rows, with_last=False):
        if row is None:
            print_line(out, Text("  *", style="dim"))
            continue
        address = f"  {pages[number] * page_size:0{digits}x}  "
        print_line(out, Text(address, style="dim").append(row, style="not dim"))
