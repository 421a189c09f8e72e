"""Machines as `-machine help` lists them.

Upstream: QEMU system/vl.c machine_help_func(): an alias has a line of its own.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["Machine", "family_of", "read_machines"]

#: `q35   Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-10.0)`
_LINE = re.compile(
    r"(?P<name>\S+) +.*?(?: \(alias of (?P<alias_of>[^)\s]+)\))?(?: \(default\))?"
    r"(?P<deprecated> \(deprecated\))?"
)
_HEADING = "Supported machines are:"
#: The version at the end of a machine's name, and what may come after it (pseries-2.12-sxxm).
_VERSION = re.compile(r"-\d+(?:\.\d+)+(?:-\w+)?")


class Machine(msgspec.Struct, frozen=True, array_like=True):
    """A machine type; alias_of is the machine that QEMU makes where this name is only an alias."""

    name: str
    alias_of: str | None = None
    deprecated: bool = False


def read_machines(text: str) -> dict[str, Machine]:
    """Machines by name, as sorted; ValueError for what is no such list."""
    machines = {}
    for line in text.splitlines():
        if not line.strip() or line == _HEADING:
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise ValueError(f"no line of -machine help: {line!r}")
        name = match["name"]
        machines[name] = Machine(name, match["alias_of"], match["deprecated"] is not None)
    if "none" not in machines:  # every QEMU has it
        raise ValueError("no list of machines: `none` is not in it")
    return dict(sorted(machines.items()))


def family_of(name: str) -> str | None:
    """What the versions of a machine have in common (`pc-q35`); None: its name has no version."""
    match = _VERSION.search(name)
    return name[: match.start()] if match and match.end() == len(name) else None
