"""Images whose stream is strange in one way, and what a real QEMU 10.0 does with each, seen.

`two_blocks.py` has the machine that loads them; tests/interop asks it, tests/validation asks us.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema.stream import MigCmd
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.write.elements import Literal, Raw, Structure

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.write.faults.fault import Elements

__all__ = ["CASES"]

LOADS, REFUSES, CRASHES = Outcome.LOADS, Outcome.REFUSES, Outcome.CRASHES
EOS = struct.pack(">Q", 0x10)
TIMER = bytes(24)
DISCARD = b"\0\x06pc.ram\0" + struct.pack(">QQ", 0x1000, 0)


def command(number: int, data: bytes = b"") -> bytes:
    return struct.pack(">BHH", 8, number, len(data)) + data


def wrapped(inside: bytes) -> bytes:
    return command(MigCmd.PACKAGED, struct.pack(">I", len(inside))) + inside


def part(section_id: int, body: bytes) -> bytes:
    return struct.pack(">BI", 2, section_id) + body + struct.pack(">BI", 0x7E, section_id)


def full(section_id: int, name: bytes, version: int, body: bytes, *, kind: int = 4) -> bytes:
    head = struct.pack(">BIB", kind, section_id, len(name)) + name + struct.pack(">II", 0, version)
    return head + body + struct.pack(">BI", 0x7E, section_id)


def before(kind: Kind, data: bytes) -> Callable[[Elements], None]:
    """data in front of the first element of kind."""

    def change(e: Elements) -> None:
        e.insert(e.index(kind), Raw(Kind.UNKNOWN, "new", Literal(data)))

    return change


said = partial(before, Kind.SECTION_PART)
started = partial(before, Kind.SECTION_END)


def named(kind: Kind, field: str, name: bytes) -> Callable[[Elements], None]:
    return lambda e: e.change(kind, **{field: name})


def ram_of_section_0(e: Elements) -> None:
    for index, item in enumerate(e.items):
        if isinstance(item, Structure) and getattr(item.value, "section_id", None) == 1:
            e.items[index] = replace(item, value=replace(item.value, section_id=0))


OPEN = command(MigCmd.OPEN_RETURN_PATH)
PING = command(MigCmd.PING, b"\0\0\0\1")
ADVISE = command(MigCmd.POSTCOPY_ADVISE)
END = b"\0"

CASES: dict[str, tuple[Callable[[Elements], None], Outcome]] = {
    "ping": (said(PING), REFUSES),
    "ping on a return path": (said(OPEN + PING), LOADS),
    "return path twice": (said(OPEN + OPEN), LOADS),
    "advise": (said(ADVISE), LOADS),
    "advise twice": (said(ADVISE + ADVISE), REFUSES),
    "advise, listen": (said(ADVISE + command(MigCmd.POSTCOPY_LISTEN)), CRASHES),
    "advise, run": (said(ADVISE + command(MigCmd.POSTCOPY_RUN)), REFUSES),
    "advise, discard": (said(ADVISE + command(MigCmd.POSTCOPY_RAM_DISCARD, DISCARD)), CRASHES),
    "bitmap of a block": (said(command(MigCmd.RECV_BITMAP, b"\6pc.ram")), LOADS),
    "bitmap of no block": (said(command(MigCmd.RECV_BITMAP, b"\3foo")), REFUSES),
    "resume": (said(command(MigCmd.POSTCOPY_RESUME)), LOADS),
    "colo": (said(command(MigCmd.ENABLE_COLO)), REFUSES),
    "packaged: EOF": (said(wrapped(END)), LOADS),
    "packaged: nothing": (said(wrapped(b"")), REFUSES),
    "packaged: bytes after EOF": (said(wrapped(END + b"\x55junk")), LOADS),
    "packaged: no EOF": (said(wrapped(OPEN)), REFUSES),
    "packaged: return path": (said(wrapped(OPEN + END) + PING), LOADS),
    "packaged: ping": (said(wrapped(PING + END)), REFUSES),
    "packaged: packaged": (said(wrapped(wrapped(END) + END)), REFUSES),
    "packaged: unknown section type": (said(wrapped(b"\x55" + END)), REFUSES),
    "packaged: 16 MiB and more": (said(wrapped(bytes((1 << 24) + 1))), LOADS),
    "block ends at NUL": (named(Kind.BLOCK, "idstr", b"pc.ram\0x"), LOADS),
    "block of 255 bytes": (named(Kind.BLOCK, "idstr", b"pc.ram\0" + b"y" * 248), LOADS),
    "block begins with NUL": (named(Kind.BLOCK, "idstr", b"\0pc.ram"), REFUSES),
    "section ends at NUL": (named(Kind.SECTION_START, "idstr", b"ram\0x"), LOADS),
    "section of 255 bytes": (named(Kind.SECTION_START, "idstr", b"ram\0" + b"y" * 251), LOADS),
    "section begins with NUL": (named(Kind.SECTION_START, "idstr", b"\0ram"), REFUSES),
    "capability ends at NUL": (named(Kind.CAPABILITY, "capability", b"mapped-ram\0x"), LOADS),
    "capability begins with NUL": (named(Kind.CAPABILITY, "capability", b"\0mapped"), REFUSES),
    "subsection ends at NUL": (
        named(Kind.SUBSECTION, "idstr", b"configuration/capabilities\0x"), LOADS,
    ),
    "subsection begins with NUL": (
        named(Kind.SUBSECTION, "idstr", b"\0configuration/capabilities"), REFUSES,
    ),
    "machine begins with NUL": (named(Kind.CONFIGURATION, "name", b"\0pc"), REFUSES),
    "ram is section 0": (ram_of_section_0, REFUSES),
    "part of section 0": (started(part(0, EOS)), REFUSES),
    "part of no section": (started(part(7, EOS)), REFUSES),
    "timer, a part of it": (started(full(5, b"timer", 2, TIMER) + part(5, TIMER)), LOADS),
    "ram again with another id": (started(full(9, b"ram", 4, EOS, kind=1)), REFUSES),
    "a part after END": (before(Kind.EOF, part(1, EOS)), LOADS),
    "block migration": (
        before(Kind.SECTION_START, full(9, b"block", 1, struct.pack(">Q", 2))), REFUSES,
    ),
    **{
        f"{count} capabilities": (
            lambda e, count=count: e.change(Kind.CAPABILITIES, caps_count=count),
            CRASHES if count >> 31 else REFUSES,
        )
        for count in (0, 2, 65, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
    },
}  # fmt: skip
