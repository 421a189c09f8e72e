"""What a command's docstring tells: what it does, then examples."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Told", "told"]

_EXAMPLE = "Example: "


class Told(NamedTuple):
    """Paragraphs, the first of which is the title, and examples as they are typed."""

    text: list[str]
    examples: list[str]


def told(docstring: str) -> Told:
    """The parts of a docstring, each on one line."""
    paragraphs = [" ".join(one.split()) for one in re.split(r"\n\s*\n", docstring)]
    return Told(
        [one for one in paragraphs if one and not one.startswith(_EXAMPLE)],
        [one.removeprefix(_EXAMPLE) for one in paragraphs if one.startswith(_EXAMPLE)],
    )
