"""A stream opened by its location, with the files that were opened for it."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

from fixedram_fmt.container.locate import locate_stream, split_location
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.io.source import Source
from fixedram_fmt.io.spool import spool_pipe

if TYPE_CHECKING:
    from typing import Self

    from fixedram_fmt.container.wrapper import Container

__all__ = ["PRIVATE", "Location", "OpenedStream", "name_of", "open_source"]

#: Mode of what holds a guest's memory and comes from no file: from a pipe, a device, a network.
PRIVATE = 0o600


#: Where an image is: `PATH`, `PATH@OFFSET` or `-`; the bytes of a file; or a Source.
Location = str | os.PathLike[str] | bytes | bytearray | memoryview | Source


def name_of(location: Location) -> str:
    """What a location is called in results: a path as it was given."""
    if isinstance(location, Source):
        return location.name
    if isinstance(location, (bytes, bytearray, memoryview)):
        return "buffer"
    return os.fspath(location)


def open_source(
    location: str | os.PathLike[str] | bytes | bytearray | memoryview,
    stdin: IO[bytes] | None = None,
) -> Source:
    """The Source at a path, or of bytes; `-` is standard input, pipes go to a temporary file.

    A pipe's content is kept as long as the Source is open, on disk, with zeros as holes.
    """
    if isinstance(location, (bytes, bytearray, memoryview)):
        return Source.from_buffer(location)
    if location == "-":
        stream = stdin or sys.stdin.buffer
        try:
            return Source.from_fd(stream.fileno(), "standard input")
        except (FixedRamError, OSError, ValueError):
            return spool_pipe(stream, "standard input")
    return Source.open(location)


class OpenedStream(Closing):
    """source holds the stream, which container places in it; close() closes what open() opened.

    file_size is that of the file itself, in bytes; file_mode is for files that get memory or device
    state of the stream.
    """

    def __init__(self, source: Source, container: Container) -> None:
        self.source = source
        self.container = container
        outer = container.outermost(source)
        self.file_size = outer.size
        self.file_mode = PRIVATE if outer.file_mode is None else outer.file_mode
        self._outer: Source | None = None

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        offset: int | None = None,
        search: bool = False,
    ) -> Self:
        """`PATH`, `PATH@OFFSET` or `-`; the bytes of a file; or a Source, which stays the caller's.

        offset is where the stream starts when it is known; search looks for it further in.
        Raises SourceError, or FormatError when there is no stream at all.
        """
        name = None
        if isinstance(location, str):
            location, given, name = split_location(location)
            offset = given if offset is None else offset
        if isinstance(location, Source):
            return cls(*locate_stream(location, offset=offset, search=search))
        outer = open_source(location)
        try:
            opened = cls(*locate_stream(outer, offset=offset, search=search, name=name))
        except BaseException:
            outer.close()
            raise
        opened._outer = outer
        return opened

    def close(self) -> None:
        """Give back what was opened; a Source of the caller's stays open."""
        self.container.close()
        if self._outer is not None:
            self._outer.close()
