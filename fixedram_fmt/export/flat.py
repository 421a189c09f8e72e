"""Memory as flat files: one block, physical memory with holes, LiME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FormatError
from fixedram_fmt.export.artifact import Artifact, Part, Span
from fixedram_fmt.memory.blockroles import is_device_block
from fixedram_fmt.schema import lime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = [
    "inside",
    "lime_image",
    "map_stop",
    "physical_image",
    "ram_stop",
    "ranges_of",
    "raw_block",
]


def raw_block(image: Image, block: RamBlock, start: int = 0, stop: int | None = None) -> Artifact:
    """Bytes [start, stop) of a block, the whole of it by default."""
    start, stop = inside(start, stop, block.used_length, block.name)
    parts = [Part(0, Span(image.memory(block), start, stop))] if stop > start else []
    return Artifact(image.source, parts, stop - start)


def physical_image(
    image: Image, start: int = 0, stop: int | None = None, *, with_devices: bool = False
) -> Artifact:
    """Guest-physical memory [start, stop) where its addresses say; holes are zero.

    The default ends where the machine's RAM and its DIMMs do: video memory and firmware of a PC
    lie below 4 GiB, which makes a large file of a small guest.  with_devices goes to their end.
    Raises FormatError where no address is known.
    """
    size = map_stop(image)
    if stop is None:
        stop = size if with_devices else ram_stop(image)
    start, stop = inside(start, stop, size, "physical memory")
    memory = image.physical_memory
    parts = [
        Part(low - start, Span(memory, low, high)) for low, high in ranges_of(image, start, stop)
    ]
    return Artifact(image.source, parts, stop - start)


def lime_image(image: Image, start: int = 0, stop: int | None = None) -> Artifact:
    """Ranges of guest-physical memory, each after a header of LiME's."""
    start, stop = inside(start, stop, map_stop(image), "physical memory")
    memory = image.physical_memory
    parts: list[Part] = []
    at = 0
    for low, high in ranges_of(image, start, stop):
        header = lime.LimeHeader(lime.LIME_MAGIC, 1, low, high - 1, bytes(8))
        parts.append(Part(at, lime.LIME_HEADER.build(header)))
        at = parts[-1].stop
        parts.append(Part(at, Span(memory, low, high)))
        at = parts[-1].stop
    return Artifact(image.source, parts, at)


def ranges_of(image: Image, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Ranges of physical memory inside [start, stop); neighbours are put together."""
    low = high = -1
    for piece in image.memory_map.ranges:
        first, last = max(piece.start, start), min(piece.stop, stop)
        if first >= last:
            continue
        if first == high:
            high = last
            continue
        if high > low:
            yield low, high
        low, high = first, last
    if high > low:
        yield low, high


def map_stop(image: Image) -> int:
    """Where guest-physical memory ends; FormatError where no address is known."""
    if not image.memory_map.ranges:
        raise FormatError(
            "no block has a known guest-physical address",
            path="memory map",
            found="; ".join(image.memory_map.notes),
            hint="extract blocks instead (--format raw)",
        )
    return image.physical_memory.size


def ram_stop(image: Image) -> int:
    """Where the machine's RAM and its DIMMs end; where memory ends, if devices have it all."""
    stops = [
        piece.stop for piece in image.memory_map.ranges if not is_device_block(piece.block.name)
    ]
    return max(stops, default=map_stop(image))


def inside(start: int, stop: int | None, size: int, what: str) -> tuple[int, int]:
    """The range with its default filled in; FormatError where it is not inside size."""
    stop = size if stop is None else stop
    if not 0 <= start <= stop <= size:
        raise FormatError(
            f"this range is not inside {what}",
            expected=f"a range inside 0..{size:#x}",
            found=f"{start:#x}..{stop:#x}",
        )
    return start, stop
