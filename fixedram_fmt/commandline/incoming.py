"""The arguments that make QEMU load an image from its file.

Upstream: QEMU migration/file.c file_parse_offset(); migration/options.c migration_properties, whose
entries can be set with -global.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.dialect import ORDINARY, X_IGNORE_SHARED

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.image import Image

__all__ = ["incoming_of"]

#: What file_parse_offset() looks for: a path that has it would end there.
_OFFSET = ",offset="


def incoming_of(image: Image, location: str | None, draft: Draft) -> tuple[str, ...]:
    """-incoming with the file, and what has to be set for it; what that does not do is a doubt."""
    path = location if location is not None else _file(image)
    words: list[str] = []
    if image.dialect != ORDINARY:
        words += ["-global", "migration.mapped-ram=on"]
    if X_IGNORE_SHARED.decode() in image.capabilities:
        draft.doubt(
            "the image was sent with x-ignore-shared, which no argument sets: give -incoming defer,"
            " set the capability in the monitor, and give the memory the files that it had"
        )
    if "multifd" in image.capabilities and image.dialect == ORDINARY:
        draft.doubt("its pages came through channels of multifd, which are no part of the file")
    offset = image.container.stream_offset
    if image.container.compression:
        # Nothing of the file lies where it is when it is unpacked.
        draft.doubt(
            f"QEMU does not unpack it ({image.container.compression}): write it anew with fixedram"
            " copy, and name that file in -incoming"
        )
        offset = 0
    elif not image.container.in_place:
        draft.doubt(
            "QEMU does not take it out of a disk image by -incoming: write it anew with fixedram"
            " copy, and name that file; or give the VM the disk, and -loadvm in place of -incoming"
        )
        offset = 0
    if _OFFSET in path:
        draft.doubt(f"QEMU takes what comes after {_OFFSET!r} in the path for an offset")
    suffix = f"{_OFFSET}{offset}" if offset else ""
    return (*words, "-incoming", f"file:{path}{suffix}")


def _file(image: Image) -> str:
    """The name of the file itself, whatever it is packed in."""
    wrappers = image.container.wrappers
    return wrappers[0].outer.source.name if wrappers else image.source.name
