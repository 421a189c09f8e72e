"""The door to bytes: whatever can be read at explicit offsets is a Source.

There is no shared position: every read names its offset, so that any number of readers can use one
Source, and an exception leaves nothing behind that a later read could trip over.

A new kind is one module with a subclass: it gives name and size, fills ranges, and overrides what
it knows more about (holes, a descriptor).  If users name it by a location with a scheme, the
module has a function open_location() as well, and a row in OPENERS.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import SourceError
from fixedram_fmt.io.closing import Closing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

__all__ = ["OPENERS", "READ_CEILING", "Extent", "Source", "joined"]

#: Most bytes one read may ask for.  A larger number comes from a damaged file, not from a caller.
READ_CEILING = 1 << 30

#: By scheme (NAME of `NAME://...`): the module whose open_location(location) gives the Source.
OPENERS: dict[str, str] = {}
#: A door does not import who stands behind it.
_PATHS, _BUFFERS = "fixedram_fmt.io.file", "fixedram_fmt.io.buffer"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")

_PIECE = 1 << 20


class Extent(NamedTuple):
    """A range [start, stop) of the file, in bytes, that is data or a hole."""

    start: int
    stop: int
    data: bool


def joined(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Extents that tile a range, neighbours of one kind put together."""
    pending: Extent | None = None
    for extent in extents:
        if pending is not None and pending.data is extent.data:
            pending = pending._replace(stop=extent.stop)
            continue
        if pending is not None:
            yield pending
        pending = extent
    if pending is not None:
        yield pending


class Source(Closing, ABC):
    """Random access to the bytes of one file.

    Whoever makes it closes it (it is a context manager).  All offsets and lengths are in bytes.
    """

    def __init__(self, *, name: str, size: int) -> None:
        self.name = name
        self.size = size
        #: Who may read and write the file; None where it has no name that we opened it by.
        self.file_mode: int | None = None
        self._closed = False

    @staticmethod
    def open(location: str | os.PathLike[str]) -> Source:
        """Open a regular file or block device, or what OPENERS has for the scheme of location.

        Raises SourceError for anything that cannot be read at offsets (directories, pipes).
        """
        scheme = _SCHEME.match(location) if isinstance(location, str) else None
        module = import_module(OPENERS.get(scheme[1], _PATHS) if scheme else _PATHS)
        source: Source = module.open_location(location)
        return source

    @staticmethod
    def from_fd(fd: int, name: str | None = None) -> Source:
        """Read from a file descriptor of the caller's; his offset is neither used nor moved."""
        source: Source = import_module(_PATHS).FileSource.of_fd(fd, name)
        return source

    @staticmethod
    def from_buffer(buffer: bytes | bytearray | memoryview, name: str = "buffer") -> Source:
        """Read from memory, without a copy."""
        source: Source = import_module(_BUFFERS).BufferSource(buffer, name)
        return source

    # -- what a subclass gives ----------------------------------------------------------------

    @abstractmethod
    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Fill target with the bytes at offset, or raise SourceError; the range was checked."""

    def fetch(self, offset: int, length: int, path: str) -> bytes:
        """The same as bytes of their own, for who can do that sooner."""
        target = bytearray(length)
        self.fill(offset, memoryview(target), path)
        return bytes(target)

    def close(self) -> None:
        """Give back what is open; further reads raise SourceError."""
        self._closed = True

    @property
    def fd(self) -> int:
        """The descriptor of a file with these bytes at these offsets, for in-kernel copies; -1."""
        return -1

    @property
    def disk_size(self) -> int | None:
        """Bytes the file takes on disk, holes left out; None where there is no such thing."""
        return None

    @property
    def is_device(self) -> bool:
        """Whether this is a block device, which holds what was written to it before."""
        return False

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """What tiles [start, stop), which is inside and not empty; all data if not overridden."""
        yield Extent(start, stop, True)

    # -- what everybody calls -----------------------------------------------------------------

    def read_exact(self, offset: int, length: int, path: str = "") -> bytes:
        """Exactly length bytes at offset, or SourceError; path names the structure in the error."""
        self._check(offset, length, path)
        return self.fetch(offset, length, path)

    def read_into(self, offset: int, target: bytearray | memoryview, path: str = "") -> None:
        """Fill target with the bytes at offset, or raise SourceError."""
        view = memoryview(target).cast("B")
        self._check(offset, view.nbytes, path)
        self.fill(offset, view, path)

    def read_upto(self, offset: int, length: int) -> bytes:
        """The bytes at offset, at most length, fewer where the file ends, none outside it."""
        if not 0 <= offset < self.size:
            return b""
        return self.read_exact(offset, min(length, self.size - offset))

    def pieces(self, start: int, stop: int, path: str = "") -> Iterator[bytes]:
        """The bytes [start, stop) in order, a MiB at most at a time."""
        for offset in range(start, stop, _PIECE):
            yield self.read_exact(offset, min(_PIECE, stop - offset), path)

    def extents(self, start: int = 0, stop: int | None = None) -> Iterator[Extent]:
        """The data and hole ranges that tile [start, stop); all data where holes are unknown.

        Reads nothing.
        """
        self._check_open()
        stop = self.size if stop is None else min(stop, self.size)
        if start < stop:
            yield from self.ranges(start, stop)

    def _check_open(self) -> None:
        if self._closed:
            raise SourceError(
                f"{self.name!r} is closed", hint="read before close(), or open it again"
            )

    def _check(self, offset: int, length: int, path: str) -> None:
        self._check_open()
        if offset < 0 or length < 0 or offset + length > self.size:
            raise SourceError(
                "range outside the file",
                offset=offset,
                path=path,
                expected=f"a range inside 0..{self.size:#x}",
                found=f"{length} bytes at {offset:#x}",
            )
        if length > READ_CEILING:
            raise SourceError(
                "read too large",
                offset=offset,
                path=path,
                expected=f"at most {READ_CEILING} bytes",
                found=str(length),
            )
