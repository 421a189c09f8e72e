"""All faults by name: importing their modules registers them."""

from __future__ import annotations

import difflib

from fixedram_fmt.write.faults import layout, memory, records, sections  # noqa: F401
from fixedram_fmt.write.faults.fault import CATALOGUE, Fault, FaultError

__all__ = ["catalogue", "fault_named"]


def catalogue() -> dict[str, Fault]:
    """All faults by name, in the order in which they are written down."""
    return CATALOGUE


def fault_named(name: str) -> Fault:
    """The fault of that name; FaultError with the nearest names if there is none."""
    faults = catalogue()
    if name not in faults:
        close = difflib.get_close_matches(name, faults, n=3)
        raise FaultError(
            f"there is no fault {name!r}",
            hint=f"did you mean {', '.join(close)}?" if close else "--list-faults shows them all",
        )
    return faults[name]
