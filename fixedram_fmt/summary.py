"""What an image is, on one screen or as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.blocks import Note
from fixedram_fmt.container.described import ContainerSummary
from fixedram_fmt.dialect import DialectName
from fixedram_fmt.errors import TruncatedError
from fixedram_fmt.memory.ranges import ShownRange
from fixedram_fmt.results import Result, Unsigned

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = [
    "BlockSummary", "ByteOrderSummary", "ContainerSummary", "ImageSummary", "LastSection",
    "PageMap", "SectionSummary", "StopSummary", "VmdescSummary", "summarize",
]  # fmt: skip


class BlockSummary(Result, frozen=True):
    """A RAM block: lengths and offsets in bytes, presence in pages (None: the image cannot say)."""

    name: str
    used_length: int
    page_size: int
    bitmap_offset: int | None
    pages_offset: int | None
    pages_total: int
    pages_present: int | None
    ignored: bool
    region_address: int | None
    tail_bits: int = 0


class SectionSummary(Result, frozen=True):
    """A section as its header names it; body_length in bytes, None where its end is missing."""

    id: int
    name: str
    instance_id: int
    version: int
    full: bool
    offset: int
    body_length: int | None
    delimited_by: str
    parts: int


class PageMap(Result, frozen=True):
    """Presence of one block in equal cells: (present, total) pages each."""

    block: str
    cells: list[tuple[int, int]]


class ByteOrderSummary(Result, frozen=True):
    """The byte order and word size of bitmaps, and how they were found."""

    host_long: str
    reason: str


class LastSection(Result, frozen=True):
    """The section that a stream stops in (inside), or after."""

    id: Unsigned
    name: str
    instance_id: Unsigned
    offset: Unsigned
    inside: bool


class StopSummary(Result, frozen=True):
    """Where and why the stream stops early; truncated: the file ends. summary is for its owner."""

    offset: int | None
    path: str
    truncated: bool
    message: str
    summary: str
    section: LastSection | None = None


class VmdescSummary(Result, frozen=True):
    """The description of the devices: where it is, and of how many devices."""

    offset: Unsigned
    length: Unsigned
    page_size: int | None
    devices: Unsigned


class ImageSummary(Result, frozen=True):
    """One image at a glance; sizes and offsets in bytes.

    page_map is for people, and not in the JSON.
    """

    hidden = frozenset({"page_map"})

    path: str
    size: int
    disk_size: int | None
    file_size: int
    container: ContainerSummary
    dialect: DialectName
    machine: str | None
    capabilities: list[str]
    target_page_size: int
    byte_order: ByteOrderSummary | None
    offset_bias: int
    uuid: str | None
    complete: bool
    stopped: StopSummary | None
    blocks: list[BlockSummary]
    sections: list[SectionSummary]
    devices: int
    vmdesc: VmdescSummary | None
    memory_map: tuple[ShownRange, ...]
    notes: list[Note]
    page_map: PageMap | None = None


def summarize(image: Image, path: str, *, cells: int = 0) -> ImageSummary:
    """Read the bitmaps and put together what `info` tells; cells > 0 asks for a page map.

    The page map is that of the largest block whose presence is known.
    """
    largest = _largest(image) if cells else None
    page_map = None
    blocks = []
    for block in image.blocks:
        bitmap = image.readable_bitmap(block)
        if bitmap is not None and block is largest:
            page_map = PageMap(block.name, bitmap.histogram(cells))
            present: int | None = sum(count for count, _ in page_map.cells)
        else:
            present = bitmap.count() if bitmap is not None else (0 if block.ignored else None)
        blocks.append(_block(block, present, bitmap.tail_bits() if bitmap is not None else 0))
    return ImageSummary(
        path=path,
        size=image.source.size,
        disk_size=image.source.disk_size,
        file_size=image.file_size,
        container=image.container.describe(),
        dialect=image.dialect,
        machine=image.machine,
        capabilities=image.capabilities,
        target_page_size=image.target_page_size,
        byte_order=_byte_order(image),
        offset_bias=image.offset_bias,
        uuid=image.uuid,
        complete=image.complete,
        stopped=_stopped(image),
        blocks=blocks,
        sections=_sections(image),
        devices=sum(not section.is_ram for section in image.sections),
        vmdesc=_vmdesc(image),
        memory_map=image.memory_map.shown(),
        notes=list(image.notes),
        page_map=page_map,
    )


def _largest(image: Image) -> RamBlock | None:
    known = [block for block in image.blocks if block.pages_total and image.readable_bitmap(block)]
    return max(known, key=lambda block: block.used_length, default=None)


def _block(block: RamBlock, present: int | None, tail_bits: int) -> BlockSummary:
    return BlockSummary(
        name=block.name,
        used_length=block.used_length,
        page_size=block.header_page_size if block.header_page_size is not None else block.page_size,
        bitmap_offset=block.bitmap_offset if block.mapped else None,
        pages_offset=block.pages_offset if block.mapped else None,
        pages_total=block.pages_total,
        pages_present=present,
        ignored=block.ignored,
        region_address=block.region_address,
        tail_bits=tail_bits,
    )


def _sections(image: Image) -> list[SectionSummary]:
    return [
        SectionSummary(
            id=section.section_id,
            name=section.name,
            instance_id=section.instance_id,
            version=section.version_id,
            full=section.full,
            offset=section.offset,
            body_length=section.body_length,
            delimited_by=section.delimited_by,
            parts=section.parts,
        )
        for section in image.sections
    ]


def _byte_order(image: Image) -> ByteOrderSummary | None:
    if not any(block.has_pages for block in image.blocks):
        return None
    guess = image.host_long
    return ByteOrderSummary(guess.value.label, guess.reason)


def _stopped(image: Image) -> StopSummary | None:
    cut_short, error = image.container.cut_short, image.stopped
    if error is None:
        return StopSummary(image.source.size, "", True, cut_short, cut_short) if cut_short else None
    return StopSummary(
        offset=error.offset,
        path=error.path,
        truncated=isinstance(error, TruncatedError),
        message=str(error),
        summary=_in_words(image),
        section=_last_section(image),
    )


def _last_section(image: Image) -> LastSection | None:
    section = image.ends_in or image.ends_after
    if section is None:
        return None
    place = (section.section_id, section.name, section.instance_id, section.offset)
    return LastSection(*place, inside=image.ends_in is not None)


def _in_words(image: Image) -> str:
    """What happened to an image that stops early, in a sentence for its owner."""
    truncated = isinstance(image.stopped, TruncatedError)
    what = "the save ends" if truncated else "the stream cannot be read on"
    if image.ends_in:
        where = f"inside {image.ends_in.label}, which begins at offset {image.ends_in.offset:#x}"
    elif image.ends_after:
        where = (
            f"after {image.ends_after.label}, which begins at offset {image.ends_after.offset:#x}"
        )
    else:
        where = "before its first section is complete"
    so = "the guest was not completely saved" if truncated else "what follows is not known"
    return f"{what} {where}; {so}"


def _vmdesc(image: Image) -> VmdescSummary | None:
    found = image.vmdesc
    if found is None:
        return None
    return VmdescSummary(found.offset, found.length, found.page_size, len(found.devices))
