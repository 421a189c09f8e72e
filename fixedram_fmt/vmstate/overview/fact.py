"""One thing that is known about a machine, and where from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fixedram_fmt.vmstate.state import MachineState

__all__ = ["Fact", "fact"]


@dataclass(frozen=True, slots=True)
class Fact:
    """name and value with the path of the value it comes from; text is how people read it."""

    name: str
    value: int | str | bool
    path: str
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {"name": self.name, "value": self.value, "path": self.path}
        return told | ({"text": self.text} if self.text else {})


def fact(state: MachineState, name: str, path: str) -> Fact | None:
    """The number at a path, None where there is none."""
    found = state.value(path)
    if found is None:
        return None
    value = found.value
    if isinstance(value, bytes) and len(value) <= 8:
        # Types of one architecture (`cpsr`) are kept as bytes; these are numbers.
        value = int.from_bytes(value, "big")
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return Fact(name, value, found.path)
