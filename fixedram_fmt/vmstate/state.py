"""The state of a machine's devices: decoded when asked for, found by path.

    for value in image.state.find("cpu*/env.eip"):
        print(value.path, hex(value.value))

A device whose body does not fit its description is kept as bytes, and says why (problem).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.vmstate.paths import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import Note
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["MachineState", "paths_of"]


class MachineState:
    """The devices of an image in the order of the stream, `configuration` first."""

    def __init__(self, devices: Sequence[DeviceState], notes: Sequence[Note] = ()) -> None:
        self.devices = tuple(devices)
        self.notes = [*notes, *(note for device in devices if (note := device.note))]
        self._by_section: dict[tuple[str, int], DeviceState] = {}
        for device in self.devices:
            self._by_section.setdefault((device.name, device.instance_id), device)

    def device(self, name: str, instance_id: int = 0) -> DeviceState | None:
        """The first device of that name and instance, None if there is none."""
        return self._by_section.get((name, instance_id))

    def find(self, pattern: str) -> Iterator[Value]:
        """Every value a glob means: `cpu*/env.eip`, `**/ioregsel`, `apic`."""
        compiled = Pattern(pattern)
        for device in self.devices:
            yield from device.find(compiled)

    def value(self, pattern: str) -> Value | None:
        """The first value a glob means, None if there is none."""
        return next(self.find(pattern), None)

    def get(self, pattern: str) -> Any:
        """The first value that a glob means, decoded; None where there is none to be had."""
        try:
            found = self.value(pattern)
            return None if found is None else found.value
        except FixedRamError:
            return None


def paths_of(names: Sequence[tuple[str, int]]) -> list[str]:
    """Paths of devices by name and instance_id; those that share both get a number after `#`."""
    named = Counter(name for name, _ in names)
    seen: Counter[str] = Counter()
    paths = []
    for name, instance in names:
        path = f"{name}/{instance}" if instance or named[name] > 1 else name
        seen[path] += 1
        paths.append(path if seen[path] == 1 else f"{path}#{seen[path]}")
    return paths
