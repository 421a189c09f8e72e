"""The tree of `dump`: one line a record, offsets first, groups by path, long rows cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from fixedram_cli.render.rows import text_of
from fixedram_cli.render.terminal import bar, console, count, print_line, visible
from fixedram_fmt.container.outerfile import OuterFile
from fixedram_fmt.schema.base import text
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.tiling import Group, fields, layout
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = ["TreePrinter"]

#: Records of one kind shown in a row before the rest is counted.
_ROW = 12
_BAR_CELLS = 32
_HEX_ROW = 16
#: Bytes of a region without structure that --bytes shows.
_HEX_BYTES = 64
_VALUE_WIDTH = 60

#: Kinds that come in rows.
_ROWS = frozenset({Kind.PAGES, Kind.PAGE, Kind.ZERO, Kind.XBZRLE, Kind.COMPRESS_PAGE})

#: A PART without content, and how many in a row are still shown one by one.
_EMPTY_PART = (Kind.SECTION_PART, Kind.EOS, Kind.SECTION_FOOTER)
_PARTS_APART = 4

#: What a field's value is: an address, as where its name ends in _offset, or a size; others are
#: plain.
_OFFSETS = frozenset({"region_address", "address", "position"})
_SIZES = frozenset(
    {"used_length", "size", "page_size", "length", "bytes", "data_length", "body_length"}
    | {"vm_state_size", "disk_size"}
)
#: Said elsewhere on the line, or of no use to a person.
_HIDDEN = frozenset({"section_type", "block", "magic", "stride", "data_offset", "idstr_length"})


class TreePrinter:
    """Prints records as they come; nothing is held back but the count of a row."""

    def __init__(self, image: Image | OuterFile, *, with_bytes: bool, everything: bool) -> None:
        self._image = image
        self._with_bytes = with_bytes
        self._row_limit = None if everything else _ROW
        self._console = console()
        self._width = len(f"{image.source.size:#x}")
        self._groups: list[str] = []
        self._row: tuple[str, int] = ("", 0)
        self._hidden = [0, 0, 0]

    def print(self, name: str, records: Iterator[Record[Any]]) -> None:
        """The whole tree under a line that says what it is."""
        title = f"{name}  {human_size(self._image.source.size)}{_around(self._image)}"
        print_line(self._console, Text(visible(title), style="bold"))
        if self._row_limit is not None and not self._with_bytes:
            records = _empty_parts_together(records)
        for record in records:
            self._print_record(record)
        self._end_row()

    def _print_record(self, record: Record[Any]) -> None:
        steps = record.path.split("/")
        group = "/".join(steps[:-1])
        row = group if record.kind in _ROWS else ""
        if row != self._row[0]:
            self._end_row()
            self._row = (row, 0)
        if row:
            self._row = (row, self._row[1] + 1)
            if self._row_limit is not None and self._row[1] > self._row_limit:
                self._hidden[0] += 1
                self._hidden[1] += record.length
                self._hidden[2] = len(steps) - 1
                return
        self._open_groups(steps[:-1], record)
        print_line(self._console, self._record_line(record, steps))
        if self._with_bytes:
            self._print_bytes(record, len(steps) - 1)

    def _end_row(self) -> None:
        records, length, level = self._hidden
        if records:
            text = f"... {count(records, 'more record')}, {human_size(length)} (--all shows them)"
            print_line(
                self._console, Text(f"{'':{self._width + 12}}{'  ' * level}{text}", style="dim")
            )
        self._hidden = [0, 0, 0]

    def _open_groups(self, groups: list[str], record: Record[Any]) -> None:
        """A line for each step of the path that is new."""
        shared = 0
        while (
            shared < min(len(groups), len(self._groups)) and groups[shared] == self._groups[shared]
        ):
            shared += 1
        for level in range(shared, len(groups)):
            label = self._group_label(groups[: level + 1], record)
            line = Text(f"{record.offset:#{self._width}x}{'':12}{'  ' * level}")
            line.append(visible(label), style="bold cyan")
            print_line(self._console, line)
        self._groups = groups

    def _group_label(self, groups: list[str], record: Record[Any]) -> str:
        step = groups[-1]
        block = self._block(step, record)
        if block is not None:
            return f"{step} {block.name}  {human_size(block.used_length)}{self._presence(block)}"
        if record.kind in (Kind.SECTION_START, Kind.SECTION_FULL):
            value = record.value
            instance = f" #{value.instance_id}" if value.instance_id else ""
            return f"{step} {fields(record).get('idstr', '')}{instance}"
        if record.kind in (Kind.SECTION_PART, Kind.SECTION_END):
            return f"{step} {text(record.section)}".rstrip()
        return step

    def _block(self, group: str, record: Record[Any]) -> RamBlock | None:
        """The block that a group is about; one that is cut off in its entry is not known."""
        index = record.block
        if index is None or isinstance(self._image, OuterFile):
            return None
        blocks = self._image.blocks
        if index >= len(blocks) or group != f"block[{index}]":
            return None
        return blocks[index]

    def _presence(self, block: RamBlock) -> str:
        if isinstance(self._image, OuterFile):
            return ""
        if block.ignored:
            return "  not saved (x-ignore-shared)"
        bitmap = self._image.readable_bitmap(block) if block.has_pages else None
        if bitmap is None or not bitmap.pages:
            return ""
        cells = bitmap.histogram(_BAR_CELLS)
        present = sum(part for part, _ in cells)
        return f"  {bar(cells)}  {present:,} of {count(bitmap.pages, 'page')} present"

    def _record_line(self, record: Record[Any], steps: list[str]) -> Text:
        line = Text(f"{record.offset:#{self._width}x}")
        line.append(f"{human_size(record.length):>10}  ", style="dim")
        line.append("  " * (len(steps) - 1))
        line.append(visible(f"{_name(record, steps[-1])}"), style=_style(record))
        shown = _shown(record)
        if shown:
            line.append(f"  {visible(shown)}", style="dim" if record.kind is Kind.GROUP else "")
        return line

    # -- bytes --------------------------------------------------------------------------------

    def _print_bytes(self, record: Record[Any], level: int) -> None:
        indent = f"{'':{self._width + 12}}{'  ' * level}"
        spans = layout(self._image, record)
        if spans:
            raw = self._image.source.read_exact(record.offset, record.length, record.path)
            for span in spans:
                piece = raw[span.offset : span.offset + span.length]
                value = span.value if isinstance(span.value, int) else span.value.decode("latin-1")
                self._hex(piece, f"{span.name} = {value}", indent)
            return
        head = self._image.source.read_upto(record.offset, min(record.length, _HEX_BYTES))
        for start in range(0, len(head), _HEX_ROW):
            piece = head[start : start + _HEX_ROW]
            self._hex(piece, text_of(piece), indent)
        if record.length > len(head):
            more = human_size(record.length - len(head))
            print_line(self._console, Text(f"{indent}... {more} more", style="dim"))

    def _hex(self, raw: bytes, meaning: str, indent: str) -> None:
        for start in range(0, max(len(raw), 1), _HEX_ROW):
            piece = raw[start : start + _HEX_ROW]
            line = Text(f"{indent}{piece.hex(' '):{3 * _HEX_ROW - 1}}", style="green")
            if start == 0:
                line.append(f"  {visible(meaning[:_VALUE_WIDTH])}", style="dim")
            print_line(self._console, line)


def _around(image: Image | OuterFile) -> str:
    """What the stream lies in."""
    if isinstance(image, OuterFile):
        return f", {image.kind}: the container itself"
    container = image.container
    packed = f" unpacked from {container.compression}" if container.compression else ""
    told, place = container.describe(), f", stream at {container.stream_offset:#x}"
    if told.qcow2:
        snapshot = told.qcow2.snapshot_name
        whose = "the disk's content" if snapshot is None else f"snapshot {snapshot}"
        return f"{packed}{place} of {whose} in a qcow2 image"
    if told.xen:
        return f"{packed}{place} of the emulator's record in a save of Xen"
    return packed + place


def _empty_parts_together(records: Iterator[Record[Any]]) -> Iterator[Record[Any]]:
    """PARTs of ram that hold nothing but EOS, as a live save leaves them by the hundred, as one."""
    parts: list[list[Record[Any]]] = []
    held: list[Record[Any]] = []
    for record in records:
        held.append(record)
        if record.kind is _EMPTY_PART[len(held) - 1]:
            if len(held) == len(_EMPTY_PART):
                parts.append(held)
                held = []
            continue
        yield from _parts_or_group(parts)
        parts = []
        yield from held
        held = []
    yield from _parts_or_group(parts)
    yield from held


def _parts_or_group(parts: list[list[Record[Any]]]) -> Iterator[Record[Any]]:
    if len(parts) < _PARTS_APART:
        for part in parts:
            yield from part
        return
    start, stop = parts[0][0], parts[-1][-1]
    first, last = (record.path.partition("[")[2].partition("]")[0] for record in (start, stop))
    yield Record(
        Kind.GROUP,
        f"section[{first}..{last}]",
        start.offset,
        stop.stop - start.offset,
        Group(len(parts) * len(_EMPTY_PART), f"{len(parts)} parts of ram, each only EOS"),
    )


def _name(record: Record[Any], step: str) -> str:
    """The last step of the path, with the kind where the step does not say it."""
    stem = step.partition("[")[0]
    kind = record.kind.value
    if record.kind is Kind.GROUP or stem == kind:
        return step
    return kind if stem in ("header", "entry", "record", "body", "name", "footer") else step


def _style(record: Record[Any]) -> str:
    if record.kind in (Kind.UNPARSED, Kind.GAP, Kind.TRAILING, Kind.UNKNOWN):
        return "bold red"
    if record.kind is Kind.PAGES:
        return {"present": "green", "stale": "yellow"}.get(record.value.state, "dim")
    return ""


def _shown(record: Record[Any]) -> str:
    """A record's fields in a few words."""
    values = fields(record)
    if record.kind is Kind.GROUP:
        return record.value.note or count(record.value.leaves, "record")
    if record.kind is Kind.PAGES:
        return f"{values['state']}, {count(values['pages'], 'page')} from {values['first_page']:,}"
    parts = []
    for name, value in values.items():
        if name in _HIDDEN or value == [] or (name == "idstr" and record.kind is Kind.DEVICE):
            continue
        if name == "flags":
            # The kind says it, unless something else is set too.
            parts += [] if [record.kind.value.upper()] == value else ["|".join(value)]
        elif name == "address" and not value and "flags" in values:
            continue
        elif name in _OFFSETS or name.endswith("_offset"):
            parts.append(f"{name} {value:#x}")
        elif name in _SIZES:
            parts.append(f"{name} {human_size(value)}")
        else:
            parts.append(f"{name} {str(value)[:_VALUE_WIDTH]}")
    return ", ".join(parts)
