"""The state of a machine's devices: decoded when asked for, found by path.

    for value in image.state.find("cpu*/env.eip"):
        print(value.path, hex(value.value))

A device whose body does not fit its description is kept as bytes, and says why (problem).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fixedram_fmt.blocks import Note
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.vmstate.paths import Pattern
from fixedram_fmt.vmstate.structure import BODY_CEILING
from fixedram_fmt.vmstate.values import Value, children, toward

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.vmstate.structure import Structure

#: What weighs more is not decoded as a whole; vmstate/jsontext.py takes any number of them.
_WEIGHT_AT_ONCE = 1 << 17

__all__ = ["DeviceState", "Layout", "MachineState", "paths_of"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a body is read: by which structure (None: not at all), whose, and what is odd."""

    structure: Structure | None
    described_by: str = ""
    problem: str = ""


class DeviceState:
    """The state of one device: [offset, offset + size) of the file, in bytes.

    path is `name`, or `name/instance` where it is not 0 or several devices share the name.
    """

    def __init__(self, source: Source, path: str, section: Section, layout: Layout) -> None:
        self.source = source
        self.path = path
        self.name = section.name
        self.instance_id = section.instance_id
        self.version_id = section.version_id
        self.section_id = section.section_id
        self.offset = section.body_offset
        self.size = section.body_length or 0
        self.delimited_by = section.delimited_by
        self.structure = layout.structure
        self.described_by = layout.described_by
        self.problem = layout.problem

    def __repr__(self) -> str:
        return f"<DeviceState {self.path} at {self.offset:#x}, {self.size} bytes>"

    def read(self, start: int, length: int) -> bytes:
        """Bytes [start, start + length) of the body."""
        return self.source.read_exact(self.offset + start, length, self.path)

    @cached_property
    def root(self) -> Value:
        """The device as one value, all others below it."""
        return Value(self, self.path, "struct", 0, self.size, structure=self.structure)

    @property
    def fields(self) -> dict[str, Any] | None:
        """All values by name; None for a device that is not described, or too long to decode."""
        if self.structure is None or self.size > BODY_CEILING:
            return None
        if self.structure.weight > _WEIGHT_AT_ONCE:
            return None
        return self.structure.decode(self.read(0, self.size))

    @property
    def note(self) -> Note | None:
        """What is odd about it, with where."""
        return Note(self.offset, self.path, self.problem, "device-state") if self.problem else None

    @property
    def names(self) -> tuple[str, str]:
        """What a path to it may begin with."""
        return self.name, f"{self.name}/{self.instance_id}"

    def value(self, path: str) -> Value | None:
        """The value at exactly this path inside the device (`env.regs[4]`), None: there is none.

        Looks only at what lies on the way, so that a thousand of them cost a thousand steps.
        """
        goal = f"{self.path}/{path}"
        pending = [self.root]
        while pending:
            value = pending.pop()
            if value.path == goal:
                return value
            pending += reversed([*toward(value, goal)])
        return None

    def find(self, pattern: Pattern) -> Iterator[Value]:
        """The values that pattern means, outermost first: what is inside one is not given again."""
        places = pattern.start(*self.names)
        if pattern.accepts(places):
            yield self.root
            return
        # One iterator a level: what waits to be looked at is not held.
        pending = [(children(self.root, elements=pattern.wants_elements), places, len(self.path))]
        while pending:
            inside, places, length = pending[-1]
            child = next(inside, None)
            if child is None:
                pending.pop()
                continue
            below = pattern.advance(places, child.path[length:])
            if pattern.accepts(below):
                yield child
            elif below:
                deeper = children(child, elements=pattern.wants_elements)
                pending.append((deeper, below, len(child.path)))


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
