"""One thing that is known about a machine, and where from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.results import Result

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["Fact", "fact"]

_LONGEST_NUMBER = 8


class Fact(Result, frozen=True, omit_defaults=True):
    """name and value with the path of the value it comes from; text is how people read it."""

    name: str
    value: int | str | bool
    path: str
    text: str = ""


def fact(device: DeviceState | None, name: str, path: str) -> Fact | None:
    """The number at a path inside a device, None where there is none."""
    found = device.value(path) if device else None
    if found is None or found.size > _LONGEST_NUMBER:
        return None
    value = found.value
    if isinstance(value, bytes):
        # Types of one architecture (`cpsr`) are kept as bytes; these are numbers.
        value = int.from_bytes(value, "big")
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return Fact(name, value, found.path)
