"""The stream of a libvirt save through a compressor, as save_image_format in qemu.conf asks for.

libvirt pipes the stream through gzip, bzip2, xz or zstd (qemuSaveImageGetCompressionProgram()); the
header and the XML before it stay as they are.
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import subprocess
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.io.output import Output
from fixedram_fmt.io.spool import zstd_module
from fixedram_fmt.stream.records import Kind

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterable  # type: ignore[attr-defined]
    from typing import BinaryIO

    from fixedram_fmt.write.piece import Piece

__all__ = ["COMPRESSORS", "write_packed"]

_HEAD = frozenset({Kind.LIBVIRT_HEADER, Kind.LIBVIRT_XML})
_ZEROS = memoryview(bytes(1 << 20))

#: By libvirt's name: what makes a compressor, each at the level its program has by default.
COMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.compressobj(wbits=31),
    "bzip2": bz2.BZ2Compressor,
    "xz": lzma.LZMACompressor,
    "zstd": lambda: zstd_module().ZstdCompressor(),
}


def write_packed(pieces: Iterable[Piece], output: Output, compression: str) -> int:
    """Execute the plan of a libvirt save with an ordinary stream; the size of the file in bytes.

    Raises UnsupportedError where neither Python nor a program here has the compression.
    """
    pieces = list(pieces)
    start = max((piece.stop for piece in pieces if piece.kind in _HEAD), default=0)
    for piece in pieces:
        if piece.kind in _HEAD:
            piece.content.write(output, piece.offset)
    output.flush()
    with closing(_sink(output, start, compression)) as sink:
        stream = _Forward(sink, output.name, start)
        for piece in pieces:
            if piece.kind not in _HEAD:
                piece.content.write(stream, piece.offset)
        stream.finish(max(piece.stop for piece in pieces))
        size = sink.finish()
    output.finish(size)
    return size


def _sink(output: Output, start: int, compression: str) -> _Module | _Program:
    if compression == "zstd" and zstd_module() is None:
        return _Program(output, start, compression)
    return _Module(output, start, COMPRESSORS[compression]())


class _Module:
    """A compressor of Python's after start of a file."""

    def __init__(self, output: Output, start: int, compressor: Any) -> None:
        self._output, self._at, self._compressor = output, start, compressor

    def take(self, data: Buffer) -> None:
        self._put(self._compressor.compress(data))

    def finish(self) -> int:
        """Where the compressed stream ends."""
        self._put(self._compressor.flush())
        return self._at

    def close(self) -> None:
        """Nothing is held."""

    def _put(self, data: bytes) -> None:
        self._output.write(self._at, data)
        self._at += len(data)


class _Program:
    """A program that writes into the file itself, from start on."""

    def __init__(self, output: Output, start: int, name: str) -> None:
        program = shutil.which(name)
        if program is None:
            raise UnsupportedError(
                f"{name} compression cannot be written: there is no program {name} here",
                hint=f"install {name}, or pip install 'fixedram[zstd]'",
            )
        self._output, self._fd = output, output.fileno()
        os.lseek(self._fd, start, os.SEEK_SET)
        self._process = subprocess.Popen(
            [program, "-c"],
            stdin=subprocess.PIPE,
            stdout=self._fd,
            stderr=subprocess.DEVNULL,
        )

    def take(self, data: Buffer) -> None:
        try:
            cast("BinaryIO", self._process.stdin).write(data)
        except BrokenPipeError as error:
            raise self._output.failed(error) from error

    def finish(self) -> int:
        """Where the compressed stream ends."""
        try:
            cast("BinaryIO", self._process.stdin).close()
        except BrokenPipeError as error:
            raise self._output.failed(error) from error
        if self._process.wait():
            # It has said why on its own stderr; most often the disk is full.
            raise self._output.failed(OSError(0, "the compressor failed: is the disk full?"))
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class _Forward(Output):
    """An Output that hands on what it is given, in order; what is left out is zeros."""

    def __init__(self, sink: _Module | _Program, name: str, start: int) -> None:
        super().__init__(-1, name)
        self._sink, self._at = sink, start
        self._kernel_copies = False

    def _write_now(self, offset: int, view: memoryview) -> None:
        self._fill(offset)
        self._sink.take(view)
        self._at += view.nbytes

    def finish(self, size: int) -> None:
        """Hand on all that is gathered, and zeros up to size."""
        self.flush()
        self._fill(size)

    def _fill(self, stop: int) -> None:
        while self._at < stop:
            zeros = _ZEROS[: stop - self._at]
            self._sink.take(zeros)
            self._at += zeros.nbytes
