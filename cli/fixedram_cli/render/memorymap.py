"""The memory map for people: a line for each range, then what is a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import visible

if TYPE_CHECKING:
    from fixedram_fmt.memory import MemoryMap

__all__ = ["memory_map_lines"]


def memory_map_lines(found: MemoryMap, limit: int | None = None) -> list[str]:
    """Ranges (at most limit of them) as start, stop, size, kind, block and source; then notes."""
    from fixedram_fmt.units import human_size

    shown = found.ranges[:limit]
    digits = max(8, len(f"{max((r.stop - 1 for r in shown), default=0):x}"))
    rows = []
    for piece in shown:
        where = visible(piece.block.name) + (f"+{piece.offset:#x}" if piece.offset else "")
        span = f"{piece.start:0{digits}x}-{piece.stop - 1:0{digits}x}"
        rows.append((span, human_size(piece.length), piece.kind, where, visible(piece.source)))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = [
        f"{span}  {size:>{widths[1]}}  {kind:<3}  {where:<{widths[3]}}  {source}".rstrip()
        for span, size, kind, where, source in rows
    ]
    if len(found.ranges) > len(shown):
        lines.append(f"... and {len(found.ranges) - len(shown)} more ranges (see --json)")
    return lines + [f"note: {visible(note)}" for note in found.notes]
