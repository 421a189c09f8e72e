"""Text for people: safe whatever the file says, plain when nobody sees colours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from fixedram_fmt.image import Image

__all__ = [
    "bar",
    "console",
    "count",
    "print_line",
    "shade",
    "some",
    "unicode_terminal",
    "visible",
    "warn",
    "warn_if_stopped",
]

_NAMES = 8
_SHADES = {True: "·░▒▓█", False: ".-+x#"}


def visible(text: str) -> str:
    """text with everything that could act on a terminal (controls, bidi marks) made visible."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def console(*, stderr: bool = False) -> Console:
    """A rich console that never interprets markup; NO_COLOR and pipes are its business."""
    from rich.console import Console

    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
    )


def warn(text: str) -> None:
    """A note on stderr."""
    print(f"fixedram: {visible(text)}", file=sys.stderr)


def warn_if_stopped(image: Image, about: str = "the stream stops early") -> None:
    """A note on stderr where an image ends before its time: where, and why."""
    if image.stopped:
        warn(f"{about}: {image.stopped}")


def print_line(out: Console, text: Text) -> None:
    """Print text as one line; a terminal that is too narrow folds it, nothing is lost."""
    text.rstrip()
    if not out.is_terminal:
        # What rich would print, without its work on each line.
        out.file.write(text.plain + "\n")
        return
    out.print(text, soft_wrap=True)


def some(names: Sequence[str]) -> str:
    """The first of names, for a hint."""
    listed = ", ".join(names[:_NAMES]) or "none"
    return listed + (", ..." if len(names) > _NAMES else "")


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 page`, `2 pages`, with thousands set apart."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def unicode_terminal() -> bool:
    """Whether stdout can show more than ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def shade(part: int, whole: int) -> str:
    """One cell of a page map: nothing, then three steps, then all."""
    shades = _SHADES[unicode_terminal()]
    if not part:
        return shades[0]
    return shades[4] if part == whole else shades[1 + min(2, 3 * part // whole)]


def bar(cells: Sequence[tuple[int, int]]) -> str:
    """A row of cells (part, whole) as shades."""
    return "".join(shade(part, whole) for part, whole in cells)
