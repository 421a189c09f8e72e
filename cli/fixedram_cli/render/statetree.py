"""Device state for people: a list of devices, a tree below a path, or one line a value."""

from __future__ import annotations

from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fixedram_cli.render.rows import folded, text_of
from fixedram_cli.render.stateview import nothing_found
from fixedram_cli.render.terminal import console, count, print_line, visible
from fixedram_fmt.units import human_size
from fixedram_fmt.vmstate.jsontext import hex_digits
from fixedram_fmt.vmstate.values import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_cli.render.stateview import StateView
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["print_state", "shown", "string_of"]

_HEX_ROW = 16
#: Rows of a buffer, and of an array, that are shown before --all is needed.
_ROWS = 4
_NUMBERS_WIDTH = 72
#: A longer value is bytes, and is printed row by row; elements up to a length are compared.
_LONG = 1 << 16
_COMPARED = 1 << 20
#: More devices are a line each.
_TABLE_ROWS = 1024


def shown(value: Any, size: int = 8) -> str:
    """A number of size bytes with its hexadecimal form, bytes with their text, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if 0 <= value < 10 else f"{value} ({value & _mask(size):#x})"
    if isinstance(value, bytes):
        text = string_of(value)
        return f'{value.hex(" ")}  "{text}"' if text else value.hex(" ")
    if isinstance(value, list):
        return "[" + ", ".join(shown(one, size // max(1, len(value))) for one in value) + "]"
    return "NULL" if value is None else str(value)


def _mask(size: int) -> int:
    return (1 << 8 * size) - 1


def string_of(raw: bytes) -> str:
    """What a buffer says, if it is a string that NULs fill up."""
    text = raw.rstrip(b"\0")
    if not text or not all(0x20 <= byte < 0x7F for byte in text):
        return ""
    return text.decode("ascii")


def print_state(view: StateView) -> None:
    """A list of devices, or what the path means as a tree or as lines."""
    printer = _StatePrinter(offsets=view.offsets, everything=view.everything)
    printer.print(view.image, view.machine, view.pattern, flat=view.flat)


class _StatePrinter:
    """Prints state as text; offsets adds where each value lies, everything leaves nothing out."""

    def __init__(self, *, offsets: bool, everything: bool) -> None:
        self._offsets = offsets
        self._everything = everything
        self._console = console()
        self._width = 0

    def print(self, image: Image, machine: MachineState, path: str | None, *, flat: bool) -> None:
        """Everything that path means; without one the list of devices, or every value (flat)."""
        self._width = len(f"{image.source.size:#x}")
        if path is None and not flat:
            self._print_devices(image, machine)
            return
        found = False
        for value in machine.find(path or "**"):
            found = True
            if flat:
                for leaf in _leaves(value):
                    self._print_flat(leaf)
            else:
                self._print_tree(value, value.path, 0)
        if path is not None and not found:
            raise nothing_found(machine, path)

    def _print_flat(self, leaf: Value) -> None:
        if leaf.size <= _LONG:
            self._print_line(leaf, leaf.path, 0, shown(leaf.value, leaf.size), sign=" = ")
            return
        write = self._console.file.write
        write(f"{self._margin(leaf)}{visible(leaf.path)} = ")
        for piece in hex_digits(leaf, " "):
            write(piece)
        write("\n")

    # -- the list -------------------------------------------------------------------------------

    def _print_devices(self, image: Image, machine: MachineState) -> None:
        from rich.table import Table

        from fixedram_fmt.vmstate.handcoded import summarize

        summaries = {one.section_id: str(one) for one in summarize(image)}
        heads = ("device", "section", "version", "offset", "bytes", "values")
        if len(machine.devices) > _TABLE_ROWS:
            # A table is laid out as a whole, in memory.
            self._console.file.write("\t".join(heads) + "\n")
            for device in machine.devices:
                self._console.file.write("\t".join(_row(device)) + "\n")
        else:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            table.add_column(heads[0], overflow="fold")
            for name in heads[1:]:
                table.add_column(name, justify="right", no_wrap=True)
            for device in machine.devices:
                name, *numbers = _row(device)
                table.add_row(Text(name), *numbers)
            self._console.print(table)
        for device in machine.devices:
            told = device.problem or summaries.get(device.section_id, "")
            if told:
                style = "yellow" if device.problem else "not dim"
                print_line(self._console, Text(visible(f"{device.path}: {told}"), style=style))

    # -- the tree -------------------------------------------------------------------------------

    def _print_tree(self, value: Value, label: str, level: int) -> None:
        if value.parts is not None or (value.is_array and value.structure is not None):
            self._print_elements(value, label, level)
        elif value.structure is not None:
            self._print_line(value, label, level, self._about(value), style="bold cyan")
            for child in children(value):
                self._print_tree(child, child.path[len(value.path) + 1 :], level + 1)
        else:
            self._print_leaf(value, label, level)

    def _about(self, value: Value) -> str:
        device: DeviceState = value.device
        if value is device.root:
            what = f"version {device.version_id}, {count(device.size, 'byte')}"
            by = f", described by {device.described_by}" if device.described_by else ""
            return what + by
        return ""

    def _print_elements(self, value: Value, label: str, level: int) -> None:
        """An array of structures: elements that are as the one before are only counted."""
        before: bytes | None = None
        same = 0
        for element in children(value):
            raw = element.raw if element.size <= _COMPARED else None
            if raw is not None and raw == before and not self._everything:
                same += 1
                continue
            self._print_same(same, level)
            before, same = raw, 0
            self._print_tree(element, label + element.path[len(value.path) :], level)
        self._print_same(same, level)

    def _print_same(self, same: int, level: int) -> None:
        if same:
            text = f"{'  ' * level}... {same:,} more like it"
            print_line(self._console, Text(self._margin(None) + text, style="dim"))

    def _print_leaf(self, value: Value, label: str, level: int) -> None:
        if value.size > _LONG and not value.is_array:
            self._print_line(value, label, level, human_size(value.size))
            self._print_rows(_hex_rows(value), level)
            return
        content = value.value
        if isinstance(content, list) and not isinstance(next(iter(content), None), bytes):
            self._print_line(value, f"{label}[{len(content)}]", level, "")
            self._print_rows(_number_rows(content, value), level)
        elif isinstance(content, bytes) and len(content) > _HEX_ROW:
            text = string_of(content)
            self._print_line(value, label, level, f'"{text}"' if text else human_size(len(content)))
            self._print_rows(_hex_rows(value), level)
        elif isinstance(content, list) and value.size > _LONG:
            del content
            self._print_elements(value, label, level)
        else:
            self._print_line(value, label, level, shown(content, value.size))

    def _print_rows(self, rows: Iterator[Callable[[], str]], level: int) -> None:
        margin = f"{self._margin(None)}{'  ' * (level + 1)}"
        # One row more than are shown is shown as well: a note takes as much room.
        first = list(islice(rows, _ROWS + 1))
        more = next(rows, None)
        shown_rows = first if more is None or self._everything else first[:_ROWS]
        for row in shown_rows:
            print_line(self._console, Text(margin + row(), style="green"))
        if more is None:
            return
        if self._everything:
            for row in chain([more], rows):
                print_line(self._console, Text(margin + row(), style="green"))
            return
        left = len(first) - _ROWS + 1 + sum(1 for _ in rows)
        print_line(self._console, Text(f"{margin}... {left} more rows (--all shows them)", "dim"))

    def _print_line(
        self,
        value: Value,
        label: str,
        level: int,
        content: str,
        *,
        style: str = "",
        sign: str = "  ",
    ) -> None:
        line = Text(self._margin(value), style="dim")
        line.append(f"{'  ' * level}{visible(label)}", style=style or "not dim")
        if content:
            line.append(sign + visible(content), style="not dim")
        print_line(self._console, line)

    def _margin(self, value: Value | None) -> str:
        if not self._offsets:
            return ""
        if value is None:
            return " " * (self._width + 10)
        return f"{value.offset:#{self._width}x}{value.size:>8}  "


def _row(device: DeviceState) -> tuple[str, ...]:
    """What the list tells of a device."""
    return (
        visible(device.path),
        str(device.section_id) if device.section_id >= 0 else "",
        str(device.version_id),
        f"{device.offset:#x}",
        f"{device.size:,}",
        f"{device.structure.values:,}" if device.structure else "-",
    )


def _leaves(value: Value) -> Iterator[Value]:
    """The plain values in a value, elements of arrays one by one."""
    pending: list[Iterator[Value]] = [iter([value])]
    while pending:
        one = next(pending[-1], None)
        if one is None:
            pending.pop()
            continue
        below = children(one)
        first = next(below, None)
        if first is not None:
            pending.append(chain([first], below))
        elif one.is_leaf:
            yield one


def _number_rows(numbers: list[Any], value: Value) -> Iterator[Callable[[], str]]:
    """Numbers of an array in rows that begin with an index; rows of zeros are not repeated.

    Each row is text when it is called.
    """
    width = 2 * (value.field.size if value.field else 1)
    per_row = max(1, min(16, _NUMBERS_WIDTH // (width + 1)))
    digits = len(str(len(numbers)))
    rows = (numbers[start : start + per_row] for start in range(0, len(numbers), per_row))
    for number, row in folded(rows):
        yield partial(_number_row, number * per_row, row, digits, width)


def _number_row(index: int, row: list[Any] | None, digits: int, width: int) -> str:
    if row is None:
        return f"{'*':>{digits + 2}}"
    return f"[{index:>{digits}}] " + " ".join(_cell(one, width) for one in row)


def _cell(number: Any, width: int) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        return "NULL" if number is None else str(number)
    return f"{number & _mask(width // 2):0{width}x}"


def _hex_rows(value: Value) -> Iterator[Callable[[], str]]:
    """Bytes in rows of 16 with their text; equal rows are folded to `*`, as hexdump does."""
    rows = (
        piece[start : start + _HEX_ROW]
        for piece in value.pieces()
        for start in range(0, len(piece), _HEX_ROW)
    )
    for number, row in folded(rows):
        yield partial(_hex_row, number, row)


def _hex_row(number: int, row: bytes | None) -> str:
    if row is None:
        return "*"
    return f"{number * _HEX_ROW:04x}  {row.hex(' '):{3 * _HEX_ROW - 1}}  {text_of(row)}"
