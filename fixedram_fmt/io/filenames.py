"""File names for things whose own names are data: safe in any folder, and no two alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["safe_names"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._@+-]+")
_LENGTH_CEILING = 100


def safe_names(names: Iterable[str], suffix: str = "") -> list[str]:
    """File names for names, in their order: no folder, no dot or dash in front, none twice.

    Told apart without regard to case, for file systems that have none.
    """
    #: The number that was given last to names of that stem; thousands may be alike.
    taken: dict[str, int] = {}
    chosen = []
    for name in names:
        stem = _UNSAFE.sub("_", name).strip("._-")[:_LENGTH_CEILING] or "block"
        candidate, number = stem, taken.get(stem.lower(), 1)
        while candidate.lower() in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken[stem.lower()] = number
        taken[candidate.lower()] = 1
        chosen.append(f"{candidate}{suffix}")
    return chosen
