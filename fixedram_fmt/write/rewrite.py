"""An image that was read, written again: the same to the byte, or with what was asked for changed.

Every structure goes through parse and build; bitmaps, pages and everything nobody decodes are
copied by ranges, with their holes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fixedram_fmt.container.domain import domain_of
from fixedram_fmt.errors import FormatError, UnsupportedError
from fixedram_fmt.memory.lost import image_losses
from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.presence.scan import stale_runs
from fixedram_fmt.schema.ram import MAPPED_RAM_FILE_OFFSET_ALIGNMENT, RAM_IDSTR
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind, Record
from fixedram_fmt.tiling import leaves
from fixedram_fmt.write.elements import Copied, Element, FixedBlock, Hole, Literal, Raw, Structure
from fixedram_fmt.write.piece import Piece
from fixedram_fmt.write.placing import keeps_pages_aligned, lay_out
from fixedram_fmt.write.rewriteoptions import RewriteOptions
from fixedram_fmt.write.wrapping import container_pieces, is_mapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.presence.hostlong import HostLong
    from fixedram_fmt.write.elements import Content

__all__ = ["RewriteOptions", "possible_losses", "rewrite", "stale_bytes"]

#: Kinds that belong to a block's fixed layout and move with it.
_OF_BLOCKS = frozenset({Kind.BITMAP, Kind.PADDING, Kind.PAGES})
#: Kinds that describe devices, left out with them.
_OF_DEVICES = frozenset({Kind.VMDESCRIPTION, Kind.VMDESCRIPTION_JSON})

_CHUNK = 1 << 20


def rewrite(image: Image, options: RewriteOptions) -> Iterator[Piece]:
    """The plan of image with options applied: pieces in the order of the file.

    Raises FormatError or UnsupportedError where what was asked for makes no sense.
    """
    _check(image, options)
    head = list(container_pieces(image, options))
    if not options.moves and not (head and image.container.stream_compression and is_mapped(image)):
        # What libvirt's header said is not in the bytes of an unpacked stream.
        start = head[-1].stop if head and image.container.stream_compression else 0
        yield from head
        for piece in _in_place(image, options, bare=bool(head)):
            yield replace(piece, offset=piece.offset + start)
        return
    start = head[-1].stop if head else 0
    if options.start is not None:
        start = options.start
    elif not head and options.container is None:
        start = image.container.stream_offset
    yield from head
    align = options.align or MAPPED_RAM_FILE_OFFSET_ALIGNMENT
    yield from lay_out(_elements(image, options), start=start, align=align)


def stale_bytes(image: Image) -> int:
    """How many bytes of pages are stale: absent, with old memory left in the file."""
    total = 0
    for block in image.blocks:
        bitmap = image.readable_bitmap(block) if block.has_pages else None
        for run in bitmap.runs() if bitmap else ():
            if not run.present:
                pages = sum(
                    stop - start for start, stop in stale_runs(image.source, block, *run[:2])
                )
                total += pages * block.page_size
    return total


def possible_losses(image: Image) -> list[str]:
    """Blocks without a present page whose data may be stale, or memory whose bitmap is lost.

    UnsupportedError where it is certain that the pages are the only copy of a block's memory.
    """
    possible = []
    for loss in image_losses(image):
        if loss.certain:
            raise UnsupportedError(
                f"absent pages of {loss.block.name!r} are no stale ones: {loss.reason}",
                offset=loss.offset,
                path=loss.block.path,
                hint="the bitmap is lost, and these pages are the only copy (validate: B07, B03); "
                "copy without --drop-stale",
            )
        if loss.whole and loss.found.pages:
            possible.append(loss.block.name)
    return possible


def _check(image: Image, options: RewriteOptions) -> None:
    page_size = image.target_page_size
    if options.align is not None and not keeps_pages_aligned(options.align, page_size):
        raise FormatError(
            "pages must stay aligned to their size",
            path="align",
            expected=f"a multiple of {page_size}",
            found=str(options.align),
        )
    if options.start is not None and options.container == "libvirt":
        raise FormatError(
            "in a libvirt save image the stream starts right after the XML",
            path="rebase",
            expected="either a container or an offset",
        )
    if options.drop_stale:
        possible_losses(image)
    if options.compress is not None:
        _check_compression(image, options)
    if options.xml is not None:
        # It is written without the NULs that end it in a save.
        domain_of(options.xml.rstrip(b"\0"))
    if options.mark_complete and not image.complete:
        raise UnsupportedError(
            "the stream is not complete: no other magic makes it so",
            path="mark_complete",
            hint="fixedram info says where it ends",
        )
    if image.stopped is not None and options.moves:
        raise UnsupportedError(
            "an image that stops early cannot be laid out again",
            offset=image.stopped.offset,
            path=image.stopped.path,
            hint="copy it as it is, without options that move things",
        )


def _check_compression(image: Image, options: RewriteOptions) -> None:
    if is_mapped(image):
        raise UnsupportedError(
            "pages at fixed offsets cannot be compressed: virsh refuses such a save",
            path="compress",
            hint="fixedram convert makes an ordinary stream of it first",
        )
    if (options.container or image.container.kind) != "libvirt":
        raise UnsupportedError(
            "only the header of a libvirt save says how its stream is compressed",
            path="compress",
            hint="--container libvirt --xml FILE, or compress the copy with a program",
        )


# -- nothing moves --------------------------------------------------------------------------------


def _in_place(image: Image, options: RewriteOptions, *, bare: bool) -> Iterator[Piece]:
    """Every leaf at its own offset, and unless bare what precedes the stream."""
    start = image.container.stream_offset
    if start and not bare:
        yield Piece(Kind.PREFIX, "prefix", 0, Copied(image.source, 0, start))
    for leaf in leaves(image, runs=False):
        content, value = _rebuilt(image, leaf)
        if leaf.kind is Kind.BITMAP and options.host_long:
            content = _bitmap(image, _block(image, leaf), options)
        elif leaf.kind is Kind.PAGES and options.drop_stale:
            content = _pages(image, leaf.value, options)
        yield Piece(leaf.kind, leaf.path, leaf.offset, content, value)


def _rebuilt(image: Image, leaf: Record[Any]) -> tuple[Content, Any]:
    """A leaf's bytes by its schema, or copied where it is no whole structure."""
    schema = SCHEMA_OF_KIND.get(leaf.kind)
    if schema is not None:
        data = schema.build(leaf.value)
        if len(data) == leaf.length:
            return Literal(data), leaf.value
    return Copied(image.source, leaf.offset, leaf.length), None


