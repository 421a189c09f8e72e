"""XBZRLE: what changed in a page, as runs of unchanged and of new bytes.

Upstream: QEMU migration/xbzrle.c xbzrle_decode_buffer(), util/cutils.c uleb128_decode_small()
(lengths of one or two bytes, 14 bits at most), docs/devel/migration/main.rst on XBZRLE.
"""

from __future__ import annotations

from fixedram_fmt.errors import FormatError

__all__ = ["apply_delta"]


def apply_delta(page: bytearray, delta: bytes, offset: int = 0) -> None:
    """Change page by delta, which lies at offset in the file (for errors).

    Raises FormatError for what load_xbzrle() and xbzrle_decode_buffer() refuse: a delta longer
    than the page, runs past the end of either, empty runs but for the first, and a last run of
    unchanged bytes.
    """
    at = done = 0
    size, end = len(page), len(delta)
    if end > size:
        raise _broken("it is longer than the page", offset)
    while at < end:
        unchanged, after = _length(delta, at, offset)
        if at and not unchanged:
            raise _broken("an empty run of unchanged bytes", offset + at)
        changed, start = _length(delta, after, offset)
        done += unchanged
        if not changed or done + changed > size or start + changed > end:
            raise _broken("a run that is empty or reaches past an end", offset + after)
        page[done : done + changed] = delta[start : start + changed]
        done += changed
        at = start + changed


def _length(delta: bytes, at: int, offset: int) -> tuple[int, int]:
    """A length, and where it ends; QEMU wants two bytes there whatever it takes."""
    if at + 1 >= len(delta):
        raise _broken("it ends inside a run", offset + at)
    first, second = delta[at], delta[at + 1]
    if first < 0x80:
        return first, at + 1
    if second & 0x80:
        raise _broken("a length of more than two bytes", offset + at)
    return first & 0x7F | second << 7, at + 2


def _broken(message: str, offset: int) -> FormatError:
    return FormatError(
        "an XBZRLE delta that cannot be applied: " + message,
        offset=offset,
        path="ram",
        expected="runs of unchanged and new bytes inside a page",
    )
