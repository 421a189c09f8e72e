"""The one root of everything this library raises about a file, with coordinates.

An error says where (byte offset in the file, path of the structure), what was found and what was
expected, so that a person with a hex editor can go and look.  Programming mistakes stay ordinary
Python exceptions.
"""

from __future__ import annotations

__all__ = ["FixedRamError", "FormatError", "SourceError", "TruncatedError", "UnsupportedError"]


class FixedRamError(Exception):
    """What is wrong, and where.

    offset is a byte offset in the file, path the structure (``section[0]/ram/block[3]/header``);
    expected, found and hint are short texts, empty when there is nothing to say.  code names the
    kind of error for programs, where that matters to anyone.
    """

    code = ""

    def __init__(  # noqa: PLR0913  each is a coordinate
        self,
        message: str,
        *,
        offset: int | None = None,
        path: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.path = path
        self.expected = expected
        self.found = found
        self.hint = hint
        self.code = code or type(self).code

    def __str__(self) -> str:
        where = f"at {self.offset:#x}" if self.offset is not None else ""
        if self.path:
            where = f"{where} in {self.path}".strip()
        text = f"{where}: {self.message}" if where else self.message
        if self.expected:
            text += f"; expected {self.expected}"
        if self.found:
            text += f"; found {self.found}"
        if self.hint:
            text += f"; {self.hint}"
        return text


class SourceError(FixedRamError):
    """The bytes could not be had: no such file, a read error, a range outside the file."""


class FormatError(FixedRamError):
    """The bytes are there and contradict the format."""


class TruncatedError(FormatError):
    """The file ends inside a structure."""

    code = "truncated"


class UnsupportedError(FixedRamError):
    """Recognised, but this installation cannot read it; hint says what would help."""
