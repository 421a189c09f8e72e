"""Small files that go with images: specs, destinations, baselines, libvirt's XML."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DOCUMENT_CEILING", "read_document"]

#: Bytes; a baseline of a hundred thousand findings has some 30 MiB.
DOCUMENT_CEILING = 64 << 20


def read_document(path: str | Path) -> bytes:
    """The whole of a file, from a pipe as well.

    Raises ValueError with the reason alone when it cannot be read, or is longer than
    DOCUMENT_CEILING: a device or an image was given by mistake.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(DOCUMENT_CEILING + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > DOCUMENT_CEILING:
        raise ValueError(f"it is longer than {DOCUMENT_CEILING >> 20} MiB")
    return data
