"""A comparison for people: structure, memory with a map, device state, and where each restores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from fixedram_cli.render.rows import print_shades, text_of
from fixedram_cli.render.statetree import shown
from fixedram_cli.render.terminal import console, count, print_line, visible
from fixedram_fmt.comparison import Change
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from fixedram_fmt.comparison import BlockDiff, Diff, PageRows, StateDiff, ValueDiff

__all__ = ["print_diff"]

_BLOCKS_SHOWN = 32
_MAPS_SHOWN = 3
_ROWS_SHOWN = 16
_STRUCTURE_SHOWN = 40
_VALUE_WIDTH = 72
#: From this width on two rows of bytes fit beside each other.
_SIDE_BY_SIDE = 116
_STYLES = {
    Change.CHANGED: "yellow",
    Change.ONLY_A: "red",
    Change.ONLY_B: "green",
    Change.UNREADABLE: "bold red",
}
_TOLD = {
    Change.CHANGED: "changed",
    Change.ONLY_A: "zero in B",
    Change.ONLY_B: "zero in A",
    Change.UNREADABLE: "not in the file",
}


def print_diff(found: Diff, rows: Iterator[PageRows]) -> None:
    """Everything that differs; a line where nothing does."""
    out = console()
    for letter, side in (("A", found.a), ("B", found.b)):
        about = f"  {side.machine or 'no configuration'}, {side.dialect}"
        line = Text(f"{letter}  ", style="dim").append(visible(side.path), style="not dim bold")
        print_line(out, line.append(visible(about), style="dim"))
    if found.structure:
        _print_structure(out, found)
    if found.blocks:
        _print_memory(out, found)
    _print_rows(out, rows)
    if found.state is not None:
        _print_state(out, found.state)
    if found.same and not found.trouble:
        print_line(out, Text("no difference", style="green"))
    for note in found.notes:
        print_line(out, Text(f"note: {visible(note)}", style="dim"))
    if found.restore is not None:
        from fixedram_cli.render.restoreview import print_restore

        print_restore(out, found.restore)


def _heading(out: Console, name: str, about: str) -> None:
    out.print()
    print_line(out, Text(name, style="bold cyan").append(f"  {about}", style="not bold dim"))


# -- structure ------------------------------------------------------------------------------------


def _print_structure(out: Console, found: Diff) -> None:
    _heading(out, "structure", count(len(found.structure), "difference"))
    for one in found.structure[:_STRUCTURE_SHOWN]:
        name = visible(f"{one.what} {one.name}".strip())
        sizes = one.what in ("block", "block.used_length")
        before, after = (_size(value) if sizes else value for value in (one.a, one.b))
        line = Text(f"  {name}  ")
        if before is None or after is None:
            side, value = ("A", before) if after is None else ("B", after)
            style = "red" if side == "A" else "green"
            line.append(f"only in {side}: {visible(value or '')}", style=style)
        else:
            line.append(f"{visible(before)} -> {visible(after)}", style="yellow")
        print_line(out, line)
    _more(out, len(found.structure) - _STRUCTURE_SHOWN, "difference")


def _size(value: str | None) -> str | None:
    return None if value is None else f"{human_size(int(value))} ({int(value):,} bytes)"


def _differ(number: int, what: str) -> str:
    return f"{count(number, what)} {'differs' if number == 1 else 'differ'}"


def _more(out: Console, number: int, what: str, how: str = "--json has them") -> None:
    if number > 0:
        print_line(out, Text(f"  ... {count(number, f'more {what}')} ({how})", style="dim"))


# -- memory ---------------------------------------------------------------------------------------


def _print_memory(out: Console, found: Diff) -> None:
    differing = [block for block in found.blocks if block.differing or block.not_compared]
    total = sum(block.differing for block in found.blocks)
    size = sum(block.differing * block.page_size for block in found.blocks)
    about = f"{_differ(total, 'page')}, {human_size(size)}" if total else "the same"
    _heading(out, "memory", f"{about}; {count(found.ram.blocks_compared, 'block')} compared")
    if not differing:
        return
    _print_table(out, differing)
    most = sorted(differing, key=lambda block: -block.differing)[:_MAPS_SHOWN]
    for block in most:
        if len(block.cells) > 1:
            print_shades(out, block.name, block.cells, block.page_size)
    _print_ranges(out, found.blocks)


def _print_table(out: Console, blocks: Sequence[BlockDiff]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  block", overflow="fold")
    for name in ("changed", "only in A", "only in B", "of pages"):
        table.add_column(name, justify="right", no_wrap=True)
    for block in blocks[:_BLOCKS_SHOWN]:
        cell = Text(f"  {visible(block.name)}")
        if block.not_compared:
            table.add_row(cell.append(": not compared", style="yellow"), "", "", "", "")
            continue
        numbers = (block.changed, block.only_a, block.only_b)
        shown_numbers = [f"{number:,}" if number else "-" for number in numbers]
        table.add_row(cell, *shown_numbers, f"{block.pages:,}")
    out.print(table)
    _more(out, len(blocks) - _BLOCKS_SHOWN, "block")
    untouched = [block for block in blocks if block.not_compared]
    for block in untouched[:_BLOCKS_SHOWN]:
        why = f"  {visible(block.name)}: {visible(block.not_compared or '')}"
        print_line(out, Text(why, style="yellow"))


def _print_ranges(out: Console, blocks: Sequence[BlockDiff]) -> None:
    out.print()
    for block in blocks:
        if not block.ranges:
            continue
        digits = len(f"{block.pages * block.page_size:x}")
        for one in block.ranges:
            start, stop = one.address, one.address + one.length
            pages = count(one.pages, "page")
            line = Text(f"  {visible(block.name)}  {start:0{digits}x}..{stop:0{digits}x}  ")
            line.append(f"{_TOLD[one.change]:<9}", style=_STYLES[one.change])
            print_line(out, line.append(f"  {pages}", style="dim"))
    hidden = sum(block.ranges_total - len(block.ranges) for block in blocks)
    _more(out, hidden, "range", "--limit 0 lists all")


def _print_rows(out: Console, rows: Iterator[PageRows]) -> None:
    for page in rows:
        out.print()
        title = f"  {visible(page.block)} page {page.page:,} at {page.address:#x}: "
        title += f"{_differ(page.bytes_differing, 'byte')} in {count(len(page.rows), 'row')}"
        print_line(out, Text(title, style="bold"))
        for row in page.rows[:_ROWS_SHOWN]:
            address, a, b = row.address, row.a, row.b
            if out.width >= _SIDE_BY_SIDE:
                line = Text(f"  {address:08x}  ", style="dim")
                print_line(out, _bytes(_bytes(line, a, b, "red").append("  "), b, a, "green"))
                continue
            for sign, side, other, style in (("-", a, b, "red"), ("+", b, a, "green")):
                line = Text(f"{sign} {address:08x}  ", style="dim")
                print_line(out, _bytes(line, side, other, style).append(text_of(side), style="dim"))
        _more(out, len(page.rows) - _ROWS_SHOWN, "row")


def _bytes(line: Text, side: bytes, other: bytes, style: str) -> Text:
    """Hexadecimal digits of a row, those that the other side has too left pale."""
    for at, byte in enumerate(side):
        same = byte == other[at]
        line.append(f"{byte:02x}", style="not dim" if same else f"not dim bold {style}")
        line.append(" " if at % 8 != 7 else "  ")
    return line


# -- state ----------------------------------------------------------------------------------------


def _print_state(out: Console, state: StateDiff) -> None:
    about = "the same"
    if state.differing:
        more = "more than " if state.more else ""
        about = f"{more}{_differ(state.differing, 'value')} in {count(state.devices, 'device')}"
    if state.ignored:
        about += f", {state.ignored:,} ignored"
    _heading(out, "state", about)
    for value in state.values:
        _print_value(out, value)
    _more(out, state.differing - len(state.values), "value", "--limit 0 lists all")


def _print_value(out: Console, value: ValueDiff) -> None:
    line = Text(f"  {visible(value.path)}  ")
    if value.change is not Change.CHANGED:
        side = "A" if value.change is Change.ONLY_A else "B"
        content = value.note or _shown(value.a if side == "A" else value.b, value.size)
        line.append(f"only in {side}: {visible(content)}", style=_STYLES[value.change])
        print_line(out, line)
        return
    if isinstance(value.a, bytes) and isinstance(value.b, bytes) and value.note:
        print_line(out, line.append(value.note, style="dim"))
        _print_bytes(out, value.a, value.b)
        return
    if value.note:
        print_line(out, line.append(visible(value.note), style="yellow"))
        return
    before, after = (_shown(one, value.size) for one in (value.a, value.b))
    print_line(out, line.append(f"{visible(before)} -> {visible(after)}", style="yellow"))


def _print_bytes(out: Console, a: bytes, b: bytes) -> None:
    """The rows of two buffers that differ, A's above B's."""
    odd = [at for at in range(0, max(len(a), len(b)), 16) if a[at : at + 16] != b[at : at + 16]]
    for at in odd[:4]:
        for sign, side, style in (("-", a, "red"), ("+", b, "green")):
            row = side[at : at + 16].hex(" ")
            line = Text(f"    {sign} {at:04x}  ", style="dim")
            print_line(out, line.append(row, f"not dim {style}"))
    _more(out, len(odd) - 4, "row")


def _shown(value: Any, size: int) -> str:
    """A value on one line, cut where it is long."""
    text = shown(value, size)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."
