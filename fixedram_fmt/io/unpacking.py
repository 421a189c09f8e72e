"""How much compressed data may unpack to: a bomb of kilobytes must not cost hours or a full disk.

Two things are counted, over all layers of compression of a file together.  Bytes of any kind cost
CPU time; bytes that are no zeros cost room in TMPDIR as well, since zeros become holes there.  The
ceilings grow with the compressed size.  An idle guest's memory is mostly zeros, which gzip shrinks
a thousand times and xz six thousand times, so that the first ceiling is wide; what is no zeros
shrinks far less.
"""

from __future__ import annotations

import os
from typing import Self

from fixedram_fmt.errors import SourceError, UnsupportedError
from fixedram_fmt.units import human_size, parse_size

__all__ = ["UNPACK_LIMIT", "UnpackBudget"]

#: Environment variable with a size: what a file may unpack to, instead of what follows here.
UNPACK_LIMIT = "FIXEDRAM_UNPACK_LIMIT"

#: Bytes, zeros included: so many whatever the compressed size, and so many for each byte of it.
_BYTES, _BYTES_RATIO = 2 << 30, 4096
#: The same of bytes that are no zeros.
_DATA, _DATA_RATIO = 1 << 30, 64
#: To begin with one more compressed stream costs as much time as so many zeros.
_STREAM = 1 << 18


class UnpackBudget:
    """What is left of the two ceilings, for a file of packed bytes."""

    def __init__(self, packed: int, *, most: int, most_data: int) -> None:
        self._packed = packed
        self._most, self._most_data = most, most_data
        self._bytes, self._data = 0, 0

    @classmethod
    def of(cls, packed: int) -> Self:
        """The budget of a compressed file; SourceError where UNPACK_LIMIT is no size."""
        told = os.environ.get(UNPACK_LIMIT)
        if told:
            try:
                limit = parse_size(told)
            except ValueError as error:
                raise SourceError(f"{UNPACK_LIMIT}: {error}") from error
            return cls(packed, most=limit, most_data=limit)
        return cls(
            packed, most=_BYTES + _BYTES_RATIO * packed, most_data=_DATA + _DATA_RATIO * packed
        )

    def take(self, length: int) -> None:
        """So many bytes were unpacked; UnsupportedError where that is more than there may be."""
        self._bytes += length
        if self._bytes > self._most:
            raise self._too_much(self._most, "bytes")

    def take_stream(self) -> None:
        """A further compressed stream begins; there may be thousands, with nothing in them."""
        self.take(_STREAM)

    def take_data(self, length: int) -> None:
        """So many of them are no zeros, and are written into the temporary file."""
        self._data += length
        if self._data > self._most_data:
            raise self._too_much(self._most_data, "bytes that are no zeros")

    def _too_much(self, limit: int, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{human_size(self._packed)} of compressed data unpack to more than"
            f" {human_size(limit)} of {what}",
            code="unpack-limit",
            hint=f"fixedram --unpack-limit SIZE (or {UNPACK_LIMIT}=SIZE) allows more",
        )
