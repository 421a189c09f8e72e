"""Images that differ in known places, and the pages that differ as a loop finds them."""

from __future__ import annotations

import random
from typing import Any

from fixedram_fmt.comparison import Options, diff
from support.builders import Block, StreamBuilder, device, open_bytes, uint

PAGE = 256


def memory(seed: int, pages: int, page_size: int = PAGE) -> bytes:
    """Pages of which a third is zero, some in rows."""
    chance = random.Random(seed)
    parts: list[bytes] = []
    while len(parts) < pages:
        row = chance.choice((1, 1, 2, 9, 40))
        zero = chance.random() < 0.4
        parts += [bytes(page_size) if zero else chance.randbytes(page_size) for _ in range(row)]
    return b"".join(parts[:pages])


def mutated(content: bytes, seed: int, page_size: int = PAGE) -> bytes:
    """Some pages with another byte, some wiped, some filled."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for page in range(len(content) // page_size):
        what = chance.random()
        start = page * page_size
        if what < 0.1:
            changed[start + chance.randrange(page_size)] ^= 1 << chance.randrange(8)
        elif what < 0.2:
            changed[start : start + page_size] = bytes(page_size)
        elif what < 0.3:
            changed[start + chance.randrange(page_size)] = 7
    return bytes(changed)


def image_of(*blocks: Block, **options: Any) -> bytes:
    """An image with these blocks."""
    builder = StreamBuilder(**options).header().configuration()
    return builder.mapped_ram(*blocks).eof().file()


def naive(a: bytes, b: bytes, page_size: int) -> dict[str, list[int]]:
    """Pages that differ, by kind, as a loop."""
    length = max(len(a), len(b))
    a, b = a.ljust(length, b"\0"), b.ljust(length, b"\0")
    found: dict[str, list[int]] = {"changed": [], "only-a": [], "only-b": []}
    for page in range(length // page_size):
        one, other = (side[page * page_size : (page + 1) * page_size] for side in (a, b))
        if one != other:
            kind = "only-b" if not any(one) else "only-a" if not any(other) else "changed"
            found[kind].append(page)
    return found


def pages_of(block: Any) -> dict[str, list[int]]:
    """Pages that a comparison found, by kind."""
    found: dict[str, list[int]] = {"changed": [], "only-a": [], "only-b": []}
    for one in block.ranges:
        found[one.change.value] += range(one.first_page, one.first_page + one.pages)
    return found


def compared(a: bytes, b: bytes, **options: Any) -> Any:
    """What differs between two images in memory."""
    with open_bytes(a) as first, open_bytes(b) as second:
        return diff(first, second, Options(**options))


def with_device(body: bytes, *fields: dict[str, Any], name: str = "dev", version: int = 1) -> bytes:
    """An image with one device that is described."""
    builder = StreamBuilder().header().configuration().mapped_ram(Block(b"ram", bytes(PAGE)))
    described = {**device(name, len(body)), "fields": list(fields), "version": version}
    builder.start(3, name.encode(), full=True, version=version)
    builder.put("device", body).footer(3)
    return builder.described(described).file()


FIELDS = (uint("count"), uint("clock", 8), uint("regs", 2, array_len=4),
          {"name": "name", "type": "buffer", "size": 20})  # fmt: skip
