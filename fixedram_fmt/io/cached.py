"""A Source whose reads cost much (far away, packed), with its last blocks kept in memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fixedram_fmt.io.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.io.source import Extent

__all__ = ["CachedSource"]

_BLOCK = 1 << 16
_BLOCKS = 256


class CachedSource(Source):
    """Reads a Source in whole blocks, and keeps the blocks (a number of them) that were used last.

    A read of more bytes than the cache holds goes past it.  The other Source is closed with it.
    """

    def __init__(self, source: Source, *, block: int = _BLOCK, blocks: int = _BLOCKS) -> None:
        super().__init__(name=source.name, size=source.size)
        self.file_mode = source.file_mode
        self._source = source
        self._block = block
        self._most = block * blocks
        self._read_block = lru_cache(maxsize=blocks)(self._read)

    def _read(self, number: int) -> bytes:
        start = number * self._block
        return self._source.read_exact(start, min(self._block, self.size - start))

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """Block by block."""
        if target.nbytes > self._most:
            self._source.read_into(offset, target, path)
            return
        done = 0
        while done < target.nbytes:
            number, skip = divmod(offset + done, self._block)
            part = self._read_block(number)[skip : skip + target.nbytes - done]
            target[done : done + len(part)] = part
            done += len(part)

    def ranges(self, start: int, stop: int) -> Iterator[Extent]:
        """Those of the other Source."""
        return self._source.extents(start, stop)

    def close(self) -> None:
        """Let go of the blocks, and close the other Source."""
        super().close()
        self._read_block.cache_clear()
        self._source.close()
