"""Shows an image's folder through FUSE, read-only (extra `fuse`: the package mfusepy, libfuse)."""

from __future__ import annotations

import errno
import os
import stat
import time
from functools import partial
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.mount.files import File, Folder, read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.memory.block import Readable

__all__ = ["mount", "require_fuse"]

T = TypeVar("T")

_DEVICE = "/dev/fuse"

#: All that libfuse is told.  Nothing here comes from outside: libfuse takes commas apart, so that a
#: name in an option could bring options of its own (`modules=` loads a shared object).
_OPTIONS: dict[str, Any] = {
    "ro": True,
    "nosuid": True,
    "nodev": True,
    "noexec": True,
    "fsname": "fixedram",
    "subtype": "fixedram",
}

#: Files that may be open at once: each has its content.
_OPEN_CEILING = 1024


def require_fuse() -> Any:
    """The module mfusepy; UnsupportedError with what is missing."""
    try:
        import mfusepy
    except ImportError as error:
        raise UnsupportedError(
            "mounting needs the Python package mfusepy", hint="pip install 'fixedram[fuse]'"
        ) from error
    except OSError as error:
        raise UnsupportedError(
            "mounting needs libfuse", hint="install libfuse3 (Debian: fuse3)"
        ) from error
    if not os.path.exists(_DEVICE):  # noqa: PTH110  a device, not a path of ours
        raise UnsupportedError(f"there is no {_DEVICE} on this machine", hint="modprobe fuse")
    return mfusepy


def mount(folder: Folder, target: str, *, foreground: bool) -> None:
    """Show folder at target until it is unmounted; in the background unless foreground."""
    mfusepy = require_fuse()
    try:
        mfusepy.FUSE(
            _operations(mfusepy, folder),
            # An absolute path is no option, whatever the name.
            os.path.abspath(target),  # noqa: PTH100  links stay as they are
            foreground=foreground,
            **_OPTIONS,
        )
    except RuntimeError as error:
        raise UnsupportedError(
            f"FUSE could not mount at {target!r}",
            found=f"error {error}",
            hint="is it an empty folder of yours, and fusermount3 installed?",
        ) from error


class _OpenFiles:
    """The contents of the files that are open now, by number."""

    def __init__(self) -> None:
        self._contents: dict[int, Readable | bytes] = {}
        self._numbers = count(1)
        self._lock = Lock()

    def open(self, file: File) -> int:
        """The number of a newly opened file; BlockingIOError where too many are open."""
        with self._lock:
            if len(self._contents) >= _OPEN_CEILING:
                raise BlockingIOError(errno.EMFILE, "too many open files")
            number = next(self._numbers)
            self._contents[number] = b""
        try:
            self._contents[number] = file.open()
        except BaseException:
            self.close(number)
            raise
        return number

    def content(self, number: int) -> Readable | bytes | None:
        """What was opened under a number; None where nothing is open."""
        return self._contents.get(number)

    def close(self, number: int) -> None:
        """Forget it."""
        self._contents.pop(number, None)


class _Calls:
    """What libfuse asks, answered from a folder: paths in, bytes and stat fields out.

    Everything that writes is refused by the mount being read-only.
    """

    use_ns = True

    def __init__(self, folder: Folder, error: Callable[[int], OSError]) -> None:
        self._folder = folder
        self._error = error
        self._files = _OpenFiles()
        self._now = time.time_ns()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Kind, times and length."""
        found = self._find(path)
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._now)
        if isinstance(found, Folder):
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2, **times}
        size = self._guarded(lambda: found.size)
        return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": size, **times}

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        """The names in a folder."""
        found = self._find(path)
        if not isinstance(found, Folder):
            raise self._error(errno.ENOTDIR)
        yield from (".", "..", *found.entries)

    def open(self, path: str, flags: int) -> int:
        """The number of an opened file."""
        return self._guarded(partial(self._files.open, self._find_file(path)))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes of a file, whether it was opened or not."""
        content = self._files.content(fh)
        if content is None:
            return self._guarded(partial(self._find_file(path).read, offset, size))
        return self._guarded(partial(read_content, content, offset, size))

    def release(self, path: str, fh: int) -> int:
        """Forget what was opened."""
        self._files.close(fh)
        return 0

    def _find(self, path: str) -> File | Folder:
        found = self._folder.find(path)
        if found is None:
            raise self._error(errno.ENOENT)
        return found

    def _find_file(self, path: str) -> File:
        found = self._find(path)
        if isinstance(found, Folder):
            raise self._error(errno.EISDIR)
        return found

    def _guarded(self, act: Callable[[], T]) -> T:
        """What the file cannot give is an I/O error, as from a disk."""
        try:
            return act()
        except BlockingIOError as error:
            raise self._error(errno.EMFILE) from error
        except Exception as error:
            raise self._error(errno.EIO) from error


def _operations(mfusepy: Any, folder: Folder) -> Any:
    """The folder as mfusepy wants it."""
    kind = type("Operations", (_Calls, mfusepy.Operations), {})
    return kind(folder, mfusepy.FuseOSError)
