"""A run of present bytes of memory."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Run"]


class Run(NamedTuple):
    """length present bytes at address, which lie at file_offset of the file as they are.

    file_offset is None where the file has them in another form (a delta): read() gives them.
    """

    address: int
    length: int
    file_offset: int | None
