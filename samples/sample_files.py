"""The sample files on disk: packing and unpacking them, and their manifest.

Images are full of holes, and some are far larger than the disk space one would spend on a test,
so both directions go piece by piece and leave holes where there is nothing but zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "MANIFEST.json"

_PIECE = 1 << 20
_ZEROS = bytes(_PIECE)

Entry = dict[str, Any]
"""One sample of MANIFEST.json; README.md beside this file lists the keys."""


def read_manifest(path: Path = MANIFEST) -> dict[str, Entry]:
    """The manifest as {sample name: entry}, in its order."""
    entries = cast("list[Entry]", json.loads(path.read_text("utf-8")))
    return {entry["name"]: entry for entry in entries}


def write_manifest(path: Path, entries: dict[str, Entry]) -> None:
    """Writes the manifest, or leaves the old one when interrupted."""
    ordered = [entries[name] for name in sorted(entries)]
    with _replacing(path) as stream:
        stream.write((json.dumps(ordered, indent=1) + "\n").encode())


def sample_path(entry: Entry) -> Path:
    """Where the committed file of a sample lies."""
    return HERE / str(entry["file"])


def unpack(source: Path, target: Path) -> Path:
    """Decompresses a sample into `target`, leaving holes where it is zero; returns `target`."""
    with lzma.open(source) as packed, target.open("wb") as image:
        size = 0
        while piece := packed.read(_PIECE):
            if piece == _ZEROS[: len(piece)]:
                image.seek(len(piece), os.SEEK_CUR)
            else:
                image.write(piece)
            size += len(piece)
        image.truncate(size)
    return target


def pack(source: Path, target: Path) -> tuple[int, str]:
    """Compresses an image into `target`; (size, SHA-256) of the uncompressed image."""
    digest = hashlib.sha256()
    size = 0
    with (
        source.open("rb") as image,
        _replacing(target) as stream,
        lzma.open(stream, "wb", preset=9) as packed,
    ):
        while piece := image.read(_PIECE):
            digest.update(piece)
            packed.write(piece)
            size += len(piece)
    return size, digest.hexdigest()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only once it is complete."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
