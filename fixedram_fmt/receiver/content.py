"""One value of a device that QEMU compares with the receiver's."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Content"]


class Content(NamedTuple):
    """A value that is compared: its type, its bytes, and where they are in the file."""

    type: str
    raw: bytes
    offset: int
