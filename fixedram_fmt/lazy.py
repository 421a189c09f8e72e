"""Packages whose names are imported when first used: commands start fast."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["importer"]


def importer(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's __getattr__; home has the module of each name, relative to the package."""

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return load
