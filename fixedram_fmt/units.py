"""Sizes as people write and read them: 4K, 1.5G, 0x1000; powers of 1024 like qemu-img."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["human_size", "parse_size"]

_SUFFIXES = "KMGTPE"
_SIZE = re.compile(
    rf"\s*(?:(?P<hex>0[xX][0-9a-fA-F]+)|(?P<number>\d+(?:\.\d+)?)\s*(?P<suffix>[{_SUFFIXES}]?)(?:i?B)?)\s*",
    re.IGNORECASE,
)


def parse_size(text: str) -> int:
    """Bytes meant by text, like 4096, 0x1000, 64M, 1.5GiB; ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size or offset; write 4096, 0x1000 or 64M")
    if match["hex"]:
        return int(match["hex"], 16)
    power = _SUFFIXES.index(match["suffix"].upper()) + 1 if match["suffix"] else 0
    if "." not in match["number"]:
        return int(match["number"]) << 10 * power
    value = Fraction(match["number"]) * (1 << 10 * power)
    if value.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(value)


def human_size(size: int) -> str:
    """size in bytes as people read it: 28 B, 4 KiB, 1.5 GiB; exact where it is short."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(_SUFFIXES))
    value = size / (1 << 10 * power)
    unit = f"{_SUFFIXES[power - 1]}iB" if power else "B"
    shown = f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"
    return f"{shown} {unit}"
