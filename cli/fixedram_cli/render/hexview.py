"""Memory as lines of 16 bytes: repeated lines folded, what is no data said in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.rows import text_of
from fixedram_cli.render.terminal import visible
from fixedram_fmt.memory.pieces import ABSENT, HOLE, IGNORED, PRESENT, UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fixedram_fmt.memory.block import Readable
    from fixedram_fmt.memory.pieces import Piece

__all__ = ["hex_lines"]

_WIDTH = 16
_STEP = 1 << 16

_REMARKS = {
    ABSENT: "absent (zero)",
    HOLE: "not RAM",
    IGNORED: "not in the image (x-ignore-shared)",
    UNMAPPED: "not mapped",
}


def hex_lines(memory: Readable, pieces: Iterable[Piece], stop: int) -> Iterator[str]:
    """Lines of address, bytes and text; lines begin at multiples of 16.  stop sizes the addresses.

    Neighbours of the same state that hold no data are one remark.
    """
    digits = max(8, len(f"{max(stop - 1, 0):x}"))
    pending: Piece | None = None
    begun = 0
    for piece in pieces:
        if pending and (piece.state != pending.state or piece.why != pending.why):
            yield _remark(pending, begun, pending.stop, digits)
            pending = None
        if piece.state == PRESENT:
            yield from _data(memory, piece, digits)
            continue
        begun = begun if pending else piece.start
        pending = piece
    if pending:
        yield _remark(pending, begun, pending.stop, digits)


def _remark(piece: Piece, start: int, stop: int, digits: int) -> str:
    text = _REMARKS[piece.state] + (f": {visible(piece.why)}" if piece.why else "")
    return f"{start:0{digits}x}-{stop - 1:0{digits}x}  {text}"


def _data(memory: Readable, piece: Piece, digits: int) -> Iterator[str]:
    before, folded = b"", False
    at = piece.start
    while at < piece.stop:
        # Steps end where lines do.
        step = min(piece.stop, (at // _STEP + 1) * _STEP) - at
        data = memory.read(at, step)
        if folded and at + step < piece.stop and data == before * (step // _WIDTH):
            at += step
            continue
        done = 0
        while done < step:
            length = min(_WIDTH - (at + done) % _WIDTH, step - done)
            line = data[done : done + length]
            last = at + done + length == piece.stop
            if line == before and len(line) == _WIDTH and not last:
                if not folded:
                    yield "*"
                folded = True
            else:
                yield _line(at + done, line, digits)
                before, folded = line, False
            done += length
        at += step


def _line(address: int, data: bytes, digits: int) -> str:
    text = text_of(data)
    cells = data.hex(" ")
    skipped = address % _WIDTH
    if skipped or len(data) < _WIDTH:
        cells = f"{' ' * (3 * skipped)}{cells}".ljust(3 * _WIDTH - 1)
        text = " " * skipped + text
    return f"{address - skipped:0{digits}x}  {cells[:23]}  {cells[24:]}  |{text}|"
