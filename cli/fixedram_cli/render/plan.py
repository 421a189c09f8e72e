"""What commands that write an image print: the plan, or the name and size of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.jsonout import print_json, print_json_list
from fixedram_cli.render.terminal import visible
from fixedram_fmt.io.output import replacing
from fixedram_fmt.summary import summarize
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.tiling import RecordEntry
    from fixedram_fmt.write.piece import Piece

__all__ = ["finish", "tell_made"]


def finish(
    pieces: Iterable[Piece],
    out: Path | None,
    *,
    as_json: bool,
    force: bool = False,
    mode: int | None = None,
    write: Callable[[Iterable[Piece], Output], int] | None = None,
) -> None:
    """Execute the plan (write: how) and say what was made; without out print it."""
    if out is None:
        _print_plan(pieces, as_json=as_json)
        return
    from fixedram_fmt.write.placing import write_pieces

    with replacing(out, force=force, mode=mode) as output:
        size = (write or write_pieces)(pieces, output)
    tell_made(out, size, as_json=as_json)


def tell_made(out: Path, size: int, *, as_json: bool) -> None:
    """The name and size of an image that was written; in JSON what `info` says of it."""
    if as_json:
        from fixedram_fmt.image import Image

        with Image.open(str(out), search=True) as image:
            print_json(summarize(image, str(out)))
    else:
        print(f"{visible(str(out))}: {human_size(size)}")


def _entry(piece: Piece) -> RecordEntry:
    from fixedram_fmt.tiling import RecordEntry, values

    fields = values(piece.kind, piece.value)
    return RecordEntry(piece.offset, piece.content.length, piece.kind, piece.path, fields)


def _print_plan(pieces: Iterable[Piece], *, as_json: bool) -> None:
    from fixedram_fmt.tiling import WritingPlan

    rows = (piece for piece in pieces if piece.content.length)
    if as_json:
        print_json_list(WritingPlan(()), map(_entry, rows))
        return
    for piece in rows:
        size = human_size(piece.content.length)
        print(f"{piece.offset:#14x}  {size:>10}  {piece.kind.value:18}  {visible(piece.path)}")
