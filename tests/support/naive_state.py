"""Device state read in the plainest way: one field after the other, straight from the JSON.

An oracle for the compiled decoder, and the yardstick it is timed against.
"""

from __future__ import annotations

import json
import struct
from typing import Any

_SUBSECTION = 5


class Interpreter:
    """Reads one body by its description, field by field."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, size: int) -> bytes:
        piece = self.body[self.at : self.at + size]
        assert len(piece) == size, "the body ends early"
        self.at += size
        return piece

    def structure(self, description: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        names = [field["name"] for field in description["fields"]]
        for field in description["fields"]:
            name = field["name"]
            is_list = "array_len" in field or "index" in field or names.count(name) > 1
            values = [self.value(field) for _ in range(field.get("array_len", 1))]
            if is_list:
                found.setdefault(name, []).extend(values)
            else:
                found[name] = values[0]
        for subsection in description.get("subsections", ()):
            assert self.take(1)[0] == _SUBSECTION
            name = self.take(self.take(1)[0]).decode()
            assert name == subsection["vmsd_name"]
            assert int.from_bytes(self.take(4), "big") == subsection["version"]
            found[name] = self.structure(subsection)
        return found

    def value(self, field: dict[str, Any]) -> Any:
        kind, size = field["type"], field["size"]
        if "struct" in field:
            return self.structure(field["struct"])
        if "fields" in field:
            return self.structure(field)
        return _plain(kind, self.take(size))


def _plain(kind: str, raw: bytes) -> Any:
    if kind == "nullptr":
        assert raw == b"0"
        return None
    if kind == "float64":
        return struct.unpack(">d", raw)[0]
    if kind.startswith(("int", "uint")) or kind == "timer":
        return int.from_bytes(raw, "big", signed=not kind.startswith("u"))
    return raw != b"\0" if kind == "bool" else raw


def interpret(text: bytes, bodies: list[bytes]) -> list[dict[str, Any]]:
    """The values of every device, its bodies in the order of the description."""
    devices = json.loads(text)["devices"]
    found = []
    for device, body in zip(devices, bodies, strict=True):
        reader = Interpreter(body)
        found.append(reader.structure(device))
        assert reader.at == len(body)
    return found
