"""The state of a device, value by value: what each is, where it lies, what is inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fixedram_fmt.blocks import Note
from fixedram_fmt.errors import FormatError
from fixedram_fmt.vmstate.structure import BODY_CEILING, converter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.io.source import Source
    from fixedram_fmt.schema.vmdesc import Field
    from fixedram_fmt.vmstate.paths import Pattern
    from fixedram_fmt.vmstate.structure import Member, Structure

__all__ = ["DeviceState", "Layout", "Value", "children", "element", "member", "toward"]

_PIECE = 1 << 20
#: What weighs more is not decoded as a whole; vmstate/jsontext.py takes any number of them.
_WEIGHT_AT_ONCE = 1 << 17
#: More digits than any array has elements are no index.
_INDEX = re.compile(r"\[([0-9]{1,10})\]", re.ASCII)


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


@dataclass(eq=False, repr=False, slots=True)
class Value:
    """A device, a structure, an array or a single value, decoded when its value is asked for.

    type is the description's (`uint32`, `buffer`, `struct`, `array`); start is relative to the
    device's body, offset absolute in the file, size in bytes.  parts are the elements of an array
    that QEMU wrote apart.
    """

    device: DeviceState
    path: str
    type: str
    start: int
    size: int
    field: Field | None = None
    structure: Structure | None = None
    parts: list[Value] | None = None

    def __repr__(self) -> str:
        return f"<Value {self.path} {self.type} at {self.offset:#x}, {self.size} bytes>"

    @property
    def offset(self) -> int:
        """Where it begins in the file."""
        return self.device.offset + self.start

    @property
    def raw(self) -> bytes:
        """Its bytes; those of a split array come from all its parts."""
        if self.parts is not None:
            return b"".join(part.raw for part in self.parts)
        return self.device.read(self.start, self.size)

    def pieces(self) -> Iterator[bytes]:
        """raw in steps, for values of any length."""
        for part in self.parts or (self,):
            for start in range(0, part.size, _PIECE):
                yield part.device.read(part.start + start, min(_PIECE, part.size - start))

    @property
    def is_array(self) -> bool:
        """Whether it has elements."""
        one_array = self.field is not None and self.field.array_len is not None
        return one_array or self.parts is not None

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is inside it that has a path of its own, elements aside."""
        return self.structure is None and self.parts is None

    @property
    def value(self) -> Any:
        """int, bool, float, bytes, None (a NULL pointer), a list, or a dict by name.

        Raises FormatError where it is longer than is decoded at once.
        """
        if self.size > BODY_CEILING:
            raise FormatError(
                "this is too long to be decoded at once",
                offset=self.offset,
                path=self.path,
                expected=f"at most {BODY_CEILING} bytes",
                found=str(self.size),
            )
        if self.parts is not None:
            return _joined(self.parts)
        raw = self.raw
        if self.field is not None:
            return converter(self.field, self.structure)(raw, 0)
        return raw if self.structure is None else self.structure.decode(raw)


def _joined(parts: list[Value]) -> list[Any]:
    values: list[Any] = []
    for part in parts:
        value = part.value
        if part.is_array:
            values += value
        else:
            values.append(value)
    return values


def children(value: Value, *, elements: bool = True) -> Iterator[Value]:
    """What is directly inside a value; elements of plain arrays only where they are asked for."""
    if value.parts is not None:
        yield from _elements_of_parts(value, elements=elements)
    elif value.is_array:
        if elements or value.structure is not None:
            yield from _elements(value, value.path, 0)
    elif value.structure is not None:
        for one in value.structure.members:
            yield member(value, one)


def toward(value: Value, goal: str) -> Iterator[Value]:
    """The children of a value that are, or can hold, the value whose path is goal."""
    index = _INDEX.match(goal, len(value.path)) if value.is_array else None
    if index and value.parts is None and value.field is not None:
        number = int(index[1])
        if number < value.field.count:
            yield element(value, number)
        return
    for child in children(value, elements=index is not None):
        if goal.startswith(child.path) and goal[len(child.path) :][:1] in ("", "/", "["):
            yield child


def member(value: Value, one: Member) -> Value:
    """A member of a structure."""
    structure = value.structure
    assert structure is not None
    path = f"{value.path}/{one.name}"
    if one.subsection is not None:
        _, offset, child = structure.subsections[one.subsection]
        start = value.start + offset
        return Value(value.device, path, "subsection", start, child.size, structure=child)
    if one.split is None:
        assert one.position is not None
        return _field(value, structure, one.position, path)
    parts = [_field(value, structure, position, path) for position in one.split]
    size = sum(part.size for part in parts)
    return Value(value.device, path, "array", parts[0].start, size, parts=parts)


def _field(value: Value, structure: Structure, position: int, path: str) -> Value:
    field = structure.fields[position]
    return Value(
        value.device,
        path,
        field.type,
        value.start + structure.offsets[position],
        field.size * field.count,
        field=field,
        structure=structure.nested[position],
    )


def element(array: Value, number: int) -> Value:
    """An element of an array of equal ones."""
    field = array.field
    assert field is not None
    return _element(array, number, f"{array.path}[{number}]", replace(field, array_len=None))


def _element(array: Value, number: int, path: str, field: Field) -> Value:
    start = array.start + number * field.size
    return Value(
        array.device, path, field.type, start, field.size, field=field, structure=array.structure
    )


def _elements(array: Value, path: str, first: int) -> Iterator[Value]:
    """The elements of an array of equal ones, numbered from first on."""
    assert array.field is not None
    one = replace(array.field, array_len=None)
    for number in range(array.field.count):
        yield _element(array, number, f"{path}[{first + number}]", one)


def _elements_of_parts(array: Value, *, elements: bool) -> Iterator[Value]:
    """The elements of a split array; its parts are arrays and single ones in any order."""
    number = 0
    for part in array.parts or ():
        if not elements and part.structure is None:
            number += part.field.count if part.field else 1
        elif part.is_array:
            for one in _elements(part, array.path, number):
                yield one
                number += 1
        else:
            yield Value(
                part.device,
                f"{array.path}[{number}]",
                part.type,
                part.start,
                part.size,
                field=part.field,
                structure=part.structure,
            )
            number += 1
