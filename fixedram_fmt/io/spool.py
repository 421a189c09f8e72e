"""Makes a Source of bytes that can only be read forward: compressed files and pipes.

They are written once into an unnamed temporary file, zeros as holes, so that the rest of the
library has random access and memory stays bounded.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tempfile
import zlib
from contextlib import closing, contextmanager
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError, SourceError
from fixedram_fmt.io.external import ProgramReader
from fixedram_fmt.io.source import Source
from fixedram_fmt.io.unpacking import UnpackBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "COMPRESSIONS",
    "MORE_ROOM",
    "compression_of",
    "scratch_file",
    "spool_compressed",
    "spool_pipe",
    "zstd_module",
]

#: What helps where a temporary file has no room.
MORE_ROOM = "set TMPDIR to a folder on a file system with more space"

_STEP = 1 << 20
#: Runs of zeros at least this long become holes: the block size of common file systems.
_HOLE = 1 << 16
_ZEROS = bytes(_HOLE)
#: A decompressor is first given so much, and then ever more: what comes after the end of a
#: compressed stream is copied back, which must stay cheap where there are thousands of short ones.
_FIRST_STEP = 1 << 12
#: xz streams may ask for dictionaries of gigabytes; `xz -9` needs 65 MiB.
_XZ_MEMORY = 1 << 27

#: First bytes of each compression that is recognised.
COMPRESSIONS = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lzop": b"\x89LZO\0\r\n\x1a\n",
}


def compression_of(head: bytes) -> str | None:
    """Name of the compression that data starting with head has, None if it has none."""
    return next((name for name, magic in COMPRESSIONS.items() if head.startswith(magic)), None)


class _Forward(io.RawIOBase):
    """The bytes of a Source from an offset on, as a raw stream for the standard library."""

    def __init__(self, source: Source, offset: int) -> None:
        super().__init__()
        self._source = source
        self._offset = offset

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        length = min(len(target), self._source.size - self._offset)
        self._source.read_into(self._offset, memoryview(target)[:length])
        self._offset += length
        return length


def spool_compressed(
    source: Source, offset: int, compression: str, budget: UnpackBudget | None = None
) -> tuple[Source, str]:
    """What is compressed in source from offset on, and why it ends early ("" if it does not).

    budget is what is left where source was unpacked itself.  Raises UnsupportedError when neither
    Python nor a program here can undo the compression, or when there is more in it than the budget
    allows.
    """
    budget = budget or UnpackBudget.of(source.size - offset)
    name = f"{source.name} ({compression})"
    make = _DECOMPRESSORS.get(compression)
    if make is None or (make is _zstd_decompressor and zstd_module() is None):
        with closing(ProgramReader(source, offset, compression)) as program:
            return _spool(lambda: program.read(_STEP), name, budget)
    packed = io.BufferedReader(_Forward(source, offset), _STEP)
    stream = _Unpacker(packed, make, COMPRESSIONS[compression], budget)
    return _spool(lambda: stream.read(_STEP), name, budget)


def spool_pipe(stream: IO[bytes], name: str) -> Source:
    """Everything that comes through a pipe."""
    source, why = _spool(lambda: stream.read(_STEP), name)
    if why:
        source.close()
        raise SourceError(f"cannot read {name}: {why}")
    return source


def _spool(
    read: Callable[[], bytes], name: str, budget: UnpackBudget | None = None
) -> tuple[Source, str]:
    with scratch_file(f"to unpack {name!r}") as fd:
        size, why = _fill(read, fd, budget)
        os.ftruncate(fd, size)
        return Source.from_fd(fd, name), why


@contextmanager
def scratch_file(purpose: str) -> Iterator[int]:
    """Descriptor of a file without a name; SourceError says that there is no room for purpose."""
    try:
        with tempfile.TemporaryFile(prefix="fixedram-") as file:
            yield file.fileno()
    except OSError as error:
        raise SourceError(f"no room {purpose}: {error.strerror}", hint=MORE_ROOM) from error


def _fill(read: Callable[[], bytes], fd: int, budget: UnpackBudget | None) -> tuple[int, str]:
    """Write all that read() gives; how much that was, and why it ended early."""
    size = 0
    while True:
        try:
            chunk = read()
        except FixedRamError:
            raise
        except Exception as error:  # each decompressor has a class of its own
            return size, f"the data is damaged or cut off ({error})"
        if not chunk:
            return size, ""
        if budget:
            budget.take(len(chunk))
        _write_sparse(fd, chunk, size, budget)
        size += len(chunk)


def _write_sparse(fd: int, chunk: bytes, offset: int, budget: UnpackBudget | None) -> None:
    for start in range(0, len(chunk), _HOLE):
        piece = chunk[start : start + _HOLE]
        if _ZEROS.startswith(piece):
            continue
        if budget:
            budget.take_data(len(piece))
        view = memoryview(piece)
        while view:
            done = os.pwrite(fd, view, offset + start)
            view, start = view[done:], start + done  # noqa: PLW2901 - the rest of the piece


class _Unpacker:
    """read() over the decompressor objects of the standard library.

    Unlike their file classes it gives all that was unpacked before the data turned out to be cut
    off.  Several compressed streams in a row (pigz, `cat a.xz b.xz`) are one.
    """

    def __init__(
        self,
        stream: io.BufferedReader[Any],
        make: Callable[[], Any],
        magic: bytes,
        budget: UnpackBudget,
    ) -> None:
        self._stream = stream
        self._make = make
        self._magic = magic
        self._budget = budget
        self._decompressor = make()
        self._chunk = memoryview(b"")
        self._position = 0
        self._step = _FIRST_STEP

    def read(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof and not self._next_stream():
                return b""
            data: bytes | memoryview = b""
            if self._decompressor.needs_input:
                data = self._take()
                if not data:
                    raise EOFError("compressed data ends too early")
            piece: bytes = self._decompressor.decompress(data, size)
            if self._decompressor.eof:
                # It asked for more only when all before was used: these are the last of the chunk.
                self._position -= len(self._decompressor.unused_data)
            if piece:
                return piece

    def _take(self) -> memoryview:
        """The next bytes for the decompressor, none at the end of the data."""
        self._more(1)
        start, self._position = self._position, min(self._position + self._step, len(self._chunk))
        self._step = min(_STEP, 2 * self._step)
        return self._chunk[start : self._position]

    def _next_stream(self) -> bool:
        """Start with the compressed stream that follows; False where none does."""
        self._more(len(self._magic))
        if self._chunk[self._position : self._position + len(self._magic)] != self._magic:
            return False
        self._budget.take_stream()
        self._decompressor = self._make()
        self._step = _FIRST_STEP
        return True

    def _more(self, length: int) -> None:
        """Read on until length bytes can be taken, or all that there are."""
        while len(self._chunk) - self._position < length:
            data = self._stream.read(_STEP)
            if not data:
                return
            self._chunk = memoryview(bytes(self._chunk[self._position :]) + data)
            self._position = 0


class _Gunzip:
    """zlib's decompressor behind the interface that bz2, lzma and zstd share."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, size)


def zstd_module() -> Any:
    """Python's own from 3.14 on, or the zstd extra's; None where there is neither."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _zstd_decompressor() -> Any:
    return zstd_module().ZstdDecompressor()


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": _Gunzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY),
    "zstd": _zstd_decompressor,
}
