"""The values of QEMU's options: `first,key=value,flag`, or JSON.

Upstream: QEMU util/qemu-option.c get_opt_name_value(), util/keyval.c.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from fixedram_fmt.errors import UnsupportedError

__all__ = ["KeyValues"]

#: A comma that parts; two stand for one.
_PART = re.compile(r"((?:[^,]|,,)*)(?:,|$)")


@dataclass(slots=True)
class KeyValues:
    """Keys and values in their order, in the form they had; of a key given twice the last counts.

    first is the key of a first word without `=`; a later one is a flag, whose value is None.
    """

    members: dict[str, Any]
    first: str
    as_json: bool = False

    @classmethod
    def of(cls, text: str, first: str) -> KeyValues:
        """Take a value apart; UnsupportedError where it is broken JSON."""
        if text.startswith("{"):
            return cls(_json_object(text), first, as_json=True)
        members: dict[str, Any] = {}
        for number, part in enumerate(_parts(text)):
            key, equals, value = part.partition("=")
            if not equals:
                members[part if number else first] = None if number else part
            else:
                members[key] = value
        return cls(members, first)

    def get(self, *keys: str) -> str | None:
        """The first of these keys that is there, as text."""
        for key in keys:
            value = self.members.get(key)
            if value is not None and not isinstance(value, (dict, list)):
                return str(value)
        return None

    def only(self, *keys: str) -> dict[str, Any]:
        """Those of these keys that are there."""
        return {key: self.members[key] for key in keys if key in self.members}

    def __str__(self) -> str:
        if self.as_json:
            return json.dumps(self.members)
        words: list[str] = []
        for key, value in self.members.items():
            if value is None:
                words.append(key)
                continue
            escaped = _text(value).replace(",", ",,")
            bare = key == self.first and not words and "=" not in escaped
            words.append(escaped if bare else f"{key}={escaped}")
        return ",".join(words)


def _text(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _parts(text: str) -> list[str]:
    found, start = [], 0
    while start < len(text):
        match = _PART.match(text, start)
        assert match
        found.append(match[1].replace(",,", ","))
        start = match.end()
    return found


def _json_object(text: str) -> dict[str, Any]:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(f"an argument is broken JSON: {text[:80]!r}") from error
    assert isinstance(made, dict)
    return made
