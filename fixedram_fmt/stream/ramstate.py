"""What the records of a RAM section mean depends on what came before: that is kept here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.blocks import Note
from fixedram_fmt.schema.ram import RamSaveFlag

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock

__all__ = ["ADDRESS_CEILING", "DEFAULT_PAGE_SIZE", "PAGE_FLAGS", "RamState", "can_follow_list"]

#: Target page size of most machines, used while the stream has not told.
DEFAULT_PAGE_SIZE = 4096

#: No guest has memory at such addresses: a word beyond is page data, not a record.
ADDRESS_CEILING = 1 << 52

#: Records that carry a page.
PAGE_FLAGS = RamSaveFlag.ZERO | RamSaveFlag.PAGE | RamSaveFlag.COMPRESS_PAGE | RamSaveFlag.XBZRLE

_NOTES_CEILING = 1000


@dataclass(slots=True)
class RamState:
    """What the records of a RAM section mean depends on this; grows while the stream is walked."""

    mapped: bool = False
    ignore_shared: bool = False
    target_page_size: int | None = None
    blocks: list[RamBlock] = field(default_factory=list)
    #: Whether a list of blocks was read to its end.
    listed: bool = False
    #: Whether page records of an ordinary stream come in batches, not as runs.
    batched: bool = False
    last_idstr: bytes | None = None
    #: By how much all offsets in the headers are wrong: the image was cut out of its container.
    offset_bias: int = 0
    #: Whether a block with pages has told it.
    bias_known: bool = False
    #: Where entries of block lists were read: none is read twice, or a file could go in circles.
    visited: set[int] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)

    @property
    def page_size(self) -> int:
        """The target's page size, or the usual one while it is unknown."""
        return self.target_page_size or DEFAULT_PAGE_SIZE

    def note(self, offset: int, path: str, message: str, code: str = "") -> None:
        """Remember something odd; a hostile file does not get to fill memory with oddities."""
        if len(self.notes) < _NOTES_CEILING:
            self.notes.append(Note(offset, path, message, code))


def can_follow_list(word: int, page_size: int) -> bool:
    """Whether word is EOS or begins exactly one page, at an address a guest can have."""
    flags = word & (page_size - 1) & ~RamSaveFlag.CONTINUE
    one_page = flags & PAGE_FLAGS != 0 and flags & (flags - 1) == 0
    return (one_page or flags == RamSaveFlag.EOS) and word < ADDRESS_CEILING
