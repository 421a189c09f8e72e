"""A regular file or block device as a Source: by its path, or by a descriptor."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from fixedram_fmt.errors import SourceError
from fixedram_fmt.io.source import Extent, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["FileSource", "open_location"]

#: One preadv never moves more than this (Linux: MAX_RW_COUNT); larger reads go in steps.
_STEP = 1 << 27


class FileSource(Source):
    """An open file, read with pread; the descriptor is closed with it."""

    def __init__(self, fd: int, *, name: str, size: int) -> None:
        super().__init__(name=name, size=size)
        self._fd = fd

    @classmethod
    def of_path(cls, path: str | os.PathLike[str]) -> Self:
        """Open a path; its file_mode is that of the file."""
        name = os.fsdecode(path)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open {name!r}: {_reason(error)}") from error
        source = cls._of_own(fd, name)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            source.file_mode = stat.S_IMODE(status.st_mode)
        return source

    @classmethod
    def of_fd(cls, fd: int, name: str | None = None) -> Self:
        """A descriptor of the caller's, who closes it himself."""
        name = name or f"fd {fd}"
        try:
            own = os.dup(fd)
        except OSError as error:
            raise SourceError(f"cannot use {name}: {_reason(error)}") from error
        return cls._of_own(own, name)

    @classmethod
    def _of_own(cls, fd: int, name: str) -> Self:
        try:
            return cls(fd, name=name, size=_size_of(fd, name))
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Give back the descriptor."""
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @property
    def fd(self) -> int:
        """The descriptor; -1 after close()."""
        return self._fd

    @property
    def disk_size(self) -> int | None:
        """The blocks of a regular file."""
        if self._fd < 0:
            return None
        status = os.fstat(self._fd)
        return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else None

    @property
    def is_device(self) -> bool:
        """Whether this is a block device."""
        return self._fd >= 0 and stat.S_ISBLK(os.fstat(self._fd).st_mode)

    def fetch(self, offset: int, length: int, path: str) -> bytes:
        """One pread, as a rule."""
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise self._failed(error, offset, path) from error
        return data if len(data) == length else super().fetch(offset, length, path)

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """As many preads as it takes."""
        done = 0
        while done < target.nbytes:
            try:
                got = os.preadv(self._fd, [target[done : done + _STEP]], offset + done)
            except OSError as error:
                raise self._failed(error, offset + done, path) from error
            if got == 0:
                raise SourceError(
                    "the file became shorter while it was read",
                    offset=offset + done,
                    path=path,
                    expected=f"{target.nbytes - done} more bytes",
                    found="its end",
                )
            done += got

    def _failed(self, error: OSError, offset: int, path: str) -> SourceError:
        return SourceError(
            f"read of {self.name!r} failed: {_reason(error)}", offset=offset, path=path
        )

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """As the file system says (SEEK_DATA, SEEK_HOLE)."""
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
        try:
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return -1


def open_location(location: str | os.PathLike[str]) -> Source:
    """What Source.open() takes for locations without a scheme of their own."""
    return FileSource.of_path(location)


def _seek(fd: int, position: int, whence: int, floor: int, stop: int) -> int:
    """Where data (or a hole) starts at or after position, between floor and stop.

    floor keeps the caller moving when the file changes under it.  Without a descriptor, or where
    the file system cannot tell, everything is data.
    """
    try:
        found = os.lseek(fd, position, whence)
    except OSError as error:
        nothing_follows = error.errno == errno.ENXIO or whence == os.SEEK_HOLE
        return stop if nothing_follows else position
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
