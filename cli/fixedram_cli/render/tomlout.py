"""TOML of plain values and of tables of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["toml"]


def toml(document: Mapping[str, Any]) -> Iterator[str]:
    """Plain values first, then the tables."""
    for name, value in document.items():
        if not isinstance(value, dict):
            yield f"{name} = {_value(value)}\n"
    for name, value in document.items():
        if isinstance(value, dict):
            yield f"\n[{name}]\n"
            for key, inner in value.items():
                yield f"{_value(key)} = {_value(inner)}\n"


def _value(value: Any) -> str:
    """A text, a number or a list of them; JSON's escapes are not all TOML's."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if not isinstance(value, str):
        return str(value)
    told = (
        char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08X}"
        for char in value
    )
    return f'"{"".join(told)}"'
