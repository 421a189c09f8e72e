"""Where in the file each block's bitmap and pages lie, and whether nothing else lies there."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.schema.ram import MAPPED_RAM_HEADER
from fixedram_fmt.stream.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.stream.records import Record

__all__ = ["Places"]

_NOBODYS = frozenset({Kind.GAP, Kind.PADDING, Kind.UNPARSED})
_OF_BLOCKS = frozenset({Kind.MAPPED_RAM_HEADER, Kind.BITMAP, Kind.PAGES})


@dataclass(slots=True)
class Places:
    """Who owns which bytes of image, by its leaves (fixedram_fmt.tiling), in their order."""

    image: ImageFacts
    _owned: dict[tuple[int, Kind], int] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    _stops: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, image: ImageFacts, leaves: Iterable[Record[object]]) -> Places:
        """Those of an image with a fixed layout."""
        places = cls(image)
        for leaf in leaves:
            if leaf.kind in _OF_BLOCKS and leaf.block is not None:
                key = leaf.block, leaf.kind
                places._owned[key] = places._owned.get(key, 0) + leaf.length
            if leaf.kind not in _NOBODYS:
                places._starts.append(leaf.offset)
                places._stops.append(leaf.stop)
        return places

    def pages_alone(self, block: RamBlock) -> bool:
        """Whether the pages of a block are its own, as far as the file has them."""
        return self._alone(block, Kind.PAGES, block.pages_offset, block.used_length)

    def bitmap_alone(self, block: RamBlock) -> bool:
        """Whether its bitmap is; where the file ends before it, whether QEMU would put it there."""
        length = self.image.bitmap_length(block)
        if block.bitmap_offset + length > self.image.source.size:
            return block.bitmap_offset == self.after_header(block)
        return self._alone(block, Kind.BITMAP, block.bitmap_offset, length)

    def _alone(self, block: RamBlock, kind: Kind, offset: int, length: int) -> bool:
        inside = max(0, min(offset + length, self.image.source.size) - offset)
        return offset >= 0 and self._owned.get((block.index, kind), 0) == inside

    @staticmethod
    def after_header(block: RamBlock) -> int:
        """Where QEMU puts the bitmap (migration/ram.c mapped_ram_setup_ramblock())."""
        assert block.header_offset is not None
        return block.header_offset + MAPPED_RAM_HEADER.size

    def usual_bitmap(self, block: RamBlock) -> PageBitmap | None:
        """The bitmap at that place, if nothing else lies there and it may be one."""
        start, image = self.after_header(block), self.image
        stop = start + image.bitmap_length(block)
        if self._owned.get((block.index, Kind.MAPPED_RAM_HEADER)) != MAPPED_RAM_HEADER.size:
            return None
        if stop > min(block.pages_offset, image.source.size) or image.offset_bias:
            return None
        number = bisect_left(self._starts, start)
        taken = number < len(self._starts) and self._starts[number] < stop
        if taken or (number and self._stops[number - 1] > start):
            return None
        bitmap = PageBitmap(
            image.source, start, block.pages_total, image.host_long.value, block.path
        )
        return None if bitmap.tail_bits() else bitmap
