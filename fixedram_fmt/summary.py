"""What an image is, on one screen or as one JSON object.

The keys of these classes are the keys of `fixedram info --json`; users and checks rely on them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import TruncatedError

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image

__all__ = ["BlockSummary", "ImageSummary", "PageMap", "SectionSummary", "summarize"]


@dataclass(frozen=True, slots=True)
class BlockSummary:
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


@dataclass(frozen=True, slots=True)
class SectionSummary:
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


@dataclass(frozen=True, slots=True)
class PageMap:
    """Presence of one block in equal cells: (present, total) pages each."""

    block: str
    cells: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """Everything `info` tells."""

    path: str
    size: int
    disk_size: int | None
    file_size: int
    container: dict[str, Any]
    dialect: str
    machine: str | None
    capabilities: list[str]
    target_page_size: int
    byte_order: dict[str, str] | None
    offset_bias: int
    uuid: str | None
    complete: bool
    stopped: dict[str, Any] | None
    blocks: list[BlockSummary]
    sections: list[SectionSummary]
    devices: int
    vmdesc: dict[str, Any] | None
    memory_map: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    page_map: PageMap | None = field(default=None)

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON has it; the page map is for people and stays out."""
        shown = dataclasses.asdict(self)
        del shown["page_map"]
        return shown


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
        memory_map=image.memory_map.as_dicts(),
        notes=[dataclasses.asdict(note) for note in image.notes],
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


def _byte_order(image: Image) -> dict[str, str] | None:
    if not any(block.has_pages for block in image.blocks):
        return None
    guess = image.host_long
    return {"host_long": guess.host_long.label, "reason": guess.reason}


def _stopped(image: Image) -> dict[str, Any] | None:
    if image.container.cut_short and image.stopped is None:
        message = image.container.cut_short
        return {
            "offset": image.source.size,
            "path": "",
            "truncated": True,
            "message": message,
            "summary": message,
            "section": None,
        }
    error = image.stopped
    if error is None:
        return None
    section = image.ends_in or image.ends_after
    return {
        "offset": error.offset,
        "path": error.path,
        "truncated": isinstance(error, TruncatedError),
        "message": str(error),
        "summary": _in_words(image),
        "section": section
        and {
            "id": section.section_id,
            "name": section.name,
            "instance_id": section.instance_id,
            "offset": section.offset,
            "inside": image.ends_in is not None,
        },
    }


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


def _vmdesc(image: Image) -> dict[str, Any] | None:
    vmdesc = image.vmdesc
    if vmdesc is None:
        return None
    return {
        "offset": vmdesc.offset,
        "length": vmdesc.length,
        "page_size": vmdesc.page_size,
        "devices": len(vmdesc.devices),
    }
