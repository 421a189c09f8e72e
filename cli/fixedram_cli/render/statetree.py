"""Device state for people: a list of devices, a tree below a path, or one line a value."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rich.text import Text

from fixedram_cli.render.rows import folded, text_of
from fixedram_cli.render.terminal import console, count, print_line, some, visible
from fixedram_fmt.errors import FormatError
from fixedram_fmt.units import human_size
from fixedram_fmt.vmstate.values import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.state import DeviceState, MachineState
    from fixedram_fmt.vmstate.values import Value

__all__ = ["StatePrinter", "nothing_found", "shown", "string_of"]

_HEX_ROW = 16
#: Rows of a buffer, and of an array, that are shown before --all is needed.
_ROWS = 4
_NUMBERS_WIDTH = 72


def nothing_found(machine: MachineState, path: str) -> FormatError:
    """The error for a path that means nothing, with what may have been meant."""
    device = path.partition("/")[0]
    names = {device.name for device in machine.devices} | {one.path for one in machine.devices}
    close = get_close_matches(device, sorted(names), 3)
    hint = f"did you mean {', '.join(close)}?" if close else f"devices are {some(sorted(names))}"
    return FormatError(f"nothing has the path {path!r}", hint=hint)


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


class StatePrinter:
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
                    self._print_line(leaf, leaf.path, 0, shown(leaf.value, leaf.size), sign=" = ")
            else:
                self._print_tree(value, value.path, 0)
        if path is not None and not found:
            raise nothing_found(machine, path)

    # -- the list -------------------------------------------------------------------------------

    def _print_devices(self, image: Image, machine: MachineState) -> None:
        from rich.table import Table

        from fixedram_fmt.vmstate.handcoded import summarize

        summaries = {one.section_id: str(one) for one in summarize(image)}
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("device", overflow="fold")
        for name in ("section", "version", "offset", "bytes", "values"):
            table.add_column(name, justify="right", no_wrap=True)
        remarks = []
        for device in machine.devices:
            told = device.problem or summaries.get(device.section_id, "")
            if told:
                style = "yellow" if device.problem else "not dim"
                remarks.append(Text(visible(f"{device.path}: {told}"), style=style))
            table.add_row(
                Text(visible(device.path)),
                str(device.section_id) if device.section_id >= 0 else "",
                str(device.version_id),
                f"{device.offset:#x}",
                f"{device.size:,}",
                f"{device.structure.values:,}" if device.structure else "-",
            )
        self._console.print(table)
        for remark in remarks:
            print_line(self._console, remark)

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
            raw = element.raw
            if raw == before and not self._everything:
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
        content = value.value
        if isinstance(content, list) and not isinstance(next(iter(content), None), bytes):
            self._print_line(value, f"{label}[{len(content)}]", level, "")
            self._print_rows(list(_number_rows(content, value)), level)
        elif isinstance(content, bytes) and len(content) > _HEX_ROW:
            text = string_of(content)
            self._print_line(value, label, level, f'"{text}"' if text else human_size(len(content)))
            self._print_rows(list(_hex_rows(content)), level)
        else:
            self._print_line(value, label, level, shown(content, value.size))

    def _print_rows(self, rows: list[str], level: int) -> None:
        kept = rows if self._everything or len(rows) <= _ROWS + 1 else rows[:_ROWS]
        for row in kept:
            line = Text(f"{self._margin(None)}{'  ' * (level + 1)}{row}", style="green")
            print_line(self._console, line)
        if len(kept) < len(rows):
            text = f"... {len(rows) - len(kept)} more rows (--all shows them)"
            line = Text(f"{self._margin(None)}{'  ' * (level + 1)}{text}", style="dim")
            print_line(self._console, line)

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


def _leaves(value: Value) -> Iterator[Value]:
    """The plain values in a value, elements of arrays one by one."""
    pending = [value]
    while pending:
        one = pending.pop()
        below = list(children(one))
        if below:
            pending += reversed(below)
        elif one.is_leaf:
            yield one


def _number_rows(numbers: list[Any], value: Value) -> Iterator[str]:
    """Numbers of an array in rows that begin with an index; rows of zeros are not repeated."""
    width = 2 * (value.field.size if value.field else 1)
    per_row = max(1, min(16, _NUMBERS_WIDTH // (width + 1)))
    digits = len(str(len(numbers)))
    rows = [numbers[start : start + per_row] for start in range(0, len(numbers), per_row)]
    for at, row in folded(rows):
        if row is None:
            yield f"{'*':>{digits + 2}}"
        else:
            yield f"[{at * per_row:>{digits}}] " + " ".join(_cell(one, width) for one in row)


def _cell(number: Any, width: int) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        return "NULL" if number is None else str(number)
    return f"{number & _mask(width // 2):0{width}x}"


def _hex_rows(raw: bytes) -> Iterator[str]:
    """Bytes in rows of 16 with their text; equal rows are folded to `*`, as hexdump does."""
    rows = [raw[start : start + _HEX_ROW] for start in range(0, len(raw), _HEX_ROW)]
    for at, row in folded(rows):
        if row is None:
            yield "*"
        else:
            yield f"{at * _HEX_ROW:04x}  {row.hex(' '):{3 * _HEX_ROW - 1}}  {text_of(row)}"
