"""Conversions as a whole: what is to be made of a file, its plan, and the new file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fixedram_fmt.conversion.mapped import as_mapped, as_stream, require_whole
from fixedram_fmt.conversion.ordinary import OrdinaryStream
from fixedram_fmt.dialect import DIALECTS, ORDINARY, X_IGNORE_SHARED
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.image import Image
from fixedram_fmt.presence.hostlong import HostLong
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.stream.walker import StreamWalker
from fixedram_fmt.write.placing import lay_out, write_pieces
from fixedram_fmt.write.wrapping import same_container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.container.opening import OpenedStream
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.write.elements import Element
    from fixedram_fmt.write.piece import Piece

__all__ = ["MAPPED_RAM", "STREAM", "Conversion", "ConvertOptions", "dialect_of"]

#: What a file can be converted to.
MAPPED_RAM, STREAM = "mapped-ram", "stream"

#: Behind the configuration: from here on nothing says more about the kind of stream.
_SECTIONS = frozenset({Kind.SECTION_START, Kind.SECTION_FULL, Kind.COMMAND, Kind.EOF})


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """to is MAPPED_RAM or STREAM.  container: `none` leaves libvirt's header out, None keeps it.

    host_long: byte order of the bitmaps, those that are read and those that are written; None
    infers the former, and takes for the latter the order of the host that saved, as far as
    libvirt's header tells, otherwise this host's.
    """

    to: str = MAPPED_RAM
    container: str | None = None
    host_long: HostLong | None = None


class Conversion:
    """What is to be made of one stream.

    An ordinary stream is read once, from its start to its end, while the new file is written.
    Raises UnsupportedError when the stream is of the wanted kind already.
    """

    def __init__(self, stream: OpenedStream, options: ConvertOptions = ConvertOptions()) -> None:
        self.source = stream.source
        self.container = stream.container
        self.dialect, self._capabilities = _configured(stream)
        self.options = options
        #: What a person should know; complete once the new file is written.
        self.notes: list[str] = []
        _require_other_kind(self.dialect, options.to)

    # -- what is made -------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        """The plan: pieces in the order of the new file."""
        if self.dialect == ORDINARY:
            with self._ordinary() as stream:
                yield from self._laid_out(stream.elements())
        else:
            yield from self._laid_out(self._mapped())

    def write(self, output: Output) -> int:
        """Make the new file in output; its size in bytes.

        Raises FormatError and UnsupportedError where the stream turns out to be broken, cut off,
        or of a kind that cannot be converted: then output is of no use.
        """
        if self.dialect != ORDINARY:
            return write_pieces(self.pieces(), output)
        with self._ordinary() as stream:
            bitmaps, size = [], 0
            for piece in self._laid_out(stream.elements()):
                # Pages arrive while the plan is made, each after its place is known.
                if piece.kind is Kind.BITMAP:
                    bitmaps.append(piece)
                else:
                    piece.content.write(output, piece.offset)
                size = max(size, piece.stop)
            for piece in bitmaps:
                piece.content.write(output, piece.offset)
            output.finish(size)
            self.notes += stream.notes
            return size

    def _laid_out(self, elements: Iterator[Element]) -> Iterator[Piece]:
        head = list(self._head())
        yield from head
        yield from lay_out(elements, start=head[-1].stop if head else 0)

    def _head(self) -> list[Piece]:
        """What precedes the stream as it was, but for what it says of the kind of stream."""
        if self.options.container == "none":
            return []
        return list(same_container(self.container, mapped=self.options.to == MAPPED_RAM))

    def _ordinary(self) -> OrdinaryStream:
        start, order = self.container.stream_offset, self._host_long
        ignored: frozenset[bytes] = frozenset()
        if X_IGNORE_SHARED in self._capabilities:
            with OrdinaryStream(self.source, start, order, ignored) as first:
                ignored = first.without_records()
        return OrdinaryStream(self.source, start, order, ignored)

    def _mapped(self) -> Iterator[Element]:
        require_whole(self._image)
        if self.options.to == STREAM:
            return as_stream(self._image)
        return as_mapped(self._image, self.options.host_long or self._image.host_long.value)

    @cached_property
    def _image(self) -> Image:
        return Image(self.source, self.container, host_long=self.options.host_long)

    @property
    def _host_long(self) -> HostLong:
        if self.options.host_long is not None:
            return self.options.host_long
        order = self.container.byte_order or sys.byteorder
        return HostLong.BIG_64 if order == "big" else HostLong.LITTLE_64


def dialect_of(stream: OpenedStream) -> str:
    """ORDINARY for a stream without fixed layout; nothing after the configuration is read."""
    return _configured(stream)[0]


def _configured(stream: OpenedStream) -> tuple[str, list[bytes]]:
    """Dialect and capabilities, read from the configuration alone."""
    walker = StreamWalker(stream.source, stream.container.stream_offset)
    for record in walker.records():
        if record.kind in _SECTIONS:
            break
    dialect = walker.header.dialect
    return dialect.name if dialect else ORDINARY, walker.header.capabilities


def _require_other_kind(dialect: str, to: str) -> None:
    merged = DIALECTS[0].name
    if to == STREAM and dialect == ORDINARY:
        raise UnsupportedError(
            "this is an ordinary stream already",
            hint="without --to stream it becomes a mapped-ram image",
        )
    if to == MAPPED_RAM and dialect == merged:
        raise UnsupportedError(
            "this is a mapped-ram image already",
            hint="--to stream makes it an ordinary stream, `fixedram copy` moves and repairs it",
        )
