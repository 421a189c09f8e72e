"""A log as people paste it, line by line: colours, quotes and escapes of the way are taken off."""

from __future__ import annotations

import html
import io
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LINE_CEILING", "Line", "lines_of", "opened"]

#: Bytes of a line that are looked at as one; a longer one is read in pieces.
LINE_CEILING = 16 << 10

_COLOURS = re.compile(
    r"\x1b\[[0-9;:?]{0,32}[ -/]{0,4}[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|\x1b."
)
_QUOTES = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'",
    "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2033": '"',
    "\u00a0": " ", "\u202f": " ", "\u200b": None, "\ufeff": None,
})  # fmt: skip
_ZEROS = re.compile("\x00+")
#: QMP's error, in an answer (desc) and in query-migrate's (error-desc); libvirt logs both.
_DESC = re.compile(r"""["'](?:error-)?desc["']\s{0,8}:\s{0,8}"((?:[^"\\]|\\.)*)\"""")
_ESCAPED_BREAK = re.compile(r"\\r\\n|\\n|\\r")
#: Of quoted mails and code, at the beginning.
_QUOTED = re.compile(r"^(?:[>|]\s?)+")


class Line(NamedTuple):
    """A line of a log as it was meant; number counts from 1, cut: it is longer than can be read."""

    number: int
    text: str
    cut: bool


def opened(log: str | bytes | BinaryIO) -> BinaryIO:
    """A log to read; text as if it were a file."""
    if isinstance(log, str):
        return io.BytesIO(log.encode("utf-8", "surrogatepass"))
    return io.BytesIO(log) if isinstance(log, bytes) else log


def lines_of(log: BinaryIO) -> Iterator[Line]:
    """The lines of a log; what a program wrote as one message of several lines is several."""
    number, goes_on = 0, False
    while piece := log.readline(LINE_CEILING):
        piece = piece if number else piece.removeprefix(BOM_UTF16_LE).removeprefix(BOM_UTF16_BE)
        number += not goes_on
        goes_on = not piece.endswith(b"\n")
        cut = goes_on and len(piece) == LINE_CEILING
        if piece.isspace():
            goes_on = cut
            continue
        for text in _meant(piece.decode("utf-8", "backslashreplace")):
            yield Line(number, text, cut)
        goes_on = cut


def _meant(piece: str) -> Iterator[str]:
    if not piece.isascii():
        piece = piece.translate(_QUOTES)
    if "\x00" in piece:
        # Where a host went down a log has pages of them; in UTF-16 every second byte is one.
        piece = piece.replace("\x00", "") if _is_utf16(piece) else _ZEROS.sub("\n", piece)
    if "\x1b" in piece:
        piece = _COLOURS.sub("", piece)
    if "&" in piece:
        piece = html.unescape(piece)
    if "desc" in piece and (found := _DESC.findall(piece)):
        piece = "\n".join(map(_unescaped, found))
    elif "\\" in piece:
        piece = _ESCAPED_BREAK.sub("\n", piece).replace('\\"', '"').replace("\\'", "'")
    for text in re.split(r"[\r\n\x0b\x0c\x85\u2028\u2029]", piece):
        if stripped := _bare(text):
            yield stripped


def _is_utf16(piece: str) -> bool:
    """Whether each character of a line is followed, or led, by a zero, as PowerShell writes."""
    inner = piece.strip("\x00\n")
    return len(inner) > 1 and "\x00\x00" not in inner and inner.count("\x00") * 5 >= len(inner) * 2


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text.replace('\\"', '"')


def _bare(text: str) -> str:
    """Without the marks of a quotation around it."""
    text = text.strip()
    if text.startswith((">", "|")):
        text = _QUOTED.sub("", text)
    for mark in ("`", '"', "'"):
        if len(text) > 1 and text.startswith(mark) and text.endswith((mark, f"{mark},")):
            text = text.rstrip(",")[1:-1]
    return text.strip()
