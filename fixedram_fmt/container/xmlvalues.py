"""Numbers as libvirt reads them from a domain's XML; None for what is no number.

Upstream: libvirt src/util/virxml.c virXMLPropUInt(), src/util/virutil.c virScaleInteger().
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["any_base", "decimal", "flag", "scaled", "size"]

#: virScaleInteger(): units of sizes; KiB where none is named.
_UNITS = {
    "b": 1, "byte": 1, "bytes": 1, "kb": 10**3, "k": 1 << 10, "kib": 1 << 10, "mb": 10**6,
    "m": 1 << 20, "mib": 1 << 20, "gb": 10**9, "g": 1 << 30, "gib": 1 << 30, "tb": 10**12,
    "t": 1 << 40, "tib": 1 << 40,
}  # fmt: skip

#: What strtol() takes with base 0, as far as numbers of addresses go.
_ANY_BASE = re.compile(r"(?:0[xX][0-9a-fA-F]{1,16}|[1-9][0-9]{0,18}|0[0-7]{0,18})", re.ASCII)
_FLAGS = {"yes": True, "on": True, "no": False, "off": False}


def decimal(text: str | None) -> int | None:
    """A number of up to 18 digits."""
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def any_base(text: str | None) -> int | None:
    """A number as strtol() takes it: hexadecimal after 0x, octal after 0."""
    digits = (text or "").strip()
    if not _ANY_BASE.fullmatch(digits):
        return None
    octal = digits.startswith("0") and digits[1:].isdigit()
    return int(digits, 8 if octal else 0)


def scaled(text: str | None, unit: str | None) -> int | None:
    """The bytes of a number with a unit."""
    scale, number = _UNITS.get((unit or "KiB").lower()), decimal(text)
    return number * scale if number is not None and scale else None


def size(element: Element | None) -> int | None:
    """The bytes that an element with a unit stands for."""
    return scaled(element.text, element.get("unit")) if element is not None else None


def flag(text: str | None) -> bool | None:
    """yes, on, no, off; None for anything else."""
    return _FLAGS.get(text or "")
