"""Where bytes come from: a path, a file descriptor or a buffer, read at explicit offsets.

There is no shared position: every read names its offset (pread), so that any number of readers
can use one Source, and an exception leaves nothing behind that a later read could trip over.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.errors import SourceError
from fixedram_fmt.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["READ_CEILING", "Extent", "Source"]

#: Most bytes one read may ask for.  A larger number comes from a damaged file, not from a caller.
READ_CEILING = 1 << 30

#: One preadv never moves more than this (Linux: MAX_RW_COUNT); larger reads go in steps.
_STEP = 1 << 27

_PIECE = 1 << 20


class Extent(NamedTuple):
    """A range [start, stop) of the file, in bytes, that is data or a hole."""

    start: int
    stop: int
    data: bool


class Source(Closing):
    """Random access to the bytes of one file.

    Whoever makes it closes it (it is a context manager).  All offsets and lengths are in bytes.
    """

    def __init__(
        self, *, name: str, size: int, fd: int = -1, buffer: memoryview | None = None
    ) -> None:
        self.name = name
        self.size = size
        #: Who may read and write the file; None where it has no name that we opened it by.
        self.file_mode: int | None = None
        self._fd = fd
        self._buffer = buffer
        self._closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a regular file or block device for reading.

        Raises SourceError for anything that cannot be read at offsets (directories, pipes).
        """
        name = os.fsdecode(path)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open {name!r}: {_reason(error)}") from error
        try:
            source = cls(name=name, size=_size_of(fd, name), fd=fd)
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                source.file_mode = stat.S_IMODE(status.st_mode)
            return source
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def from_fd(cls, fd: int, name: str | None = None) -> Self:
        """Read from a file descriptor of the caller's; his offset is neither used nor moved."""
        name = name or f"fd {fd}"
        try:
            own = os.dup(fd)
        except OSError as error:
            raise SourceError(f"cannot use {name}: {_reason(error)}") from error
        try:
            return cls(name=name, size=_size_of(own, name), fd=own)
        except BaseException:
            os.close(own)
            raise

    @classmethod
    def from_buffer(cls, buffer: bytes | bytearray | memoryview, name: str = "buffer") -> Self:
        """Read from memory, without a copy."""
        view = memoryview(buffer).cast("B")
        return cls(name=name, size=view.nbytes, buffer=view)

    def close(self) -> None:
        """Give back the file descriptor; further reads raise SourceError."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._buffer, self._closed = -1, None, True

    @property
    def fd(self) -> int:
        """The file descriptor, or -1 for a buffer; for in-kernel copies."""
        return self._fd

    @property
    def disk_size(self) -> int | None:
        """Bytes the file takes on disk, holes left out; None where there is no such thing."""
        if self._fd < 0:
            return None
        status = os.fstat(self._fd)
        return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else None

    @property
    def is_device(self) -> bool:
        """Whether this is a block device, which holds what was written to it before."""
        return self._fd >= 0 and stat.S_ISBLK(os.fstat(self._fd).st_mode)

    def read_exact(self, offset: int, length: int, path: str = "") -> bytes:
        """Exactly length bytes at offset, or SourceError; path names the structure in the error."""
        self._check(offset, length, path)
        if self._buffer is not None:
            return bytes(self._buffer[offset : offset + length])
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise self._failed(error, offset, path) from error
        if len(data) == length:
            return data
        target = bytearray(length)
        self.read_into(offset, target, path)
        return bytes(target)

    def read_into(self, offset: int, target: bytearray | memoryview, path: str = "") -> None:
        """Fill target with the bytes at offset, or raise SourceError."""
        view = memoryview(target).cast("B")
        self._check(offset, view.nbytes, path)
        if self._buffer is not None:
            view[:] = self._buffer[offset : offset + view.nbytes]
            return
        done = 0
        while done < view.nbytes:
            try:
                got = os.preadv(self._fd, [view[done : done + _STEP]], offset + done)
            except OSError as error:
                raise self._failed(error, offset + done, path) from error
            if got == 0:
                raise SourceError(
                    "the file became shorter while it was read",
                    offset=offset + done,
                    path=path,
                    expected=f"{view.nbytes - done} more bytes",
                    found="its end",
                )
            done += got

    def pieces(self, start: int, stop: int, path: str = "") -> Iterator[bytes]:
        """The bytes [start, stop) in order, a MiB at most at a time."""
        for offset in range(start, stop, _PIECE):
            yield self.read_exact(offset, min(_PIECE, stop - offset), path)

    def read_upto(self, offset: int, length: int) -> bytes:
        """The bytes at offset, at most length, fewer where the file ends, none outside it."""
        if not 0 <= offset < self.size:
            return b""
        return self.read_exact(offset, min(length, self.size - offset))

    def _failed(self, error: OSError, offset: int, path: str) -> SourceError:
        return SourceError(
            f"read of {self.name!r} failed: {_reason(error)}", offset=offset, path=path
        )

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

    def extents(self, start: int = 0, stop: int | None = None) -> Iterator[Extent]:
        """The data and hole ranges that tile [start, stop); all data where holes are unknown.

        Asks the file system (SEEK_DATA, SEEK_HOLE) and reads nothing.
        """
        self._check_open()
        stop = self.size if stop is None else min(stop, self.size)
        fd = self._seek_fd()
        try:
            while start < stop:
                data = _seek(fd, start, os.SEEK_DATA, start, stop)
                if data > start:
                    yield Extent(start, data, False)
                if data < stop:
                    start = _seek(fd, data, os.SEEK_HOLE, data + 1, stop)
                    yield Extent(data, start, True)
                else:
                    start = data
        finally:
            if fd >= 0:
                os.close(fd)

    def _seek_fd(self) -> int:
        """A descriptor with a position of its own, since SEEK_DATA moves it; -1: there is none."""
        if self._fd < 0:
            return -1
        try:
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return -1


def _seek(fd: int, position: int, whence: int, floor: int, stop: int) -> int:
    """Where data (or a hole) starts at or after position, between floor and stop.

    floor keeps the caller moving when the file changes under it.  Without a descriptor, or where
    the file system cannot tell, everything is data.
    """
    try:
        found = os.lseek(fd, position, whence)
    except OSError as error:
        nothing_behind = error.errno == errno.ENXIO or whence == os.SEEK_HOLE
        return stop if nothing_behind else position
    return stop if found > stop else found if found > floor else floor


def _size_of(fd: int, name: str) -> int:
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fstat(fd).st_size
    if stat.S_ISBLK(mode):
        # A description of our own: the caller's offset stays where it is.
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.lseek(own, 0, os.SEEK_END)
        finally:
            os.close(own)
    what = "a directory" if stat.S_ISDIR(mode) else "not a file that can be read at an offset"
    raise SourceError(
        f"cannot use {name!r}: it is {what}", hint="give a regular file or a block device"
    )


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
