"""`fixedram info`: one screen on what an image is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_cli.options import (
    ByteOrderOption,
    ImageArgument,
    Json,
    Output,
    OutputFormat,
    Search,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fixedram_fmt.memory import MemoryMap
    from fixedram_fmt.summary import BlockSummary, ImageSummary

_LABEL_WIDTH = 16
_MAP_WIDTH = 64
_MAP_ROWS = 8
#: More blocks than this do not help a person; --json has them all.
_BLOCKS_SHOWN = 64
_NOTES_SHOWN = 8
_RANGES_SHOWN = 12


def info(
    image: ImageArgument,
    json_: Json = False,
    output: Output = OutputFormat.TEXT,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:
    """Show what an image is: machine, blocks, presence, completeness.

    Reads headers and bitmaps only, however large the guest is.

    Example: fixedram info guest.img

    Example: fixedram info /var/lib/libvirt/qemu/save/guest.save --json
    """
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.bitmap import HostLong
    from fixedram_fmt.image import Image
    from fixedram_fmt.summary import summarize

    as_json = json_ or output is OutputFormat.JSON
    host_long = HostLong.from_label(byte_order.value) if byte_order else None
    with Image.open(image, search=search, host_long=host_long) as opened:
        summary = summarize(opened, image, cells=0 if as_json else _MAP_WIDTH * _MAP_ROWS)
        memory = opened.memory_map
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json(summary.as_dict())
    else:
        _render(summary, memory)
    if summary.stopped:
        warn(f"the stream stops early: {summary.stopped['message']}")


def _render(summary: ImageSummary, memory: MemoryMap) -> None:
    from textwrap import wrap

    from rich.text import Text

    from fixedram_cli.render.terminal import console, visible

    out = console()
    out.print(Text(visible(summary.path), style="bold"), soft_wrap=True)
    for name, value in _facts(summary):
        style = "red" if name == "stopped" else "not dim"
        room = max(20, out.width - _LABEL_WIDTH)
        for number, part in enumerate(wrap(visible(value), room) or [""]):
            line = Text(f"  {name if not number else '':{_LABEL_WIDTH - 2}}", style="dim")
            out.print(line.append(part, style=style), soft_wrap=True)
    if summary.blocks:
        out.print()
        out.print(_block_table(summary.blocks))
        if len(summary.blocks) > _BLOCKS_SHOWN:
            out.print(f"  ... and {len(summary.blocks) - _BLOCKS_SHOWN} more blocks (see --json)")
    _print_page_map(out, summary)
    _print_memory_map(out, memory)
    for note in summary.notes[:_NOTES_SHOWN]:
        out.print(
            Text(
                visible(f"  note: at {note['offset']:#x} {note['path']}: {note['message']}"),
                style="yellow",
            )
        )
    if len(summary.notes) > _NOTES_SHOWN:
        out.print(f"  ... and {len(summary.notes) - _NOTES_SHOWN} more notes (see --json)")


def _facts(summary: ImageSummary) -> list[tuple[str, str]]:
    from fixedram_fmt.units import human_size

    facts = [
        ("size", _size(summary)),
        ("container", _container(summary.container)),
        ("machine", summary.machine if summary.machine is not None else "(no configuration)"),
        ("dialect", summary.dialect),
        ("capabilities", ", ".join(summary.capabilities) or "(none)"),
        ("page size", human_size(summary.target_page_size)),
    ]
    if summary.byte_order:
        order, reason = summary.byte_order["host_long"], summary.byte_order["reason"]
        facts.append(("bitmaps", f"{order}-endian ({reason})"))
    if summary.offset_bias:
        facts.append(("offsets", _bias(summary.offset_bias)))
    if summary.uuid:
        facts.append(("uuid", summary.uuid))
    facts.append(("sections", _sections(summary)))
    facts.append(("vmdesc", _vmdesc(summary.vmdesc)))
    if summary.stopped:
        why = "cut off, or the save never finished: " if summary.stopped["truncated"] else ""
        facts.append(("stopped", why + summary.stopped["message"]))
    else:
        facts.append(("complete", "yes"))
    return facts


def _size(summary: ImageSummary) -> str:
    from fixedram_fmt.units import human_size

    text = f"{human_size(summary.size)} ({summary.size:,} bytes)"
    if summary.disk_size is not None:
        text += f", {human_size(summary.disk_size)} on disk"
    return text


def _container(container: dict[str, Any]) -> str:
    text = f"stream at {container['stream_offset']:#x}"
    libvirt = container.get("libvirt")
    if libvirt:
        parts = [f"libvirt save image, {libvirt['format']}", f"{libvirt['byte_order']}-endian"]
        if libvirt["domain"]:
            parts.append(f"domain {libvirt['domain']}")
        parts.append("was running" if libvirt["was_running"] else "was paused")
        if libvirt["partial"]:
            parts.append("THE SAVE NEVER FINISHED")
        text = ", ".join([*parts, text])
    else:
        text = f"bare, {text}" if container["kind"] == "bare" else text
    if container.get("compression"):
        text += f", unpacked from {container['compression']}"
    return text


def _sections(summary: ImageSummary) -> str:
    from fixedram_cli.render.terminal import count

    ram_parts = sum(section.parts for section in summary.sections if section.name == "ram")
    has_ram = any(section.name == "ram" for section in summary.sections)
    ram = f"ram (START and {count(ram_parts, 'part')})" if has_ram else "no ram"
    return f"{ram}, {count(summary.devices, 'device')}"


def _bias(bias: int) -> str:
    what = "cut out of its container" if bias > 0 else "put behind something else"
    return f"all wrong by {bias:+,}: {what}; fixedram copy --rebase auto repairs it"


def _vmdesc(vmdesc: dict[str, Any] | None) -> str:
    from fixedram_fmt.units import human_size

    if vmdesc is None:
        return "none"
    return (
        f"{human_size(vmdesc['length'])} at {vmdesc['offset']:#x}, "
        f"describes {vmdesc['devices']} devices"
    )


def _block_table(blocks: list[BlockSummary]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from fixedram_cli.render.terminal import shade, visible
    from fixedram_fmt.units import human_size

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  block", overflow="ellipsis", no_wrap=True)
    for name in ("size", "present", "bitmap", "pages at"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for block in blocks[:_BLOCKS_SHOWN]:
        known = block.pages_present
        if block.ignored:
            present = "not saved"
        elif known is None:
            present = "unknown"
        else:
            present = f"{known:,}/{block.pages_total:,}"
        offsets = [
            f"{offset:#x}" if offset else "-"
            for offset in (block.bitmap_offset, block.pages_offset)
        ]
        table.add_row(
            Text(f"  {visible(block.name)}"),
            human_size(block.used_length),
            present,
            *offsets,
            shade(known or 0, block.pages_total) if known is not None else "",
        )
    return table


def _print_page_map(out: Console, summary: ImageSummary) -> None:
    from rich.text import Text

    from fixedram_cli.render.terminal import bar, count, visible
    from fixedram_fmt.units import human_size

    page_map = summary.page_map
    if page_map is None:
        return
    pages = max(total for _, total in page_map.cells)
    size = human_size(pages * summary.target_page_size)
    title = f"  {visible(page_map.block)}: one cell is {count(pages, 'page')}, {size}"
    out.print()
    out.print(Text(title, style="dim"), soft_wrap=True)
    before, repeated = "", False
    page = 0
    total = sum(whole for _, whole in page_map.cells)
    digits = len(f"{total * summary.target_page_size:x}")
    for start in range(0, len(page_map.cells), _MAP_WIDTH):
        cells = page_map.cells[start : start + _MAP_WIDTH]
        row = bar(cells)
        if row != before:
            line = Text(f"  {page * summary.target_page_size:0{digits}x}  ", style="dim")
            out.print(line.append(row, style="not dim"), soft_wrap=True)
        elif not repeated:
            out.print(Text("  *", style="dim"))
        repeated = row == before
        before = row
        page += sum(whole for _, whole in cells)


def _print_memory_map(out: Console, memory: MemoryMap) -> None:
    from textwrap import wrap

    from rich.text import Text

    from fixedram_cli.render.memorymap import memory_map_lines

    if not memory.ranges:
        return
    out.print()
    out.print(Text("  guest-physical memory", style="dim"))
    for line in memory_map_lines(memory, limit=_RANGES_SHOWN):
        if line.startswith("note:"):
            parts = wrap(line, out.width - 4, subsequent_indent="  ")
        else:
            # The end of a line is where the fact comes from, which --json has in full.
            parts = [line if len(line) < out.width - 2 else line[: out.width - 3] + "…"]
        for part in parts:
            out.print(Text(f"  {part}"), soft_wrap=True)
