"""Files with holes: copied and compared without reading what is not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["copy_with_holes", "same_bytes"]

_STEP = 1 << 20


def _pieces(fd: int) -> Iterator[tuple[int, int]]:
    """Offset and length of the data between the holes, a MiB at most each."""
    size, start = os.fstat(fd).st_size, 0
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # a hole up to the end
            return
        stop = os.lseek(fd, start, os.SEEK_HOLE)
        while start < stop:
            length = min(_STEP, stop - start)
            yield start, length
            start += length


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files have the same length and the same bytes."""
    with one.open("rb") as first, other.open("rb") as second:
        fds = first.fileno(), second.fileno()
        if os.fstat(fds[0]).st_size != os.fstat(fds[1]).st_size:
            return False
        places = {piece for fd in fds for piece in _pieces(fd)}
        return all(
            os.pread(fds[0], length, offset) == os.pread(fds[1], length, offset)
            for offset, length in places
        )


def copy_with_holes(source: Path, target: Path) -> Path:
    with source.open("rb") as whole, target.open("wb") as file:
        for offset, length in _pieces(whole.fileno()):
            os.pwrite(file.fileno(), os.pread(whole.fileno(), length, offset), offset)
        file.truncate(os.fstat(whole.fileno()).st_size)
    return target
