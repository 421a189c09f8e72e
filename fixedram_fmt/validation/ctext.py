"""How C code shows what is in an image."""

from __future__ import annotations

from fixedram_fmt.schema.base import c_string, text

__all__ = ["c_int", "c_text"]


def c_int(value: int) -> int:
    """A number of 32 bits as QEMU prints it with %d."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def c_text(name: bytes) -> str:
    """A name as QEMU prints it with %s: up to its first NUL."""
    return text(c_string(name))
