"""The facts of an image: what the records of its stream mean together, and where its pages are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.container.opening import PRIVATE, OpenedStream
from fixedram_fmt.dialect import ORDINARY
from fixedram_fmt.errors import FormatError
from fixedram_fmt.io.closing import Closing
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.inference import HostLongGuess, infer_host_long
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.schema.ram import is_page_size
from fixedram_fmt.stream.pagebatch import SentPages
from fixedram_fmt.stream.sentpresence import SentPresence
from fixedram_fmt.stream.walker import StreamWalker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from fixedram_fmt.blocks import Note, RamBlock, Section
    from fixedram_fmt.container.opening import Location
    from fixedram_fmt.container.wrapper import Container
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.stream.records import Record
    from fixedram_fmt.stream.vmdesc import VmDescription

__all__ = ["ImageFacts"]

#: More names of blocks than this are in no error message.
_NAMES_SHOWN = 8


class ImageFacts(Closing):
    """A migration image, opened: headers read, bitmaps and pages left where they are.

    Opening reads headers and the device description only; presence is read when a bitmap is asked
    for.  Where the stream ends early or contradicts the format, everything up to there is given
    and stopped says where and why.  open() makes one of a path, and close() gives its files back
    (or `with`); a Source that is given stays the caller's.
    """

    def __init__(
        self,
        source: Source,
        container: Container,
        *,
        host_long: HostLong | None = None,
    ) -> None:
        self.source = source
        self.container = container
        self.stopped: FormatError | None = None
        #: Bytes of the file itself: not those of source where it was unpacked.
        self.file_size = source.size
        self._host_long = HostLongGuess(host_long, "given") if host_long else None
        #: What close() gives back: nothing of the caller's.
        self._opened: OpenedStream | None = None
        #: Mode for files that get memory or device state of this image.
        self.file_mode = PRIVATE if source.file_mode is None else source.file_mode
        self._walker = StreamWalker(source, container.stream_offset, batched=True)
        self._sent = SentPresence(self._walker.ram)
        records = self._walker.records()
        # Without its first record it is no image at all.
        next(records)
        try:
            for record in records:
                if isinstance(record.value, SentPages):
                    self._sent.take(record.value)
        except FormatError as error:
            self.stopped = error

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        offset: int | None = None,
        search: bool = False,
        host_long: HostLong | None = None,
    ) -> Self:
        """Open `PATH`, `PATH@OFFSET` or `-`; the bytes of a file; or a Source, which stays yours.

        offset is where the stream starts when it is known; search looks for it further in.
        Raises SourceError, or FormatError when there is no stream at all.
        """
        opened = OpenedStream.open(location, offset=offset, search=search)
        try:
            image = cls(opened.source, opened.container, host_long=host_long)
        except BaseException:
            opened.close()
            raise
        image._opened = opened
        image.file_size, image.file_mode = opened.file_size, opened.file_mode
        return image

    def close(self) -> None:
        """Give back the files that open() opened; the facts that were read stay.

        What reads on raises SourceError then.
        """
        if self._opened is not None:
            self._opened.close()

    def records(self, *, batched: bool = False) -> Iterator[Record[Any]]:
        """Walk the stream again, record by record; ends with the FormatError of stopped, if any.

        batched: page records of an ordinary stream come a window's at a time (SentPages).
        """
        start = self.container.stream_offset
        return StreamWalker(self.source, start, batched=batched).records()

    def known_records(self, *, batched: bool = False) -> Iterator[Record[Any]]:
        """The same up to where the stream stops; stopped says where and why to whoever asks."""
        try:
            yield from self.records(batched=batched)
        except FormatError:
            if self.stopped is None:
                raise

    # -- what the stream says -----------------------------------------------------------------

    @property
    def machine(self) -> str | None:
        """The machine type in the configuration, None for a stream without one."""
        name = self._walker.header.machine
        return None if name is None else text(c_string(name))

    @property
    def capabilities(self) -> list[str]:
        """The capabilities the stream was sent with, as far as QEMU names them."""
        return [text(name) for name in self._walker.header.capabilities]

    @property
    def dialect(self) -> str:
        """Name of the writer's dialect, `ordinary` for a stream without fixed layout."""
        dialect = self._walker.header.dialect
        return dialect.name if dialect else ORDINARY

    @property
    def uuid(self) -> str | None:
        """The guest's UUID, if it was sent (validate-uuid)."""
        raw = self._walker.header.uuid
        if raw is None:
            return None
        digits = raw.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    @property
    def target_page_size(self) -> int:
        """Page size of the target, in bytes: told by the stream, its description or its headers."""
        vmdesc = self.vmdesc
        told = self._walker.ram.target_page_size
        described = vmdesc.page_size if vmdesc else None
        if described is not None and is_page_size(described):
            return described
        return told or self._walker.ram.page_size

    @property
    def announced_page_size(self) -> int | None:
        """What configuration/target-page-bits says, in bytes; None where it is not sent."""
        bits = self._walker.header.page_bits
        return 1 << bits if bits is not None and bits < 64 else None

    @property
    def blocks(self) -> list[RamBlock]:
        """The RAM blocks in the order of the stream."""
        return self._walker.ram.blocks

    def block(self, name: str) -> RamBlock:
        """The first block of that name; FormatError, with the names there are, if there is none."""
        for block in self.blocks:
            if block.name == name:
                return block
        names = ", ".join(block.name for block in self.blocks[:_NAMES_SHOWN]) or "none"
        more = ", ..." if len(self.blocks) > _NAMES_SHOWN else ""
        raise FormatError(f"there is no block {name!r}", hint=f"blocks are {names}{more}")

    @property
    def sections(self) -> list[Section]:
        """The sections in the order of their START or FULL."""
        return [self._walker.sections[section_id] for section_id in self._walker.order]

    @property
    def vmdesc(self) -> VmDescription | None:
        """The device description, if there is one that can be read."""
        return self._walker.vmdesc

    @property
    def notes(self) -> list[Note]:
        """Oddities that did not stop the walk."""
        return self._walker.ram.notes

    @property
    def offset_bias(self) -> int:
        """By how many bytes all offsets in the headers are too large: cut out of a container.

        0 for a sound image.  Blocks carry corrected offsets, records what the file says.
        """
        return self._walker.ram.offset_bias

    @property
    def complete(self) -> bool:
        """Whether the stream was read to its EOF byte and nothing that had begun was cut off."""
        return self.stopped is None and self._walker.eof_offset is not None

    @property
    def ends_in(self) -> Section | None:
        """The section inside which the stream stops; None where it stops between two, or ends."""
        return None if self.stopped is None else self._walker.current

    @property
    def ends_after(self) -> Section | None:
        """The last section that was read to its end, where the stream stops."""
        return None if self.stopped is None else self._walker.last

    @property
    def ends_early(self) -> bool:
        """Whether something is missing: memory that is read of it may be a part."""
        return self.stopped is not None or bool(self.container.cut_short)

    # -- presence ------------------------------------------------------------------------------

    @property
    def host_long(self) -> HostLongGuess:
        """Byte order of the bitmaps, given or inferred from the file."""
        if self._host_long is None:
            self._host_long = infer_host_long(self.source, self.blocks, self._walker.header.machine)
        return self._host_long

    def bitmap_length(self, block: RamBlock) -> int:
        """Bytes of block's bitmap in the file, by the longs of the host that saved."""
        return block.bitmap_length(self.host_long.value.size)

    def bitmap(self, block: RamBlock) -> PageBitmap | None:
        """Presence of block's pages; None where the image has none for it (ignored, not sent).

        For an ordinary stream it is what its records add up to.  FormatError for a bitmap that
        does not lie in the file.
        """
        if block.has_pages:
            return PageBitmap.of_block(self.source, block, self.host_long.value)
        return None if block.mapped else self._sent.bitmap(block)

    def readable_bitmap(self, block: RamBlock) -> PageBitmap | None:
        """The same for who goes on without: None for a damaged bitmap too."""
        try:
            return self.bitmap(block)
        except FormatError:
            return None

    def presence(self, block: RamBlock) -> PageBitmap:
        """The same for who cannot do without; FormatError where the image has none either."""
        bitmap = self.bitmap(block)
        if bitmap is None:
            raise FormatError(
                "which pages are present is not in the image",
                offset=block.entry_offset,
                path=f"{block.path}/bitmap",
                expected="a bitmap",
            )
        return bitmap
