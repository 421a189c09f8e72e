"""Bytes in memory as a Source."""

from __future__ import annotations

from fixedram_fmt.io.source import Source

__all__ = ["BufferSource"]


class BufferSource(Source):
    """The caller's bytes, not copied."""

    def __init__(self, buffer: bytes | bytearray | memoryview, name: str = "buffer") -> None:
        self._view = memoryview(buffer).cast("B")
        super().__init__(name=name, size=self._view.nbytes)

    def fill(self, offset: int, target: memoryview, path: str) -> None:
        """One copy."""
        target[:] = self._view[offset : offset + target.nbytes]

    def fetch(self, offset: int, length: int, path: str) -> bytes:
        """One copy too."""
        return bytes(self._view[offset : offset + length])

    def close(self) -> None:
        """Let go of the caller's memory."""
        super().close()
        self._view = memoryview(b"")
