"""Decompression by a program that is there, for what this Python cannot undo: zstd, lzop.

The program gets the file as its standard input and no name, no shell is involved, and what comes
out counts against the same ceilings as what is unpacked here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, BinaryIO, cast

from fixedram_fmt.errors import UnsupportedError

if TYPE_CHECKING:
    from fixedram_fmt.io.source import Source

__all__ = ["PROGRAMS", "ProgramReader"]

#: By compression, as libvirt calls them (qemuSaveImageGetCompressionCommand()).
PROGRAMS = {"zstd": ("zstd", "-dc"), "lzop": ("lzop", "-dc", "--ignore-warn")}


class ProgramReader:
    """read() over what a program unpacks of source from offset on; close it."""

    def __init__(self, source: Source, offset: int, compression: str) -> None:
        """Raises UnsupportedError with a command that works, where the program is absent."""
        words = PROGRAMS[compression]
        program = shutil.which(words[0])
        if program is None:
            raise _absent(source, offset, compression)
        self._name = words[0]
        with _standard_input(source, offset) as stdin:
            self._process = subprocess.Popen(
                [program, *words[1:]],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def read(self, size: int) -> bytes:
        """At most size bytes, none at the end; EOFError where the program was not content."""
        pipe = cast("BinaryIO", self._process.stdout)
        data = pipe.read(size)
        if not data and self._process.wait():
            raise EOFError(f"{self._name} exits with {self._process.returncode}")
        return data

    def close(self) -> None:
        """End the program if it has not ended."""
        self._process.kill()
        self._process.wait()
        cast("BinaryIO", self._process.stdout).close()


def _standard_input(source: Source, offset: int) -> BinaryIO:
    """A file whose position is at offset, apart from any other position in it."""
    if source.fd >= 0:
        own = os.open(f"/proc/self/fd/{source.fd}", os.O_RDONLY | os.O_CLOEXEC)
        file: BinaryIO = os.fdopen(own, "rb", buffering=0)
    else:
        file = cast("BinaryIO", tempfile.TemporaryFile(prefix="fixedram-", buffering=0))  # noqa: SIM115
        for piece in source.pieces(0, source.size):
            file.write(piece)
    file.seek(offset)
    return file


def _absent(source: Source, offset: int, compression: str) -> UnsupportedError:
    name = shlex.quote(source.name)
    packed = f"tail -c +{offset + 1} {name}" if offset else f"cat {name}"
    extra = ", or pip install 'fixedram[zstd]'" if compression == "zstd" else ""
    return UnsupportedError(
        f"{compression} compression cannot be read: there is no program {compression} here",
        offset=offset,
        hint=f"install {compression}{extra}; where it is: {packed} | {compression} -dc > IMAGE",
    )
