"""How far a load is."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from fixedram_fmt.image import Image

__all__ = ["progress_bar"]

#: Progress is shown each time so many more bytes were handed out.
_STEP = 1 << 26


def progress_bar(image: Image) -> AbstractContextManager[Callable[[int], None] | None]:
    """A bar on stderr where a person sees it, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    @contextmanager
    def shown() -> Iterator[Callable[[int], None]]:
        columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
        total = sum(
            bitmap.count() * block.page_size
            for block in image.blocks
            if (bitmap := image.readable_bitmap(block)) is not None
        )
        with Progress(*columns, console=console(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=total)
            shown_bytes = 0

            def advance(done: int) -> None:
                nonlocal shown_bytes
                if done - shown_bytes >= _STEP:
                    shown_bytes = done
                    bars.update(task, completed=done)

            yield advance

    return shown()
