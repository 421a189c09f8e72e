"""A naive writer of what Xen saves of a domain, field by field: the oracle for what reads it.

Written from docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc, with no
layout of the package's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["XenSaveBuilder"]

_CONFIG = b'{"c_info":{"type":"hvm","name":"lab one"},"b_info":{}}\0'


@dataclass(frozen=True)
class XenSaveBuilder:
    """The parts of a save; writer is `xl`, `libvirt` or `libxl`, order that of struct."""

    emulator: bytes | None = b""
    writer: str = "xl"
    order: str = "<"
    pages: int = 3
    record: bytes = b""
    checkpoints: int = 0
    flags: int = 3

    def build(self) -> bytes:
        """The file."""
        return self._head() + self._libxl()

    def _head(self) -> bytes:
        if self.writer == "xl":
            data = self._pack("I", len(_CONFIG)) + _CONFIG
            words = self._pack("IIII", 0x01020304, self.flags, 0, len(data))
            return b"Xen saved domain, xl format\n \0 \r" + words + data
        if self.writer == "libvirt":
            xml = b"<domain type='xen'>\n<name>a &amp; b</name></domain>\0"
            return b"libvirt-xml\n \0 \r" + self._pack("II", 2, len(xml)) + bytes(40) + xml
        return b""

    def _libxl(self) -> bytes:
        big = self.order == ">"
        parts = [b"LibxlFmt" + struct.pack(">II", 2, big), self._record(1)]
        parts.append(b"\xff" * 8 + b"XENF" + struct.pack(">IHHI", 3, big, 0, 0))
        parts.append(self._pack("IHHII", 2, 12, 0, 4, 17))
        for _ in range(self.checkpoints):
            parts += [self._memory(), self._record(14), self._emulator(b"an older state" * 9)]
            parts.append(self._record(4))
        parts += [self._memory(), self._record(9, bytes(77)), self._record(0)]
        parts.append(self._record(2, self._pack("II", 2, 0) + b"physmap/0/name\0vga.vram\0"))
        if self.emulator is not None:
            parts.append(self._emulator(self.emulator))
        return b"".join([*parts, self._record(0)])

    def _memory(self) -> bytes:
        return b"".join(
            self._record(1, self._pack("IIQ", 1, 0, number) + bytes([number % 256]) * 4096)
            for number in range(self.pages)
        )

    def _emulator(self, stream: bytes) -> bytes:
        counted = self.record[:-4] + self._pack("I", len(stream)) if self.record else b""
        return self._record(3, self._pack("II", 2, 0) + counted + stream)

    def _record(self, kind: int, body: bytes = b"") -> bytes:
        return self._pack("II", kind, len(body)) + body + bytes(-len(body) % 8)

    def _pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)
