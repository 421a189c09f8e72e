"""What `fixedram rescue` prints: what the new image is for, a row a block, what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import count, visible, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.recovery.rescued import Rescued, RescuedBlock

__all__ = ["print_rescued"]

_HEADS = ("block", "pages", "in bitmap", "rebuilt", "kept", "in doubt", "bitmap was")
#: Columns of text.
_LEFT = {0, 6}
_PURPOSES = {
    "restore": "a restore: everything is there",
    "forensics": "forensics: not for a restore",
}


def print_rescued(done: Rescued) -> None:
    """Lines on stdout; warnings on stderr."""
    for name, value in _facts(done):
        print(f"  {name:13} {visible(value)}")
    print()
    _print_blocks(done.blocks)
    for title, lines in (
        ("changed", done.changed),
        ("lost", done.lost),
        ("not known", done.unknown),
    ):
        for line in lines:
            print(f"  {title}: {visible(line)}")
    for text in done.warnings:
        warn(text)


def _facts(done: Rescued) -> Iterator[tuple[str, str]]:
    yield "image", done.path
    yield "rescued to", done.out or "nothing is written (--plan)"
    yield "good for", _PURPOSES[done.purpose]
    if done.complete:
        yield "stream", "whole"
    else:
        yield "stream", f"stops early; kept up to {done.ends_at:#x}, and ended there"
    yield "memory", "sent to its end" if done.memory_complete else "perhaps not all of it was sent"
    yield "pages", f"{done.pages_rebuilt:,} by their data, {done.pages_kept:,} by their bits"
    yield "devices", count(done.devices_kept, "section") if done.devices_kept else "none"
    if done.would is not None and done.would.outcome is not None:
        yield done.would.loader, done.would.outcome.value


def _print_blocks(blocks: tuple[RescuedBlock, ...]) -> None:
    """A table, as wide as what is in it."""
    rows = [_HEADS, *(tuple(_cells(one)) for one in blocks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:
        cells = (
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join(cells).rstrip())
    print()


def _cells(one: RescuedBlock) -> Iterator[str]:
    yield visible(one.name)
    yield f"{one.pages_total:,}"
    yield "-" if one.pages_in_bitmap is None else f"{one.pages_in_bitmap:,}"
    yield f"{one.pages_rebuilt:,}"
    yield f"{one.pages_kept:,}"
    yield f"{one.doubtful_pages:,}"
    yield one.bitmap.value
