"""Where a command writes: a file that is new and complete, or standard output."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.output import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["keep", "only_for_programs", "require_target", "sink", "write_text"]


def require_target(out: Path | None, *, plan: bool) -> None:
    """A usage error where there is neither a file to write nor a plan to print."""
    if out is None and not plan:
        raise typer.BadParameter("give the file to write, or --plan", param_hint="'-o'")
    if str(out) == "-":
        raise typer.BadParameter(
            "an image has holes and is written at offsets: give a file, not -", param_hint="'-o'"
        )


def only_for_programs(hint: str) -> None:
    """A usage error where stdout is a terminal, which bytes of a guest are not for."""
    if sys.stdout.isatty():
        raise typer.BadParameter(
            "these are bytes, not for a terminal: use a pipe, or -o FILE", param_hint=repr(hint)
        )


def keep(images: Sequence[str], targets: Sequence[Path | None]) -> None:
    """Refuse to write a target over an image."""
    from fixedram_fmt.container.locate import split_location

    for image in images:
        for target in filter(None, targets):
            with suppress(OSError, ValueError, FixedRamError):
                if target.samefile(split_location(image).path):
                    raise typer.BadParameter(f"{str(target)!r} is an image, and is kept")


@contextmanager
def sink(out: Path | None, *, force: bool, mode: int) -> Iterator[Callable[[bytes], object]]:
    """What writes bytes one after the other, to standard output where out is None."""
    if out is None:
        yield sys.stdout.buffer.write
        return
    with replacing(out, force=force, mode=mode) as output:
        done = 0

        def write(piece: bytes) -> None:
            nonlocal done
            output.write(done, piece)
            done += len(piece)

        yield write


def write_text(text: str, out: Path | None, *, force: bool) -> None:
    """Text on standard output, or in a file."""
    if out is None:
        sys.stdout.write(text)
        return
    with replacing(out, force=force) as output:
        output.write(0, text.encode())
