"""FORMAT.md: written by hand, with parts between markers that are made here."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from specification import facts
from specification.example import example
from specification.meanings import STRUCTURES, VALUES
from specification.tables import structure, values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["parts", "render"]

_PART = re.compile(
    r"(?P<head><!-- made: (?P<name>[\w:-]+) -->\n).*?(?P<tail>^<!-- end -->)",
    re.DOTALL | re.MULTILINE,
)


def parts(sample: Path) -> dict[str, Callable[[], str]]:
    """What makes each part, by the name in its marker; sample is the image of the example."""
    made: dict[str, Callable[[], str]] = {
        "dialects": facts.dialects,
        "loaders": facts.loaders,
        "field-types": facts.field_types,
        "checks": facts.checks,
        "example": partial(example, sample),
    }
    made |= {f"structure:{key}": partial(structure, key) for key in STRUCTURES}
    made |= {f"values:{key}": partial(values, key) for key in VALUES}
    return made


def render(document: str, made: Mapping[str, Callable[[], str]]) -> str:
    """document with the text between its markers made anew.

    FixedRamError where a marker names no part, or a part has no place in the document.
    """
    seen: set[str] = set()

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in made:
            raise FixedRamError("a marker names no part", found=name, expected=", ".join(made))
        seen.add(name)
        return f"{match['head']}\n{made[name]()}\n{match['tail']}"

    text = _PART.sub(replaced, document)
    if seen != set(made):
        missing = ", ".join(sorted(set(made) - seen))
        raise FixedRamError("the document has no place for some parts", found=missing)
    return text
