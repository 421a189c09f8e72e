"""Results: what a command answers, as data whose fields are the keys of its JSON.

The JSON Schemas in spec/schemas are made of these classes and of their docstrings.
"""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Hex", "Result", "Sha256", "Unsigned", "WrittenPage", "builtins", "dumps", "pieces",
    "plain",
]  # fmt: skip

#: Types that say more in a schema than in Python.
Unsigned = Annotated[int, msgspec.Meta(ge=0)]
Hex = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

#: Pieces of JSON that are put together at once.
_TOKENS = 1 << 12


class Result(msgspec.Struct, frozen=True):
    """Immutable answer; its fields are the keys of its JSON, bytes are hexadecimal digits there.

    hidden are fields for programs that JSON leaves out.
    """

    hidden: ClassVar[frozenset[str]] = frozenset()


class WrittenPage(Result, frozen=True):
    """A page about the image at path, written to out, in bytes."""

    path: str
    out: str
    bytes: Unsigned


def plain(value: Any) -> Any:
    """value with what JSON lacks made text: bytes as digits, infinities and NaN by name."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def builtins(result: Any) -> dict[str, Any]:
    """A result as JSON has it, made of dictionaries, lists, numbers and text."""
    value: dict[str, Any] = json.loads(dumps(result))
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """value, which may hold results, as JSON: printable ASCII."""
    return "".join(pieces(value, indent))


def pieces(value: Any, indent: int | None = None) -> Iterator[str]:
    """The text of dumps() in pieces of some kilobytes; of results one level at a time is made."""
    tokens = json.JSONEncoder(indent=indent, default=_members).iterencode(value)
    while text := "".join(islice(tokens, _TOKENS)):
        # json leaves DEL as it is, and nothing else that is no printable ASCII.
        yield text.replace("\x7f", "\\u007f")


def _members(result: Any) -> dict[str, Any]:
    """Keys of a Struct or dataclass with values that may be results; TypeError for others."""
    if not isinstance(result, msgspec.Struct):
        return {one.name: plain(getattr(result, one.name)) for one in dataclasses.fields(result)}
    sparse = result.__struct_config__.omit_defaults
    hidden = getattr(result, "hidden", ())
    names, keys = result.__struct_fields__, result.__struct_encode_fields__
    defaults = result.__struct_defaults__
    required = len(names) - len(defaults)
    shown = {}
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        value = getattr(result, name)
        left_out = sparse and number >= required and value == defaults[number - required]
        if name not in hidden and not left_out:
            shown[key] = plain(value)
    return shown
