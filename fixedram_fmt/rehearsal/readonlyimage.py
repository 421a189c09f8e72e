"""The image as a descriptor that QEMU can only read: of its own file, or of a copy.

QEMU takes it as a set of descriptors (-add-fd, /dev/fdset/N), so that no path is looked up twice
and none has to be spelled in QEMU's syntax.  Upstream: QEMU migration/file.c
file_start_incoming_migration().
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fixedram_fmt.errors import SourceError
from fixedram_fmt.io.output import Output
from fixedram_fmt.io.spool import MORE_ROOM, scratch_file
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.io.source import Source

__all__ = ["FDSET", "capabilities_of", "readable", "uri_of"]

FDSET = 7
#: Capabilities of the sending side: QEMU's receiving side reads what they make without them.
_SENDING = frozenset({"validate-uuid", "xbzrle", "events"})


def uri_of(image: Image) -> str:
    """Where the stream starts, as migrate-incoming takes it."""
    offset = image.container.stream_offset
    return f"file:/dev/fdset/{FDSET}" + (f",offset={offset}" if offset else "")


def capabilities_of(image: Image, *, multifd: bool) -> list[str]:
    """Migration capabilities that a receiver of the image has to have."""
    named = [name for name in image.capabilities if name not in _SENDING]
    return [*named, *(["multifd"] if multifd and "multifd" not in named else [])]


@contextmanager
def readable(image: Image) -> Iterator[int]:
    """A descriptor to read the image by, with a position of its own.

    What is unpacked or lies in pieces is put into a file without a name first (TMPDIR);
    SourceError where there is no room for it.
    """
    own = _reopened(image.source.fd)
    if own is None:
        with _copied(image.source) as own:
            yield own
        return
    try:
        yield own
    finally:
        os.close(own)


def _reopened(fd: int) -> int | None:
    if fd < 0:
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


@contextmanager
def _copied(source: Source) -> Iterator[int]:
    needed = sum(one.stop - one.start for one in source.extents() if one.data)
    with scratch_file("for a copy of the image") as fd:
        status = os.fstatvfs(fd)
        room = status.f_bavail * status.f_frsize
        if needed > room:
            raise SourceError(
                f"no room for a copy of the image of {human_size(needed)}",
                found=f"{human_size(room)} in the folder of temporary files",
                hint=MORE_ROOM,
            )
        output = Output(fd, "a temporary file")
        output.copy(source, 0, source.size, 0)
        output.finish(source.size)
        own = _reopened(fd)
        if own is None:
            raise SourceError("the copy of the image cannot be opened again")
        try:
            yield own
        finally:
            os.close(own)
