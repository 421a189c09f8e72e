"""What will be written, as data: bytes and spans of memory at places of a new file.

Nothing is read to make one.  It is written into a file by copies in the kernel, streamed in order,
or read at any place, as a mounted file is.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.memory.block import Readable, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.memory.block import BlockMemory
    from fixedram_fmt.memory.physical import PhysicalMemory

__all__ = ["Artifact", "Part", "Span"]

_STEP = 1 << 20
_ZEROS = bytes(_STEP)
#: Runs from this length on may have holes of their own, which are kept.
_LONG = 1 << 20
#: off_t is signed.
_LONGEST_FILE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses [start, stop) of a memory; what is absent there is zero."""

    memory: BlockMemory | PhysicalMemory
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Part:
    """Content at offset of the file, in bytes."""

    offset: int
    content: bytes | Span

    @property
    def length(self) -> int:
        """Bytes it takes."""
        if isinstance(self.content, Span):
            return self.content.stop - self.content.start
        return len(self.content)

    @property
    def stop(self) -> int:
        """The offset right after it."""
        return self.offset + self.length


class Artifact(Readable):
    """Parts in the order of their offsets, without overlap; the rest of size bytes is zero."""

    def __init__(self, source: Source, parts: list[Part], size: int) -> None:
        self.source = source
        self.parts = parts
        self.size = size

    def write(self, output: Output, progress: Callable[[int], None] | None = None) -> int:
        """Write all of it; the bytes that were copied (the rest are holes).

        Raises FormatError when no file can be that long: addresses go up to 2^64.
        """
        if self.size > _LONGEST_FILE:
            raise FormatError(
                "this is longer than any file can be",
                expected=f"at most {_LONGEST_FILE} bytes",
                found=str(self.size),
                hint="take a part of it (--range START-STOP)",
            )
        copied = 0
        for part in self.parts:
            if isinstance(part.content, bytes):
                output.write(part.offset, part.content)
                copied += len(part.content)
                continue
            for length in self._copy(output, part, part.content):
                copied += length
                if progress is not None:
                    progress(copied)
        output.finish(self.size)
        return copied

    def _copy(self, output: Output, part: Part, span: Span) -> Iterator[int]:
        """Copy a span's present runs; the length of each, once it is copied."""
        shift = part.offset - span.start
        for run in span.memory.runs(span.start, span.stop):
            target = run.address + shift
            if run.file_offset is None:
                for start in range(0, run.length, _STEP):
                    length = min(_STEP, run.length - start)
                    output.write(target + start, span.memory.read(run.address + start, length))
            elif run.length >= _LONG:
                output.copy(self.source, run.file_offset, run.file_offset + run.length, target)
            else:
                stop = run.file_offset + run.length
                output.copy_data(self.source, run.file_offset, stop, target)
            yield run.length

    def stream(self, write: Callable[[bytes], object]) -> None:
        """Hand over everything in order, zeros too."""
        done = 0
        for part in self.parts:
            _write_zeros(write, part.offset - done)
            if isinstance(part.content, bytes):
                write(part.content)
            else:
                self._stream_span(write, part.content)
            done = part.stop
        _write_zeros(write, self.size - done)

    def _stream_span(self, write: Callable[[bytes], object], span: Span) -> None:
        at = span.start
        for run in span.memory.runs(span.start, span.stop):
            _write_zeros(write, run.address - at)
            for start in range(0, run.length, _STEP):
                length = min(_STEP, run.length - start)
                write(span.memory.read(run.address + start, length))
            at = run.address + run.length
        _write_zeros(write, span.stop - at)

    @cached_property
    def _offsets(self) -> list[int]:
        return [part.offset for part in self.parts]

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer with what the file has at an offset."""
        view = memoryview(buffer).cast("B")
        fill(view)
        stop = address + view.nbytes
        first = max(0, bisect_right(self._offsets, address) - 1)
        for part in self.parts[first:]:
            if part.offset >= stop:
                break
            low, high = max(address, part.offset), min(stop, part.stop)
            if low >= high:
                continue
            target = view[low - address : high - address]
            if isinstance(part.content, bytes):
                target[:] = part.content[low - part.offset : high - part.offset]
            else:
                part.content.memory.readinto(part.content.start + low - part.offset, target)


def _write_zeros(write: Callable[[bytes], object], length: int) -> None:
    while length > 0:
        step = min(length, _STEP)
        write(_ZEROS[:step])
        length -= step
