"""XBZRLE deltas and what QEMU 10.0 says of them; a decoder as naive as can be.

tests/stream/test_xbzrle.py holds ours to the table, tests/interop/test_xbzrle.py a real QEMU.
"""

from __future__ import annotations

from fixedram_fmt.schema import ram
from fixedram_fmt.schema.ram import RamSaveFlag
from support.synthetic import PAGE, ordinary, ram_word

__all__ = ["ADDRESS", "BASE", "CASES", "LENGTH", "naive", "stream_with"]

#: The page that the deltas are applied to: above what firmware and tables use.
ADDRESS, LENGTH = 2 << 20, 16 << 20
BASE = bytes(range(256)) * (PAGE // 256)

_DECODE, _LONG = "page - decode error!", "page - len overflow!"

#: Name: encoding, delta, what QEMU says (empty: it loads).
CASES: dict[str, tuple[int, bytes, str]] = {
    "empty": (1, b"", ""),
    "one-run": (1, b"\x00\x02AB", ""),
    "two-runs": (1, b"\x01\x01A\x01\x02BC", ""),
    "starts-unchanged": (1, b"\x05\x01A", ""),
    "up-to-the-last-byte": (1, b"\xff\x1f\x01A", ""),
    "long-run": (1, b"\x00\x80\x02" + b"A" * 256, ""),
    "length-in-two-bytes-that-is-small": (1, b"\x81\x00\x01A", ""),
    "empty-run-of-unchanged-bytes": (1, b"\x01\x01A\x00\x01B", _DECODE),
    "empty-run-of-new-bytes": (1, b"\x01\x00\x01\x01A", _DECODE),
    "ends-unchanged": (1, b"\x01\x01A\x05", _DECODE),
    "ends-unchanged-in-two-bytes": (1, b"\x01\x01A\x85\x01", _DECODE),
    "ends-in-new-bytes": (1, b"\x01\x05AB", _DECODE),
    "one-byte": (1, b"\x00", _DECODE),
    "length-of-three-bytes": (1, b"\x81\x81\x01\x01A", _DECODE),
    "past-the-page": (1, b"\xff\x1f\x02AB", _DECODE),
    "unchanged-past-the-page": (1, b"\x81\x20\x01A", _DECODE),
    "longer-than-a-page": (1, b"\x00\x01A" + b"\x01\x01A" * (PAGE // 3), _LONG),
    "other-encoding": (2, b"\x00\x01A", "page - wrong compression!"),
    "encoding-0": (0, b"\x00\x01A", "page - wrong compression!"),
}


def stream_with(encoding: int, delta: bytes) -> bytes:
    """An ordinary stream that sends the page at ADDRESS, then a delta of it."""
    name = ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram"))
    head = ram.XBZRLE_PAGE.build(ram.XbzrlePage(encoding, len(delta)))
    records = (
        ram_word(ADDRESS, RamSaveFlag.PAGE) + name + BASE
        + ram_word(ADDRESS, RamSaveFlag.XBZRLE, RamSaveFlag.CONTINUE) + head + delta
    )  # fmt: skip
    return ordinary(records, length=LENGTH)


def naive(page: bytes, delta: bytes) -> bytes | None:
    """The page after a delta, byte by byte; None where it is refused."""
    size, left = len(page), list(delta)
    if len(left) > size:
        return None
    result: list[int] = []
    first = True
    while left:
        unchanged = _take_length(left)
        if unchanged is None or (unchanged == 0 and not first):
            return None
        first = False
        changed = _take_length(left)
        if not changed or len(left) < changed:
            return None
        for _ in range(unchanged):
            if len(result) >= size:
                return None
            result.append(page[len(result)])
        for _ in range(changed):
            if len(result) >= size:
                return None
            result.append(left.pop(0))
    return bytes(result) + page[len(result) :]


def _take_length(left: list[int]) -> int | None:
    """A number of one or two bytes, 7 bits each; there must be two bytes to look at."""
    if len(left) < 2:
        return None
    low = left.pop(0)
    if low < 128:
        return low
    high = left.pop(0)
    return None if high >= 128 else low - 128 + 128 * high
