"""The file being written: a temporary one beside its target, renamed when it is complete.

Whatever goes wrong before that (a full disk, an error, SIGINT, SIGTERM), the target is as it was
and nothing is left behind.  Where the file system has O_TMPFILE that holds for SIGKILL too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError, SourceError

if TYPE_CHECKING:
    from collections.abc import Buffer, Iterator  # type: ignore[attr-defined]

    from fixedram_fmt.io.source import Source

__all__ = [
    "BufferOutput",
    "Output",
    "OutputError",
    "Place",
    "already_there",
    "refuse_over",
    "replacing",
]

_STEP = 1 << 20
#: Small neighbours are collected up to this before they are written.
_PENDING = 1 << 18
#: Copies up to this are not worth a call to the kernel's own.
_FEW_BYTES = 1 << 14
#: Errors that mean "not between these two files", not "the disk is full".
_NO_KERNEL_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


class OutputError(FixedRamError):
    """The target cannot be written: no room, no permission, not a regular file."""


class Output:
    """Writes at explicit offsets of an open file; what is never written is a hole."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        self._pending = bytearray()
        self._pending_offset = 0
        self._kernel_copies = True

    def fileno(self) -> int:
        """The descriptor, for a program that writes into the file itself."""
        self.flush()
        return self._fd

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

    def sha256(self, size: int) -> str:
        """Digest of the first size bytes of what was written."""
        digest = hashlib.sha256()
        for offset in range(0, size, _STEP):
            digest.update(self.read_back(offset, min(_STEP, size - offset)))
        return digest.hexdigest()

    def finish(self, size: int) -> None:
        """Write what is gathered and make the file size bytes long."""
        self.flush()
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self.failed(error) from error

    def failed(self, error: OSError) -> OutputError:
        """error of the operating system, as ours."""
        return OutputError(f"cannot write {self.name!r}: {error.strerror}", hint=_hint(error))


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
def replacing(
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    mode: int | None = None,
    folder: int | None = None,
) -> Iterator[Output]:
    """An Output that becomes target when the block ends well, and vanishes otherwise.

    What is there already is replaced with force only, and a link never.  The folder is looked up
    once, here; with folder, a descriptor, target is the name in it.  mode is that of the new file,
    as far as the umask allows it: of the image whose memory it holds (file_mode).
    """
    path = Path(target)
    shown = os.fspath(path)
    parent = _open_folder(path.parent, shown) if folder is None else os.dup(folder)
    try:
        place = Place(parent, path.name, shown)
        old = place.check(force=force)
        with _unfinished(place, _mode(mode, old), force=force) as output:
            yield output
    finally:
        os.close(parent)


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a folder that is open, and how both are called in messages."""

    folder: int
    name: str
    shown: str

    def status(self) -> os.stat_result | None:
        """What is there, not what a link leads to; None where nothing is."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Output(-1, self.shown).failed(error) from error

    def check(self, *, force: bool) -> os.stat_result | None:
        """What will be replaced, None for a new name; OutputError where nothing may be written."""
        status = self.status()
        if status is None:
            return None
        if stat.S_ISLNK(status.st_mode):
            raise OutputError(f"{self.shown!r} is a link, which may lead anywhere")
        if stat.S_ISDIR(status.st_mode):
            raise OutputError(f"{self.shown!r} is a folder", hint="give the name of a file")
        if not stat.S_ISREG(status.st_mode):
            raise OutputError(
                f"{self.shown!r} exists and is no regular file",
                hint="give the path of a file to create",
            )
        if not force:
            raise already_there(self.shown)
        return status


def already_there(shown: str) -> OutputError:
    """The one answer where a file would be overwritten unasked."""
    return OutputError(f"{shown!r} is there already", hint="--force overwrites it")


def refuse_over(target: str | os.PathLike[str], source: Source) -> None:
    """OutputError where target is the file that source reads, by whatever name."""
    if source.fd < 0:
        return
    with contextlib.suppress(OSError):
        if os.path.samestat(Path(target).stat(), os.fstat(source.fd)):
            raise OutputError(
                f"{os.fspath(target)!r} is what the image lies in, and is kept",
                hint="give another file",
            )


def _open_folder(path: Path, shown: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Output(-1, shown).failed(error) from error


def _mode(mode: int | None, old: os.stat_result | None) -> int:
    """The mode asked for, else that of the file that is replaced, else what new files have."""
    mask = os.umask(0o077)
    os.umask(mask)
    if mode is not None:
        return mode & 0o777 & ~mask
    return 0o666 & ~mask if old is None else stat.S_IMODE(old.st_mode)


@contextlib.contextmanager
def _unfinished(place: Place, mode: int, *, force: bool) -> Iterator[Output]:
    temporary = f".{place.name[:200]}.{secrets.token_hex(6)}.tmp"
    output = Output(-1, place.shown)
    named, fd = False, -1
    try:
        try:
            fd, named = _open(place.folder, temporary)
        except OSError as error:
            raise output.failed(error) from error
        output = Output(fd, place.shown)
        yield output
        output.flush()
        try:
            os.fchmod(fd, mode)
            if not named:
                # With a src_dir_fd Python calls linkat(), which follows the link.
                link = f"/proc/self/fd/{fd}"
                if not force:
                    os.link(link, place.name, src_dir_fd=fd, dst_dir_fd=place.folder)
                    return
                os.link(link, temporary, src_dir_fd=fd, dst_dir_fd=place.folder)
                named = True
            _rename(place, temporary, force=force)
            named = False
        except FileExistsError as error:
            raise already_there(place.shown) from error
        except OSError as error:
            raise output.failed(error) from error
    finally:
        if named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=place.folder)
        if fd >= 0:
            os.close(fd)


def _rename(place: Place, temporary: str, *, force: bool) -> None:
    """Give the file its name; where none may be replaced, only if it is free even now."""
    at = {"src_dir_fd": place.folder, "dst_dir_fd": place.folder}
    if not force:
        try:
            os.link(temporary, place.name, follow_symlinks=False, **at)
        except OSError as error:
            # File systems without hard links: look, then rename.
            if error.errno not in _NO_LINKS:
                raise
            place.check(force=False)
        else:
            os.unlink(temporary, dir_fd=place.folder)
            return
    os.rename(temporary, place.name, **at)  # noqa: PTH104 - relative to the folder


def _open(folder: int, temporary: str) -> tuple[int, bool]:
    """A descriptor of a new file in folder, and whether it has a name already."""
    flags = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        if Path("/proc/self/fd").exists():
            return os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=folder), False
    return os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), True
