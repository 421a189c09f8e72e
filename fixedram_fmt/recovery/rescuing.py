"""The rescue of an image: a plan, written as a new image that is whole.

Nothing moves: records, bitmaps and pages stay at their offsets, so that pages are copied by the
kernel.  A stream that stops early is ended after the section `ram`; devices after it are left out,
since a machine with some of its devices' state is worse than one with none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.recovery.account import Saved, purpose_of, tell
from fixedram_fmt.recovery.deciding import Decision, decide, map_runs
from fixedram_fmt.recovery.places import Places
from fixedram_fmt.recovery.rescued import MapRun, Purpose, Rescued, Would
from fixedram_fmt.recovery.streamend import ending_of
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER, QEMU_SAVE_MAGIC, QEMU_SAVE_PARTIAL
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from fixedram_fmt.validation.report import Question, ask_of
from fixedram_fmt.write.elements import Copied, Literal
from fixedram_fmt.write.piece import Piece
from fixedram_fmt.write.placing import write_pieces
from fixedram_fmt.write.rewrite import RewriteOptions, rewrite
from fixedram_fmt.write.wrapping import container_pieces, is_mapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixedram_fmt.io.output import Output
    from fixedram_fmt.schema.libvirt import LibvirtHeader

__all__ = ["Rescue"]

_HEAD = frozenset({Kind.LIBVIRT_HEADER, Kind.LIBVIRT_XML, Kind.PREFIX})


class Rescue:
    """What can be saved of image, which stays the caller's and is never written to.

    all_pages: every page with data becomes present, stale ones too.  Raises UnsupportedError where
    there is nothing to save.
    """

    def __init__(self, image: Image, *, all_pages: bool = False) -> None:
        self.image = image
        self.ending = ending_of(image)
        if not any(one.used_length for one in image.blocks[: self.ending.blocks]):
            raise UnsupportedError(
                "there is no memory to rescue: the file has no RAM block with its header",
                offset=image.stopped.offset if image.stopped else None,
                hint="fixedram info says what there is",
            )
        self._mapped = is_mapped(image)
        if self._mapped and image.container.stream_compression:
            raise UnsupportedError(
                "pages at fixed offsets inside a compressed stream: no QEMU and no libvirt reads"
                " that",
                hint="unpack the stream first",
            )
        tiles = leaves(image, runs=False) if self._mapped else ()
        self.decisions = decide(image, self.ending, Places.of(image, tiles), all_pages=all_pages)
        saved = image.container.find(LibvirtSave)
        partial = None if saved is None else saved.partial
        self._saved = Saved(image, self.ending, self.decisions, partial)
        made = [one for one in self.decisions if one.new is not None]
        self._made = {f"{one.block.path}/bitmap": one for one in made}
        moved = [one for one in self.decisions if one.place is not None]
        self._moved = {f"{one.block.path}/header": one for one in moved}

    # -- the new image ------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        """The new image; the magic of a libvirt save says that it is not complete (yet)."""
        for piece in self._kept() if self._mapped else self._ordinary():
            yield self._marked(piece, QEMU_SAVE_PARTIAL)
        yield from self._elsewhere()
        offset = self.ending.offset + self._shift
        for record in self.ending.closing:
            yield Piece(record.kind, record.path, offset, record.content, record.value)
            offset += record.content.length

    @property
    def _shift(self) -> int:
        """Where the stream begins in the new file, less where it does in the image's Source."""
        if not self.image.container.stream_compression:
            return 0
        return max((one.stop for one in container_pieces(self.image, RewriteOptions())), default=0)

    def _kept(self) -> Iterator[Piece]:
        """Everything at its own offset, with new bitmaps, up to where the stream is kept."""
        cut = None if self.ending.whole else self.ending.offset
        for piece in rewrite(self.image, RewriteOptions()):
            if piece.kind in _HEAD:
                yield piece
            elif cut is not None and piece.offset >= cut:
                continue
            elif piece.path in self._made:
                if self._made[piece.path].place is None:
                    yield self._new_bitmap(self._made[piece.path])
            elif piece.path in self._moved:
                header = replace(piece.value, bitmap_offset=self._moved[piece.path].place)
                data = Literal(ram.MAPPED_RAM_HEADER.build(header))
                yield replace(piece, content=data, value=header)
            elif piece.kind is Kind.MEM_SIZE and piece.value and self.ending.mem_size is not None:
                value = ram.RamRecord(self.ending.mem_size)
                data = Literal(ram.RAM_RECORD.build(value))
                yield Piece(piece.kind, piece.path, piece.offset, data, value)
            else:
                yield piece

    def _new_bitmap(self, one: Decision) -> Piece:
        assert one.new is not None
        path = f"{one.block.path}/bitmap"
        return Piece(Kind.BITMAP, path, one.bitmap_offset, one.new)

    def _elsewhere(self) -> Iterator[Piece]:
        """New bitmaps where there was none: after the end of the file, or after the header."""
        size = self.image.source.size
        for one in self._made.values():
            if one.place is not None or one.block.bitmap_offset >= size:
                yield self._new_bitmap(one)

    def _ordinary(self) -> Iterator[Piece]:
        """An ordinary stream as it is, up to where it is kept."""
        start, stop = self.image.container.stream_offset, self.ending.offset
        head = list(container_pieces(self.image, RewriteOptions()))
        if not head and start:
            head = [Piece(Kind.PREFIX, "prefix", 0, Copied(self.image.source, 0, start))]
        yield from head
        stream = Copied(self.image.source, start, stop - start)
        yield Piece(Kind.UNKNOWN, "stream", start + self._shift, stream)

    def _marked(self, piece: Piece, magic: bytes) -> Piece:
        """piece, with the magic if it is libvirt's header."""
        saved = self.image.container.find(LibvirtSave)
        if piece.kind is not Kind.LIBVIRT_HEADER or saved is None:
            return piece
        value: LibvirtHeader = replace(piece.value, magic=magic)
        data = LIBVIRT_HEADER[str(saved.byte_order)].build(value)
        return replace(piece, content=Literal(data), value=value)

    def page_map(self) -> Iterator[MapRun]:
        """Which pages are present in the new image, and why; none for an ordinary stream."""
        yield from map_runs(self.decisions) if self._mapped else ()

    # -- what becomes of it -------------------------------------------------------------------

    def plan(self, path: str) -> Rescued:
        """What write() would do; reads what it would read."""
        for one in self.decisions:
            if one.new is not None:
                one.new.count()
        return tell(self._saved, path, None, purpose_of(self._saved), None)

    def write(self, output: Output, path: str, out: Path) -> Rescued:
        """Write the new image; out is the name that it gets."""
        pieces = list(self.pieces())
        write_pieces(pieces, output)
        purpose = purpose_of(self._saved)
        head = next((one for one in pieces if one.kind is Kind.LIBVIRT_HEADER), None)
        if head is not None and purpose is Purpose.RESTORE:
            self._mark(output, head, QEMU_SAVE_MAGIC)
        would = self._would(output, str(out))
        if purpose is Purpose.RESTORE and would.outcome is not Outcome.LOADS:
            purpose = Purpose.FORENSICS
            if head is not None:
                self._mark(output, head, QEMU_SAVE_PARTIAL)
        return tell(self._saved, path, str(out), purpose, would)

    def _mark(self, output: Output, head: Piece, magic: bytes) -> None:
        piece = self._marked(head, magic)
        piece.content.write(output, piece.offset)
        output.flush()

    def _would(self, output: Output, name: str) -> Would:
        """What a loader does with what was written: the newest that takes it, else the newest."""
        with (
            Source.from_fd(output.fileno(), name) as source,
            self.reopened(source) as written,
        ):
            report = ask_of(written, name, Question(None))
        if report.verdict is not Outcome.LOADS:
            # Of a libvirt save a libvirt, which starts QEMU by its XML.
            family = report.loader.partition("-")[0]
            for one in reversed(report.verdicts):
                taken = one.verdict is Outcome.LOADS and not one.multifd
                if taken and one.loader.startswith(family):
                    return Would(one.loader, one.verdict, f"{report.loader}: {report.message}")
        return Would(report.loader, report.verdict, report.message)

    def reopened(self, written: Path | Source) -> Image:
        """The new image, which was written to a path or is read from a Source."""
        image = self.image
        head = any(True for _ in container_pieces(image, RewriteOptions()))
        start = None if head else image.container.stream_offset
        host_long = image.host_long.value if self._mapped else None
        return Image.open(written, offset=start, host_long=host_long)
