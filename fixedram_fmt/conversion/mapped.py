"""An image with a fixed layout as the elements of an ordinary stream, or of another dialect's.

Upstream for what an ordinary stream holds: QEMU migration/ram.c ram_save_setup(),
ram_save_iterate(), ram_save_page().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.conversion.capabilities import adapted
from fixedram_fmt.conversion.ordinary import element_of
from fixedram_fmt.conversion.sent import SentPages
from fixedram_fmt.errors import UnsupportedError
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.records import SECTION_HEADERS, SECTION_PARTS, Kind, Record
from fixedram_fmt.tiling import leaves
from fixedram_fmt.write.elements import Element, FixedBlock, Hole, Raw
from fixedram_fmt.write.rewrite import ConvertedBitmap, PresentPages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.presence.hostlong import HostLong

__all__ = ["as_mapped", "as_stream", "require_whole"]

#: What the fixed layout has around the records.
_LAYOUT = frozenset({Kind.BITMAP, Kind.PADDING, Kind.PAGES, Kind.GAP, Kind.MULTIFD_FLUSH})


def require_whole(image: Image) -> None:
    """UnsupportedError for an image that stops early, or whose blocks are not apart.

    Blocks that share a name or bytes of the file are no QEMU's: a small file would become a large
    one.
    """
    if image.stopped is not None:
        stopped = image.stopped
        raise UnsupportedError(
            f"the image is not complete: {stopped.message}",
            offset=stopped.offset,
            path=stopped.path,
            expected=stopped.expected,
            found=stopped.found,
        )
    names = {block.idstr for block in image.blocks}
    if len(names) < len(image.blocks):
        raise UnsupportedError("two blocks have the same name", path="ram")
    stop = -1
    for block in sorted(image.blocks, key=lambda block: block.pages_offset):
        if block.has_pages and block.pages_offset < stop:
            raise UnsupportedError(
                "the pages of two blocks overlap",
                offset=block.pages_offset,
                path=block.path,
                expected=f"pages after {stop:#x}",
                found=f"{block.pages_offset:#x}",
            )
        stop = max(stop, block.pages_stop if block.has_pages else stop)


def as_stream(image: Image) -> Iterator[Element]:
    """The ordinary stream: pages come in the first section that QEMU would send them in.

    That is the first PART; where there is none, the section that is last.
    """
    carrier = _carrier(image)
    for item in _adapted(image, None):
        if not isinstance(item, Record):
            yield item
            continue
        if item.kind is Kind.EOS and item.offset == carrier:
            yield from _pages(image, item.path)
        if item.kind is not Kind.MAPPED_RAM_HEADER:
            yield element_of(image.source, item)


def as_mapped(image: Image, host_long: HostLong) -> Iterator[Element]:
    """The image in the merged dialect; stale pages are left out."""
    blocks = {f"{block.path}/header": block for block in image.blocks}
    for item in _adapted(image, b"mapped-ram"):
        if not isinstance(item, Record):
            yield item
        elif item.kind is not Kind.MAPPED_RAM_HEADER:
            yield element_of(image.source, item)
        elif blocks[item.path].ignored:
            block = blocks[item.path]
            yield FixedBlock(block.path, item.value, Hole(0), Hole(0), ignored=True)
        else:
            block = blocks[item.path]
            bitmap = image.presence(block)
            pages = PresentPages(image, block, bitmap)
            yield FixedBlock(block.path, item.value, ConvertedBitmap(bitmap, host_long), pages)


def _adapted(image: Image, layout: bytes | None) -> Iterator[Record[Any] | Element]:
    records = (leaf for leaf in leaves(image, runs=False) if leaf.kind not in _LAYOUT)
    return adapted(records, image.source, layout)


def _carrier(image: Image) -> int:
    """Offset of the EOS that pages go before."""
    last, in_part = -1, False
    for record in image.records():
        if record.kind in SECTION_HEADERS:
            in_part = record.kind in SECTION_PARTS
        elif record.kind is Kind.EOS and record.section == RAM_IDSTR:
            last = record.offset
            if in_part:
                return last
    return last


def _pages(image: Image, path: str) -> Iterator[Element]:
    for block in image.blocks:
        if not block.has_pages:
            continue
        if block.used_length % block.page_size:
            raise UnsupportedError(
                "a block that is not whole pages",
                offset=block.entry_offset,
                path=block.path,
                found=f"{block.used_length} bytes in pages of {block.page_size}",
            )
        sent = SentPages(image.source, block, image.presence(block))
        yield Raw(Kind.PAGE, f"{path.rpartition('/')[0]}/pages[{block.index}]", sent)
