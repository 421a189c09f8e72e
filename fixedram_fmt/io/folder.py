"""Folders that are written into: nothing is overwritten unasked, nothing half-done.

A folder is looked up once; from then on it is its descriptor, so that a link or another folder
that somebody puts in its place meanwhile leads nowhere.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from fixedram_fmt.io.output import Output, OutputError, Place, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Folder", "prepared"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder:
    """A folder that is open, with the names that were written into it."""

    def __init__(self, fd: int, path: Path, *, force: bool, mode: int | None) -> None:
        self.fd = fd
        self.path = path
        self._force = force
        self._mode = mode
        self._fresh: list[str] = []

    def place(self, name: str) -> Place:
        """A name in the folder."""
        return Place(self.fd, name, str(self.path / name))

    @contextmanager
    def replacing(self, name: str) -> Iterator[Output]:
        """As replacing() does it, in this folder and with its mode."""
        fresh = self.place(name).check(force=self._force) is None
        target = self.path / name
        with replacing(target, force=self._force, mode=self._mode, folder=self.fd) as output:
            yield output
        if fresh:
            self._fresh.append(name)

    def take_back(self) -> None:
        """Remove what was written, but for what was overwritten."""
        for name in self._fresh:
            with suppress(OSError):
                os.unlink(name, dir_fd=self.fd)


@contextmanager
def prepared(
    path: Path, names: Sequence[str], *, force: bool, mode: int | None = None
) -> Iterator[Folder]:
    """The folder, made with its parents, where names may be written.

    After an error it is as it was before, but for the files that force has overwritten by then.
    """
    made: list[tuple[int, str]] = []
    with ExitStack() as stack:
        try:
            fd = _made(path, made, stack)
        except OSError as error:
            _remove(made)
            raise OutputError(f"cannot make {str(path)!r}: {error.strerror}") from error
        folder = Folder(fd, path, force=force, mode=mode)
        try:
            for name in names:
                folder.place(name).check(force=force)
            yield folder
        except BaseException:
            folder.take_back()
            _remove(made)
            raise


def _made(path: Path, made: list[tuple[int, str]], stack: ExitStack) -> int:
    """A descriptor of path; the folders that had to be made are noted, with their parents."""
    missing = []
    there = path
    while not there.is_dir() and there != there.parent:
        missing.append(there.name)
        there = there.parent
    fd = os.open(there, _OPEN)
    stack.callback(os.close, fd)
    for name in reversed(missing):
        os.mkdir(name, dir_fd=fd)
        made.append((fd, name))
        fd = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=fd)
        stack.callback(os.close, fd)
    return fd


def _remove(made: list[tuple[int, str]]) -> None:
    """Take away the folders that were made, if they are empty."""
    for parent, name in reversed(made):
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
