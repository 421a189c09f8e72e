"""The catalogue of messages: data in catalogue/, one file an area, read when it is asked for.

An entry has its texts itself, or names by key a message that validate fills as well
(fixedram_fmt/validation/messages.py), whose texts are not written a second time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from fixedram_fmt.diagnosis.cause import Rank, Side
from fixedram_fmt.diagnosis.template import Template
from fixedram_fmt.io.documents import toml_document
from fixedram_fmt.validation.messages import LAST_LINE, MESSAGES

__all__ = ["CATALOGUE", "Entry", "Harmless", "Text", "catalogue", "harmless"]

CATALOGUE = Path(__file__).parent / "catalogue"
#: The key of the line with which QEMU ends; the others are those of MESSAGES.
LAST = "last-line"


class Text(msgspec.Struct, frozen=True):
    """One wording of a message; since is the first version with it, where that is known."""

    template: Template
    since: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message: what it means, who has to change, what to do.

    key or texts: at least one.  since and until are versions of QEMU or libvirt, as far as known.
    whole: the text is so short that it counts only as the whole of a line, what precedes a colon
    aside.  refines: it is the reason in QEMU's last line, and says more of messages that name only
    a field or a section.  rules are those of validate that find the same, the likeliest first.
    meaning and fix may use the holes that all texts have.
    """

    side: Side
    meaning: str
    fix: str
    key: str | None = None
    texts: tuple[str, ...] = ()
    source: str = ""
    since: str = ""
    until: str = ""
    rank: Rank = Rank.CAUSE
    rules: tuple[str, ...] = ()
    whole: bool = False
    refines: bool = False

    @property
    def wordings(self) -> tuple[Text, ...]:
        """All its texts, each once; an entry of a message that has none yields none."""
        own = [Text(Template(text), self.since) for text in self.texts]
        if self.key == LAST:
            own.append(Text(Template(LAST_LINE), self.since))
        elif self.key is not None:
            message = MESSAGES[self.key]
            by_version = {message.template: self.since}
            for major, text in message.since.items():
                by_version.setdefault(text, f"QEMU {major}")
            own += [Text(Template(text), since) for text, since in by_version.items() if text]
        return tuple(own)

    @property
    def origin(self) -> str:
        """The place in upstream's sources."""
        return self.source or (MESSAGES[self.key].source if self.key in MESSAGES else "")


class Harmless(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a log says when nothing is wrong; starts: a VM is started there."""

    text: str
    starts: bool = False


class _Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message: tuple[Entry, ...] = ()
    harmless: tuple[Harmless, ...] = ()


@cache
def _areas() -> tuple[_Area, ...]:
    documents: list[dict[str, Any]] = [
        toml_document(path.read_bytes()) for path in sorted(CATALOGUE.glob("*.toml"))
    ]
    return tuple(msgspec.convert(one, _Area) for one in documents)


@cache
def catalogue() -> tuple[Entry, ...]:
    """All entries, in the order of the files and in them."""
    return tuple(entry for area in _areas() for entry in area.message)


@cache
def harmless() -> tuple[Harmless, ...]:
    """What is no error."""
    return tuple(one for area in _areas() for one in area.harmless)
