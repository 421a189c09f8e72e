"""Who writes fixed-layout images, as data: the dialects of FORMAT 8.

"fixed-ram" is the name the feature was reviewed under (version 4, early 2024); it was merged as
"mapped-ram" in QEMU 9.0.  The layout is the same, names and flags around it differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DIALECTS", "LAYOUTS", "ORDINARY", "X_IGNORE_SHARED", "Dialect", "DialectName",
    "dialect_of",
]  # fmt: skip

#: Capability with which each block entry carries the address of its region (all versions).
X_IGNORE_SHARED = b"x-ignore-shared"

#: What an image without any fixed layout is called.
ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way of writing a fixed layout: its name, its capability, and what goes around it."""

    name: str
    capability: bytes
    qemu_versions: str
    #: Whether MULTIFD_FLUSH is sent before the last EOS, with multifd on and the property off.
    flush_at_end: bool
    #: Whether a SWITCHOVER_START command precedes the last RAM section (since 10.0).
    switchover_start: bool


DIALECTS = (
    Dialect(
        "mapped-ram", b"mapped-ram", "9.0 and later", flush_at_end=False, switchover_start=True
    ),
    Dialect(
        "fixed-ram-v4",
        b"fixed-ram",
        "review version 4, never released",
        flush_at_end=True,
        switchover_start=False,
    ),
)


#: A name of theirs or ORDINARY, in results.
DialectName = Annotated[
    str,
    msgspec.Meta(extra_json_schema={"enum": [*(one.name for one in DIALECTS), ORDINARY]}),
]

#: Capabilities that mean a fixed layout.
LAYOUTS = frozenset(dialect.capability for dialect in DIALECTS)


def dialect_of(capabilities: Iterable[bytes]) -> Dialect | None:
    """The dialect that a stream's capabilities name, None for an ordinary stream."""
    names = set(capabilities)
    return next((dialect for dialect in DIALECTS if dialect.capability in names), None)
