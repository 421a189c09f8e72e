"""Folders and files that are written into: nothing is overwritten unasked, nothing half-done."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from fixedram_fmt.build.output import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["check_target", "prepared"]


def check_target(path: Path, *, force: bool) -> None:
    """OutputError where a file must not be written: it is a link, or is there already."""
    if path.is_symlink():
        raise OutputError(f"{str(path)!r} is a link, which may lead anywhere")
    if path.exists() and not force:
        raise OutputError(f"{str(path)!r} is there already", hint="--force overwrites it")


@contextmanager
def prepared(folder: Path, names: Sequence[str], *, force: bool) -> Iterator[None]:
    """The folder, where names may be written; after an error it is as it was before.

    But for the files that force has overwritten by then.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {str(folder)!r}: {error.strerror}") from error
    fresh = []
    for path in (folder / name for name in names):
        check_target(path, force=force)
        if not path.exists():
            fresh.append(path)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in fresh:
                path.unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise
