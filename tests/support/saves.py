"""Saves of libvirt with other fields in their header, or another XML."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["built", "edited"]

_HEAD = "16s5I56x"


def built(save: bytes, order: str = "<", stream: Callable[[bytes], bytes] = bytes, **changed: Any
          ) -> bytes:  # fmt: skip
    """The save with other fields of the header, another XML, or its stream packed."""
    magic, version, length, running, form, cookie = struct.unpack_from("<" + _HEAD, save)
    xml, tail = save[92 : 92 + cookie], save[92 + cookie : 92 + length]
    old, new = changed.get("xml", (b"", b""))
    assert old in xml
    values = {"magic": magic, "version": version, "data_len": length, "running": running,
              "form": form, "cookie": cookie, **changed}  # fmt: skip
    head = struct.pack(order + _HEAD, *(
        values[name] for name in ("magic", "version", "data_len", "running", "form", "cookie")
    ))  # fmt: skip
    return head + xml.replace(old, new, 1) + tail + stream(save[92 + length :])


def edited(save: bytes, edits: Iterable[Sequence[str]]) -> bytes:
    """The save with its XML edited, in the room that libvirt leaves for that."""
    magic, version, length, running, form, cookie = struct.unpack_from("<" + _HEAD, save)
    area = save[92 : 92 + length]
    xml = area.partition(b"\0")[0].decode()
    for pattern, new in edits:
        xml, count = re.subn(pattern, new, xml, count=1, flags=re.DOTALL)
        assert count, pattern
    new_area = xml.encode() + b"\0"
    place = len(new_area) if cookie else 0
    if cookie:
        new_area += area[cookie:].partition(b"\0")[0] + b"\0"
    assert len(new_area) <= length
    words = struct.pack("<" + _HEAD, magic, version, length, running, form, place)
    return words + new_area.ljust(length, b"\0") + save[92 + length :]
