"""Device state as data: what is known of each device; its values are written piece by piece."""

from __future__ import annotations

from typing import Any

from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.vmstate.handcoded import HandCoded

__all__ = ["DeviceSummary", "StateNote", "StateSummary"]


class StateNote(Result, frozen=True):
    """Something odd, and where."""

    offset: int | None
    path: str
    message: str


class DeviceSummary(Result, frozen=True, omit_defaults=True):
    """A device: size in bytes, delimited_by what says where it ends, described_by what names it.

    fields are all values by the names of the image's own description (null: not described, or too
    long), values those that a path means, by path; summary is of sections written by hand.
    """

    name: str
    instance_id: Unsigned
    version: Unsigned
    section_id: int
    offset: Unsigned
    size: Unsigned
    delimited_by: str
    described_by: str | None
    problem: str | None
    fields: Any = ()
    values: dict[str, Any] | None = None
    summary: HandCoded | None = None


class StateSummary(Result, frozen=True):
    """Devices by path."""

    path: str
    complete: bool
    machine: str | None
    devices: dict[str, DeviceSummary]
    notes: tuple[StateNote, ...]
