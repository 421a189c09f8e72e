"""A piece of a file to be: content that has its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fixedram_fmt.stream.records import Kind
    from fixedram_fmt.write.elements import Content

__all__ = ["Piece"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Content at an offset in the file; value is that of the structure it is, if it is one."""

    kind: Kind
    path: str
    offset: int
    content: Content
    value: Any = None

    @property
    def stop(self) -> int:
        """The offset right after it."""
        return self.offset + self.content.length
