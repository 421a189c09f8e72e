"""The file being written: a temporary one beside its target, renamed when it is complete.

Whatever goes wrong before that (a full disk, an error, SIGINT, SIGTERM), the target is as it was
and nothing is left behind.  Where the file system has O_TMPFILE that holds for SIGKILL too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError, SourceError

if TYPE_CHECKING:
    from collections.abc import Buffer, Iterator  # type: ignore[attr-defined]

    from fixedram_fmt.source import Source

__all__ = ["BufferOutput", "Output", "OutputError", "replacing"]

_STEP = 1 << 20
#: Small neighbours are collected up to this before they are written.
_PENDING = 1 << 18
#: Copies up to this are not worth a call to the kernel's own.
_FEW_BYTES = 1 << 14
#: Errors that mean "not between these two files", not "the disk is full".
_NO_KERNEL_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


class OutputError(FixedRamError):
    """The target cannot be written: no room, no permission, not a regular file."""


class Output:
    """Writes at explicit offsets of an open file; what is never written is a hole."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._pending = bytearray()
        self._pending_offset = 0
        self._kernel_copies = True

    def read_back(self, offset: int, length: int) -> bytes:
        """What was written at offset; zeros where nothing was."""
        self.flush()
        try:
            return os.pread(self._fd, length, offset).ljust(length, b"\0")
        except OSError as error:
            raise self.failed(error) from error

    def write(self, offset: int, data: Buffer) -> None:
        """Put data at offset; small neighbours are gathered."""
        view = memoryview(data)
        if offset != self._pending_offset + len(self._pending) or len(self._pending) > _PENDING:
            self.flush()
            self._pending_offset = offset
        if view.nbytes > _PENDING:
            self.flush()
            self._write_now(offset, view)
            self._pending_offset = offset + view.nbytes
        else:
            self._pending += view

    def flush(self) -> None:
        """Write what was gathered."""
        if self._pending:
            self._write_now(self._pending_offset, memoryview(self._pending))
            self._pending_offset += len(self._pending)
            self._pending = bytearray()

    def _write_now(self, offset: int, view: memoryview) -> None:
        while view.nbytes:
            try:
                done = os.pwrite(self._fd, view, offset)
            except OSError as error:
                raise self.failed(error) from error
            view, offset = view[done:], offset + done

    def write_through(self, offset: int, data: Buffer) -> None:
        """Put data at offset at once; any thread may, when nothing is gathered there."""
        self._write_now(offset, memoryview(data))

    def copy(self, source: Source, start: int, stop: int, offset: int) -> None:
        """The bytes [start, stop) of source to offset, in the kernel where it can; holes stay."""
        self.flush()
        for extent in source.extents(start, stop):
            if extent.data:
                self.copy_data(source, extent.start, extent.stop, offset + extent.start - start)

    def copy_data(self, source: Source, start: int, stop: int, offset: int) -> None:
        """The same for a range that is known to hold no holes."""
        self.flush()
        self.copy_through(source, start, stop, offset)

    def copy_through(self, source: Source, start: int, stop: int, offset: int) -> None:
        """The same at once; any thread may, when nothing is gathered there."""
        # A few pages are read and written sooner than the kernel has set up a copy.
        kernel = stop - start > _FEW_BYTES and source.fd >= 0
        while start < stop and self._kernel_copies and kernel:
            try:
                done = os.copy_file_range(source.fd, self._fd, stop - start, start, offset)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise self.failed(error) from error
                self._kernel_copies = False
                break
            if done == 0:
                raise SourceError("the file became shorter while it was copied", offset=start)
            start, offset = start + done, offset + done
        while start < stop:
            data = source.read_exact(start, min(_STEP, stop - start))
            self._write_now(offset, memoryview(data))
            start, offset = start + len(data), offset + len(data)

    def finish(self, size: int) -> None:
        """Write what is gathered and make the file size bytes long."""
        self.flush()
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self.failed(error) from error

    def failed(self, error: OSError) -> OutputError:
        """error of the operating system, as ours."""
        return OutputError(f"cannot write {self._name!r}: {error.strerror}", hint=_hint(error))


def _hint(error: OSError) -> str:
    hints = {
        errno.ENOSPC: "free some space, or write to another file system",
        errno.EDQUOT: "the quota is used up",
        errno.EFBIG: "this file system or a limit does not allow files of that size",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "there is no permission to create files in that folder",
        errno.ENOENT: "create the folder first",
    }
    return hints.get(error.errno or 0, "")


class BufferOutput(Output):
    """An Output into memory, for images that are small."""

    def __init__(self) -> None:
        super().__init__(-1, "buffer")
        self.data = bytearray()
        self._lock = threading.Lock()

    def _write_now(self, offset: int, view: memoryview) -> None:
        with self._lock:
            if len(self.data) < offset + view.nbytes:
                self.data.extend(bytes(offset + view.nbytes - len(self.data)))
            self.data[offset : offset + view.nbytes] = view

    def copy_data(self, source: Source, start: int, stop: int, offset: int) -> None:
        """The same bytes, read."""
        self.write(offset, source.read_exact(start, stop - start))

    def read_back(self, offset: int, length: int) -> bytes:
        """What was written at offset; zeros where nothing was."""
        self.flush()
        return bytes(self.data[offset : offset + length]).ljust(length, b"\0")

    def finish(self, size: int) -> None:
        """Make data size bytes long."""
        self.flush()
        self.data = self.data[:size].ljust(size, b"\0")


@contextlib.contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Output]:
    """An Output that becomes target when the block ends well, and vanishes otherwise."""
    path = Path(os.path.realpath(target))
    mode = _mode_of(path)
    unfinished = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.tmp")
    try:
        fd, named = _open(path.parent, unfinished)
    except OSError as error:
        raise Output(-1, os.fspath(target)).failed(error) from error
    try:
        output = Output(fd, os.fspath(target))
        yield output
        output.flush()
        try:
            os.fchmod(fd, mode)
            if not named:
                # With a src_dir_fd Python calls linkat(), which follows the link; link() does not.
                os.link(f"/proc/self/fd/{fd}", unfinished, src_dir_fd=fd)
                named = True
            unfinished.replace(path)
        except OSError as error:
            raise output.failed(error) from error
    except BaseException:
        if named:
            unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _mode_of(path: Path) -> int:
    """Mode of the file that will be replaced, or of a new one; OutputError if it is no file."""
    try:
        status = path.stat()
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(
            f"{str(path)!r} exists and is no regular file", hint="give the path of a file to create"
        )
    return stat.S_IMODE(status.st_mode)


def _open(folder: Path, unfinished: Path) -> tuple[int, bool]:
    """A descriptor of a new file in folder, and whether it has a name already."""
    flags = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        if Path("/proc/self/fd").exists():
            return os.open(folder, flags | os.O_TMPFILE, 0o600), False
    return os.open(unfinished, flags | os.O_CREAT | os.O_EXCL, 0o600), True
