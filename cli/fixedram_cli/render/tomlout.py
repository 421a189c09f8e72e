"""TOML of plain values and of tables, which may have tables in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["toml"]

#: Tables that are deeper stand in one line each.
_HEADED = 2


def toml(document: Mapping[str, Any]) -> Iterator[str]:
    """Plain values first, then the tables."""
    for name, value in document.items():
        if not isinstance(value, dict):
            yield f"{name} = {_value(value)}\n"
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _table(name, value, 1)


def _table(path: str, table: Mapping[str, Any], depth: int) -> Iterator[str]:
    yield f"\n[{path}]\n"
    inner = {
        key: value for key, value in table.items() if isinstance(value, dict) and depth < _HEADED
    }
    for key, value in table.items():
        if key not in inner:
            yield f"{_value(key)} = {_value(value)}\n"
    for key, value in inner.items():
        yield from _table(f"{path}.{_value(key)}", value, depth + 1)


def _value(value: Any) -> str:
    """A text, a number, a list or a table of them; JSON's escapes are not all TOML's."""
    if isinstance(value, dict):
        pairs = (f"{_value(key)} = {_value(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if not isinstance(value, str):
        return str(value)
    if '"' in value and "'" not in value and value.isascii() and value.isprintable():
        # A description is full of quotes; escaped, it would be half as long again.
        return f"'{value}'"
    told = (
        char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08X}"
        for char in value
    )
    return f'"{"".join(told)}"'
