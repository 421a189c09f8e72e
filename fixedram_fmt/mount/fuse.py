"""Shows an image's folder through FUSE, read-only (extra `fuse`: the package mfusepy, libfuse)."""

from __future__ import annotations

import errno
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.mount.files import File, Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["mount", "require_fuse"]

T = TypeVar("T")

_DEVICE = "/dev/fuse"


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


def mount(folder: Folder, target: str, *, foreground: bool, name: str) -> None:
    """Show folder at target until it is unmounted; in the background unless foreground."""
    mfusepy = require_fuse()
    try:
        mfusepy.FUSE(
            _operations(mfusepy, folder),
            target,
            foreground=foreground,
            ro=True,
            nosuid=True,
            nodev=True,
            fsname=name,
            subtype="fixedram",
        )
    except RuntimeError as error:
        raise UnsupportedError(
            f"FUSE could not mount at {target!r}",
            found=f"error {error}",
            hint="is it an empty folder of yours, and fusermount3 installed?",
        ) from error


def _operations(mfusepy: Any, folder: Folder) -> Any:
    """The folder as mfusepy wants it: paths in, bytes and stat fields out."""
    now = time.time()

    def fail(code: int) -> OSError:
        error: OSError = mfusepy.FuseOSError(code)
        return error

    def find(path: str) -> File | Folder:
        found = folder.find(path)
        if found is None:
            raise fail(errno.ENOENT)
        return found

    class Operations(mfusepy.Operations):  # type: ignore[misc]
        """Everything that writes is refused by the mount being read-only."""

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            found = find(path)
            times = {"st_atime": now, "st_mtime": now, "st_ctime": now}
            if isinstance(found, Folder):
                return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2, **times}
            return {
                "st_mode": stat.S_IFREG | 0o444,
                "st_nlink": 1,
                "st_size": guarded(lambda: found.size),
                **times,
            }

        def readdir(self, path: str, fh: int) -> Iterator[str]:
            found = find(path)
            if not isinstance(found, Folder):
                raise fail(errno.ENOTDIR)
            yield from (".", "..", *found.entries)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            found = find(path)
            if isinstance(found, Folder):
                raise fail(errno.EISDIR)
            return guarded(partial(found.read, offset, size))

    def guarded(act: Callable[[], T]) -> T:
        """What the file cannot give is an I/O error, as from a disk."""
        try:
            return act()
        except Exception as error:
            raise fail(errno.EIO) from error

    return Operations()
