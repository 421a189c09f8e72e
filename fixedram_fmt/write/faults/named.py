"""All faults by name: importing their modules registers them."""

from __future__ import annotations

import difflib

import msgspec

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import Result
from fixedram_fmt.write.faults import layout, memory, records, sections  # noqa: F401
from fixedram_fmt.write.faults.fault import CATALOGUE, Fault, FaultError

__all__ = ["FaultList", "FaultSummary", "catalogue", "fault_list", "fault_named"]


class FaultSummary(Result, frozen=True):
    """A fault that can be put into an image; plain and multifd are what QEMU 10.0 does with it."""

    name: str
    text: str
    plain: Outcome = msgspec.field(name="qemu-10.0")
    multifd: Outcome = msgspec.field(name="qemu-10.0 multifd")


class FaultList(Result, frozen=True):
    """Every fault by name."""

    faults: tuple[FaultSummary, ...]


def fault_list() -> FaultList:
    """What `synth --list-faults` tells."""
    faults = catalogue().values()
    return FaultList(
        tuple(FaultSummary(one.name, one.text, one.plain, one.multifd) for one in faults)
    )


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
