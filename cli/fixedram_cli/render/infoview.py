"""What an image is on one screen: facts, blocks, presence, where memory lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fixedram_fmt.container.described import LibvirtSummary, XenSummary
    from fixedram_fmt.memory import MemoryMap
    from fixedram_fmt.summary import BlockSummary, ContainerSummary, ImageSummary, VmdescSummary

__all__ = ["MAP_CELLS", "print_info"]

#: Cells of the map that print_info() shows.
MAP_CELLS = 64 * 8
_LABEL_WIDTH = 16
#: More blocks than this do not help a person; --json has them all.
_BLOCKS_SHOWN = 64
_NO_WIDTH = 4096
_NOTES_SHOWN = 8
_RANGES_SHOWN = 12


def print_info(summary: ImageSummary, memory: MemoryMap) -> None:
    """The whole screen; summary has a page map of MAP_CELLS cells."""
    from rich.text import Text

    from fixedram_cli.render.rows import print_shades
    from fixedram_cli.render.terminal import console, print_line, visible

    out = console()
    print_line(out, Text(visible(summary.path), style="bold"))
    for name, value in _facts(summary):
        _print_fact(out, name, value)
    if summary.blocks:
        out.print()
        # A pipe has no width, and a name that is cut is no name.
        out.print(_block_table(summary.blocks), width=None if out.is_terminal else _NO_WIDTH)
        if len(summary.blocks) > _BLOCKS_SHOWN:
            out.print(f"  ... and {len(summary.blocks) - _BLOCKS_SHOWN} more blocks (see --json)")
    if summary.page_map is not None:
        page_map = summary.page_map
        print_shades(out, page_map.block, page_map.cells, summary.target_page_size)
    _print_memory_map(out, memory)
    for note in summary.notes[:_NOTES_SHOWN]:
        told = f"  note: at {note.offset:#x} {note.path}: {note.message}"
        out.print(Text(visible(told), style="yellow"))
    if len(summary.notes) > _NOTES_SHOWN:
        out.print(f"  ... and {len(summary.notes) - _NOTES_SHOWN} more notes (see --json)")


def _print_fact(out: Console, name: str, value: str) -> None:
    from textwrap import wrap

    from rich.text import Text

    from fixedram_cli.render.terminal import print_line, visible

    style = "red" if name == "stopped" else "not dim"
    room = max(20, (out.width if out.is_terminal else _NO_WIDTH) - _LABEL_WIDTH)
    for number, part in enumerate(wrap(visible(value), room) or [""]):
        line = Text(f"  {name if not number else '':{_LABEL_WIDTH - 2}}", style="dim")
        print_line(out, line.append(part, style=style))


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
        order, reason = summary.byte_order.host_long, summary.byte_order.reason
        facts.append(("bitmaps", f"{order}-endian ({reason})"))
    if summary.offset_bias:
        facts.append(("offsets", _bias(summary.offset_bias)))
    if summary.uuid:
        facts.append(("uuid", summary.uuid))
    if summary.container.libvirt:
        facts.append(("on restore", _on_restore(summary.container.libvirt)))
    facts.append(("sections", _sections(summary)))
    facts.append(("vmdesc", _vmdesc(summary.vmdesc)))
    if summary.stopped:
        facts.append(("complete", f"no: {summary.stopped.summary}"))
        facts.append(("stopped", summary.stopped.message))
    else:
        facts.append(("complete", "yes"))
    return facts


def _size(summary: ImageSummary) -> str:
    from fixedram_fmt.units import human_size

    text = f"{human_size(summary.size)} ({summary.size:,} bytes)"
    if summary.container.compression:
        own = f"{human_size(summary.file_size)} ({summary.file_size:,} bytes)"
        return f"{own}, {text} unpacked"
    if summary.disk_size is not None:
        text += f", {human_size(summary.disk_size)} on disk"
    return text


def _container(container: ContainerSummary) -> str:
    text = f"stream at {container.stream_offset:#x}"
    libvirt = container.libvirt
    if libvirt:
        parts = [f"libvirt save image, {libvirt.format}", f"{libvirt.byte_order}-endian"]
        if libvirt.domain:
            parts.append(f"domain {libvirt.domain}")
        parts.append("was running" if libvirt.was_running else "was paused")
        if libvirt.partial:
            parts.append("THE SAVE NEVER FINISHED")
        text = ", ".join([*parts, text])
    elif container.qcow2 and container.qcow2.snapshot_name is not None:
        snapshot, number = container.qcow2.snapshot_name, container.qcow2.snapshot_id
        text = f"qcow2, snapshot {snapshot} (id {number}), {text}"
    elif container.xen:
        text = f"{_xen(container.xen)}, {text}"
    else:
        text = text if container.kind == "offset" else f"{container.kind}, {text}"
    if container.compression:
        text += f", unpacked from {container.compression}"
    return text


def _xen(xen: XenSummary) -> str:
    """What a save of Xen is, and that its memory is not read."""
    from fixedram_fmt.units import human_size

    parts = [f"save of a Xen domain by {xen.writer}"]
    if xen.name:
        parts.append(f"domain {xen.name}")
    if xen.domain_type:
        parts.append(f"{xen.domain_type} of Xen {xen.xen_version}")
    memory = human_size(xen.memory_bytes)
    parts.append(f"its memory ({memory} in Xen's own format) is not read, {xen.emulator} is")
    return ", ".join(parts)


def _on_restore(libvirt: LibvirtSummary) -> str:
    """What virsh does with the guest: libvirt stops every guest before it saves it."""
    if libvirt.was_running:
        return "virsh resumes the guest (the stream itself says paused: libvirt stops it to save)"
    return "virsh leaves the guest paused, as it was when it was saved (virsh restore --running)"


def _sections(summary: ImageSummary) -> str:
    from fixedram_cli.render.terminal import count

    ram_parts = sum(section.parts for section in summary.sections if section.name == "ram")
    has_ram = any(section.name == "ram" for section in summary.sections)
    ram = f"ram (START and {count(ram_parts, 'part')})" if has_ram else "no ram"
    return f"{ram}, {count(summary.devices, 'device')}"


def _bias(bias: int) -> str:
    what = "cut out of its container" if bias > 0 else "put after something else"
    return f"all wrong by {bias:+,}: {what}; fixedram copy --rebase auto repairs it"


def _vmdesc(vmdesc: VmdescSummary | None) -> str:
    from fixedram_fmt.units import human_size

    if vmdesc is None:
        return "none"
    return f"{human_size(vmdesc.length)} at {vmdesc.offset:#x}, describes {vmdesc.devices} devices"


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
            width = out.width if out.is_terminal else _NO_WIDTH
            parts = wrap(line, width - 4, subsequent_indent="  ")
        else:
            # The end of a line is where the fact comes from, which --json has in full.
            fits = not out.is_terminal or len(line) < out.width - 2
            parts = [line if fits else line[: out.width - 3] + "…"]
        for part in parts:
            out.print(Text(f"  {part}"), soft_wrap=True)
