"""RAM blocks as the stream describes them, and the sections they come in."""

from __future__ import annotations

from dataclasses import dataclass

from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.ram import RAM_IDSTR

__all__ = ["Note", "RamBlock", "Section", "bitmap_length"]


def bitmap_length(pages: int, long_bytes: int) -> int:
    """Bytes of a bitmap of so many pages: BITS_TO_LONGS(pages) longs of long_bytes each."""
    bits = long_bytes * 8
    return (pages + bits - 1) // bits * long_bytes


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling that did not stop the walk; code names its kind, if that matters."""

    offset: int
    path: str
    message: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section as its START or FULL introduces it; lengths in bytes.

    parts counts the PART and END records that followed; body_length is that of this record alone,
    None when its end was not reached.
    """

    section_id: int
    idstr: bytes
    instance_id: int
    version_id: int
    full: bool
    offset: int
    body_offset: int
    body_length: int | None = None
    delimited_by: str = ""
    parts: int = 0
    ended: bool = False

    @property
    def name(self) -> str:
        """idstr as text; bytes that are no UTF-8 as \\xNN."""
        return text(self.idstr)

    @property
    def label(self) -> str:
        """Name and instance, as people speak of it."""
        return f"{self.name} #{self.instance_id}"

    @property
    def is_ram(self) -> bool:
        """Whether it is the guest's memory, not a device."""
        return self.idstr == RAM_IDSTR


@dataclass(frozen=True, slots=True)
class RamBlock:
    """One RAM block: sizes and offsets in bytes, offsets absolute in the file.

    page_size is what pages are counted in here: the header's, or the target's where the header's
    is none (header_page_size keeps what the file says).  Without a fixed layout (an ordinary
    stream) and for ignored blocks bitmap_offset and pages_offset say nothing.
    """

    index: int
    path: str
    idstr: bytes
    used_length: int
    page_size: int
    entry_offset: int
    mapped: bool = False
    header_offset: int | None = None
    header_version: int | None = None
    header_page_size: int | None = None
    bitmap_offset: int = 0
    pages_offset: int = 0
    region_address: int | None = None
    postcopy_page_size: int | None = None

    @property
    def name(self) -> str:
        """idstr as text; bytes that are no UTF-8 as \\xNN."""
        return text(self.idstr)

    @property
    def ignored(self) -> bool:
        """Whether the block's memory is not in the image (x-ignore-shared: both offsets zero)."""
        return self.mapped and self.bitmap_offset == 0 and self.pages_offset == 0

    @property
    def has_pages(self) -> bool:
        """Whether there is a bitmap and a region of pages in the file."""
        return self.mapped and not self.ignored

    @property
    def pages_total(self) -> int:
        """Pages of the block, as parse_ramblock_mapped_ram() counts them (rounded down)."""
        return self.used_length // self.page_size

    def bitmap_length(self, long_bytes: int = 8) -> int:
        """Bytes of the bitmap, in a host's longs of long_bytes each."""
        return bitmap_length(self.pages_total, long_bytes)

    @property
    def pages_stop(self) -> int:
        """Where the stream goes on after the block's pages."""
        return self.pages_offset + self.used_length