# -- laid out again -------------------------------------------------------------------------------


def _elements(image: Image, options: RewriteOptions) -> Iterator[Element]:
    """The stream's elements in order; a block's fixed layout becomes one element."""
    for leaf in leaves(image, runs=False):
        if leaf.kind in _OF_BLOCKS or leaf.kind is Kind.GAP:
            continue
        if options.drop_devices and _of_device(leaf):
            continue
        if leaf.kind is Kind.MAPPED_RAM_HEADER:
            yield _fixed_block(image, _block(image, leaf), leaf, options)
            continue
        content, value = _rebuilt(image, leaf)
        if value is not None:
            yield Structure(leaf.kind, leaf.path, value)
        else:
            yield Raw(leaf.kind, leaf.path, content)


def _of_device(leaf: Record[Any]) -> bool:
    """Whether it is part of a section other than ram, or describes them."""
    return leaf.kind in _OF_DEVICES or leaf.section not in (b"", RAM_IDSTR)


def _fixed_block(
    image: Image, block: RamBlock, leaf: Record[Any], options: RewriteOptions
) -> FixedBlock:
    if block.ignored:
        return FixedBlock(block.path, leaf.value, Hole(0), Hole(0), ignored=True)
    return FixedBlock(
        block.path, leaf.value, _bitmap(image, block, options), _pages(image, block, options)
    )


def _block(image: Image, leaf: Record[Any]) -> RamBlock:
    """The block that a header or bitmap belongs to."""
    assert leaf.block is not None
    return image.blocks[leaf.block]


def _bitmap(image: Image, block: RamBlock, options: RewriteOptions) -> Content:
    if options.host_long is None:
        length = image.bitmap_length(block)
        return Copied(image.source, block.bitmap_offset, length)
    bitmap = PageBitmap.of_block(image.source, block, image.host_long.value)
    return ConvertedBitmap(bitmap, options.host_long)


def _pages(image: Image, block: RamBlock, options: RewriteOptions) -> Content:
    bitmap = image.readable_bitmap(block) if options.drop_stale else None
    if bitmap is None:
        length = min(block.used_length, image.source.size - block.pages_offset)
        return Copied(image.source, block.pages_offset, length)
    return PresentPages(image, block, bitmap)


@dataclass(frozen=True, slots=True)
class ConvertedBitmap:
    """A bitmap as a host with other longs would have stored it."""

    bitmap: PageBitmap
    host_long: HostLong

    @property
    def length(self) -> int:
        """Bytes of the bitmap in the new order."""
        return PageBitmap.length_of(self.bitmap.pages, self.host_long)

    def write(self, output: Output, offset: int) -> None:
        """Write it chunk by chunk."""
        for start, data in self.bitmap.converted(self.host_long):
            output.write(offset + start, data)


@dataclass(frozen=True, slots=True)
class PresentPages:
    """The pages of a block that its bitmap calls present; all others become holes."""

    image: Image
    block: RamBlock
    bitmap: PageBitmap

    @property
    def length(self) -> int:
        """The block's used_length."""
        return self.block.used_length

    def write(self, output: Output, offset: int) -> None:
        """Copy run by run."""
        size, source = self.block.page_size, self.image.source
        for run in self.bitmap.runs():
            if run.present:
                start = self.block.pages_offset + run.start * size
                stop = self.block.pages_offset + run.stop * size
                output.copy_data(source, start, stop, offset + run.start * size)
