"""A page map on the terminal: half-blocks in colour, shades without, letters in ASCII."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.rows import folded
from fixedram_cli.render.terminal import (
    bar,
    console,
    count,
    print_line,
    unicode_terminal,
    visible,
)
from fixedram_fmt.pagemap.cells import page_cells
from fixedram_fmt.pagemap.picture import (
    ABSENT,
    LEVELS,
    NOTHING,
    PRESENT,
    STALE,
    UNKNOWN,
    ZERO,
    colours_of,
)
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.pagemap.cells import PageCells

__all__ = ["print_map"]

_ROWS, _WIDTH = 16, 64
_OTHERS_SHOWN = 24
_OTHER_CELLS = 24
_NAME_WIDTH = 28

#: Few to all, on a dark or a light background.
_BLUE = ("#1b3a5c", "#1f4b78", "#255d94", "#2b6fb0", "#3a85cb", "#559be0", "#78b4f0", "#a3d0ff")
_AMBER = ("#4d3d10", "#665113", "#806616", "#997b1a", "#b3901d", "#cca521", "#e6bb2b", "#ffd23f")
_RED = ("#7a2b24", "#8c2f27", "#9e342b", "#b0392f", "#c23e33", "#d64a3e", "#ea5a4d", "#ff6b5e")
_COLOURS = {
    NOTHING: "",
    ABSENT: "#33373d",
    UNKNOWN: "#6c757d",
    **{PRESENT + level: colour for level, colour in enumerate(_BLUE)},
    **{ZERO + level: colour for level, colour in enumerate(_AMBER)},
    **{STALE + level: colour for level, colour in enumerate(_RED)},
}


def print_map(
    image: Image, path: str, block: RamBlock, shape: tuple[int | None, int | None], *, deep: bool
) -> None:
    """The map of block, and a line on each of the others; shape is cells and cells of a row."""
    out = console()
    coloured = out.is_terminal and out.color_system is not None and unicode_terminal()
    digits = len(f"{block.used_length:x}")
    width = shape[1] or max(8, min(_WIDTH, out.width - digits - 6))
    number = shape[0] or width * _ROWS * (2 if coloured else 1)
    cells = page_cells(image, block, number, deep=deep)
    print_line(out, Text(visible(path), style="bold"))
    print_line(out, Text(f"  {visible(block.name)}: {_about(cells)}", style="dim"))
    colours = colours_of(cells).tolist()
    rows = [colours[at : at + width] for at in range(0, len(colours), width)]
    addresses = [
        f"  {int(cells.edges[at]) * cells.page_size:0{digits}x}  "
        for at in range(0, len(colours), width)
    ]
    if coloured:
        _print_coloured(out, rows, addresses)
    else:
        _print_plain(out, rows, addresses)
    _print_legend(out, cells, coloured=coloured)
    _print_others(out, image, block)


def _about(cells: PageCells) -> str:
    size = human_size(cells.pages * cells.page_size)
    per_cell = int(cells.totals.max())
    cell = f"one cell is {count(per_cell, 'page')}, {human_size(per_cell * cells.page_size)}"
    if cells.present is None:
        return f"{size}, {'its memory is not in the image' if cells.ignored else 'unknown'}"
    told = [size, f"{int(cells.present.sum()):,} of {cells.pages:,} pages present"]
    if cells.stale is not None and cells.zero is not None:
        told.append(f"{int(cells.zero.sum()):,} of them zero, {int(cells.stale.sum()):,} stale")
    return f"{', '.join(told)}; {cell}"


def _print_coloured(out: Console, rows: Sequence[list[int]], addresses: Sequence[str]) -> None:
    """Two rows of cells in one of the terminal; pairs that are as the last one are left out."""
    pairs = [(row, *rows[at + 1 : at + 2]) for at, row in enumerate(rows) if at % 2 == 0]
    for number, pair in folded(pairs):
        if pair is None:
            print_line(out, Text("  *", style="dim"))
            continue
        line = Text(addresses[2 * number], style="dim")
        below = pair[1] if len(pair) > 1 else []
        for column, upper in enumerate(pair[0]):
            lower = below[column] if column < len(below) else NOTHING
            ground = f" on {_COLOURS[lower]}" if _COLOURS[lower] else ""
            line.append("▀", style=f"not dim {_COLOURS[upper]}{ground}")
        print_line(out, line)


def _print_plain(out: Console, rows: Sequence[list[int]], addresses: Sequence[str]) -> None:
    for number, row in folded(rows):
        if row is None:
            print_line(out, Text("  *", style="dim"))
        else:
            print_line(out, Text(addresses[number] + "".join(map(_letter, row))))


def _letter(colour: int) -> str:
    """A cell without colour: a shade, or a letter for what is rare."""
    if colour >= STALE:
        return "s"
    if colour >= ZERO:
        return "0"
    if colour >= PRESENT:
        # All of them is the full block, as everywhere.
        return bar([(colour - PRESENT + 1, LEVELS)])
    return "?" if colour == UNKNOWN else bar([(0, 1)])


def _print_legend(out: Console, cells: PageCells, *, coloured: bool) -> None:
    if cells.present is None:
        kinds = [(UNKNOWN, "not in the image" if cells.ignored else "unknown")]
    else:
        kinds = [(ABSENT, "absent"), (PRESENT + 1, "few present"), (PRESENT + 7, "all present")]
        if cells.stale is not None:
            kinds += [(ZERO + 7, "present, zero"), (STALE + 7, "stale")]
    line = Text("  ")
    for colour, text in kinds:
        sign, style = ("■", _COLOURS[colour]) if coloured else (_letter(colour), "")
        line.append(sign, style=style).append(f" {text}   ", style="dim")
    print_line(out, line)


def _print_others(out: Console, image: Image, shown: RamBlock) -> None:
    others = [block for block in image.blocks if block.index != shown.index]
    if not others:
        return
    out.print()
    width = min(_NAME_WIDTH, max(len(visible(block.name)) for block in others[:_OTHERS_SHOWN]))
    for block in others[:_OTHERS_SHOWN]:
        name = visible(block.name)
        name = name if len(name) <= width else f"{name[: width - 3]}..."
        cells = page_cells(image, block, _OTHER_CELLS)
        line = Text(f"  {name:<{width}}  {human_size(block.used_length):>9}  ")
        if cells.present is None:
            told = "not saved" if block.ignored else "unknown"
            print_line(out, line.append(told, style="dim"))
            continue
        parts = list(zip(cells.present.tolist(), cells.totals.tolist(), strict=True))
        print_line(out, line.append(bar(parts)))
    if len(others) > _OTHERS_SHOWN:
        more = f"  ... {count(len(others) - _OTHERS_SHOWN, 'more block')} (see --json)"
        print_line(out, Text(more, style="dim"))
