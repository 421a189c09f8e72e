"""A vmstate structure, compiled: where each field lies, and one struct.Struct that reads them all.

A description (vmdesc) is interpreted once per distinct structure, not once per field and element:
arrays and equal structures share what was worked out here.  Upstream: QEMU migration/vmstate.c
vmstate_save_state_v(), migration/vmstate-types.c for how each type is put into the stream.
"""

from __future__ import annotations

import struct
from collections import Counter
from functools import lru_cache, partial
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.schema.vmdesc import header_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fixedram_fmt.schema.vmdesc import Field

    Body = bytes | memoryview
    Convert = Callable[[Body, int], Any]

__all__ = [
    "BODY_CEILING",
    "Member",
    "Structure",
    "Subsection",
    "fixed_size",
    "integer_of",
    "subsection_header",
    "subsection_header_of",
]

#: A longer body is not decoded as a whole; single values of it can still be had.
BODY_CEILING = 1 << 25

#: Characters of a path that a step takes besides its name: a slash, and an index.
_STEP_LENGTH = 9

#: A NULL pointer in an array of pointers: VMS_NULLPTR_MARKER.
_NULLPTR = b"0"


class Subsection(NamedTuple):
    """A subsection: its header and its structure, both relative to the start of the parent."""

    header_offset: int
    offset: int
    structure: Structure


class Member(NamedTuple):
    """One name in a structure: a field, fields of an array that was written apart, a subsection."""

    name: str
    position: int | None = None
    split: list[int] | None = None
    subsection: int | None = None


# -- types ------------------------------------------------------------------------------------

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}

#: Types with one size; anything else is as many bytes as the description says.
_OTHERS = {("bool", 1): "?", ("timer", 8): "q", ("float64", 8): "d"}


def fixed_size(type_: str) -> int | None:
    """Bytes of one element of a type that has one size; None for others."""
    if integer_of(type_) is not None:
        digits = type_.removesuffix(" equal").removesuffix(" le").partition("int")[2]
        return int(digits) // 8
    return next((size for name, size in _OTHERS if name == type_), None)


def integer_of(type_: str) -> bool | None:
    """Whether integers of a type are signed; None for what is no integer.

    `equal` and `le` only say how a loader compares: with the value it has, or with a maximum.
    """
    name = type_.removesuffix(" equal").removesuffix(" le")
    signed = not name.startswith("u")
    digits = name.removeprefix("u").removeprefix("int")
    return signed if digits in _WIDTHS and name.endswith(f"int{digits}") else None


_WIDTHS = frozenset({"8", "16", "32", "64"})


@lru_cache(maxsize=1024)
def _code(type_: str, size: int) -> str:
    """struct's code for one element of a type; what is no number is that many bytes."""
    signed = integer_of(type_)
    if signed is not None and size in _CODES:
        return _CODES[size] if signed else _CODES[size].upper()
    if type_ == "capability" and 0 < size <= 256:
        return f"{size}p"
    return _OTHERS.get((type_, size)) or f"{size}s"


# -- structures -------------------------------------------------------------------------------


#: Names, the format of all fields at once, what that can only leave room for (position, offset,
#: how it is read), and the names that several fields share.
_Plan = tuple[list[str], struct.Struct, list[tuple[int, int, "Convert"]], frozenset[str]]


class Structure:
    """Fields one after the other, then subsections with a header each; sizes in bytes.

    nested has the structure of each field, None where there is none.  offsets are the fields',
    relative to the start.  values counts what decode() makes at most, path_length the characters of
    all their paths, from this structure on.  lists are the names whose value is a list because QEMU
    wrote the elements apart.
    """

    __slots__ = (
        "_members",
        "_plan",
        "fields",
        "has_headers",
        "lists",
        "nested",
        "offsets",
        "path_length",
        "size",
        "subsections",
        "values",
        "version",
        "vmsd_name",
        "weight",
    )

    def __init__(
        self,
        vmsd_name: str,
        version: int,
        fields: Sequence[Field],
        nested: Sequence[Structure | None],
        subsections: Sequence[Structure] = (),
    ) -> None:
        self._plan: _Plan | None = None
        self._members: list[Member] | None = None
        self.vmsd_name = vmsd_name
        self.version = version
        self.fields = fields
        self.nested = nested
        self.lists = _lists(fields)
        counts = [1 if field.array_len is None else field.array_len for field in fields]
        sizes = map(mul, counts, [field.size for field in fields])
        self.offsets: list[int] = list(accumulate(sizes, initial=0))
        at = self.offsets.pop()
        self.values: int = sum(counts) + 1
        lengths = [len(field.name) + _STEP_LENGTH for field in fields]
        self.path_length: int = sum(map(mul, counts, lengths))
        self.has_headers: bool = bool(subsections)
        weights = map(_weight, fields)
        self.weight: float = 1 + sum(
            count * (x.weight if x else weight)
            for count, x, weight in zip(counts, nested, weights, strict=True)
        )
        if any(nested):
            below = [(x.values, x.path_length) if x else (1, 0) for x in nested]
            self.path_length = sum(
                count * (length * values + inner)
                for count, length, (values, inner) in zip(counts, lengths, below, strict=True)
            )
            self.values = 1 + sum(map(mul, counts, [x.values if x else 1 for x in nested]))
            self.has_headers |= any(x.has_headers for x in nested if x)
        self.subsections: list[Subsection] = []
        for child in subsections:
            body = at + header_size(child.vmsd_name)
            self.subsections.append(Subsection(at, body, child))
            at = body + child.size
            self.values += child.values
            self.weight += child.weight
            length = len(child.vmsd_name) + _STEP_LENGTH
            self.path_length += child.path_length + length * child.values
        self.size: int = at

    @property
    def members(self) -> list[Member]:
        """What is directly inside: fields, those of one name together where that is a list."""
        if self._members is None:
            positions: dict[str, list[int]] = {}
            members: list[Member] = []
            for position, field in enumerate(self.fields):
                if field.name not in self.lists:
                    members.append(Member(field.name, position))
                elif field.name in positions:
                    positions[field.name].append(position)
                else:
                    positions[field.name] = split = [position]
                    members.append(Member(field.name, split=split))
            for number, one in enumerate(self.subsections):
                members.append(Member(one.structure.vmsd_name, subsection=number))
            self._members = members
        return self._members

    def decode(self, body: Body, at: int = 0) -> dict[str, Any]:
        """The values of the structure that lies at offset at of body, by name.

        Numbers are int, bool or float; what is not known is bytes; arrays are lists, structures
        dicts, NULL pointers None.  body must hold the whole structure.
        """
        names, codec, special, lists = self._plan or self._planned()
        values: Any = codec.unpack_from(body, at)
        if special:
            values = list(values)
            for position, offset, convert in special:
                values[position] = convert(body, at + offset)
        pairs = zip(names, values)  # noqa: B905  both have one entry a field
        result = _group(pairs, lists) if lists else dict(pairs)
        for _, offset, structure in self.subsections:
            result[structure.vmsd_name] = structure.decode(body, at + offset)
        return result

    def decode_array(self, count: int, body: Body, at: int) -> list[dict[str, Any]]:
        """The values of count such structures in a row."""
        names, codec, special, lists = self._plan or self._planned()
        if special or lists or self.subsections or not self.size:
            return [self.decode(body, at + number * self.size) for number in range(count)]
        rows = codec.iter_unpack(memoryview(body)[at : at + count * self.size])
        return [dict(zip(names, row)) for row in rows]  # noqa: B905  as in decode

    def _planned(self) -> _Plan:
        codes: list[str] = []
        special: list[tuple[int, int, Convert]] = []
        names = []
        for position, field in enumerate(self.fields):
            names.append(field.name)
            nested = self.nested[position]
            if nested is None and field.array_len is None and field.type != "nullptr":
                codes.append(_code(field.type, field.size))
            else:
                codes.append(f"0s{field.size * field.count}x")
                special.append((position, self.offsets[position], converter(field, nested)))
        self._plan = names, struct.Struct(">" + "".join(codes)), special, self.lists
        return self._plan

    def headers(self, at: int = 0) -> Iterator[tuple[int, Structure]]:
        """Offset of each subsection's header in a body, with the subsection's structure."""
        if not self.has_headers:
            return
        for field, nested, offset in zip(self.fields, self.nested, self.offsets, strict=True):
            if nested is not None and nested.has_headers:
                for number in range(field.count):
                    yield from nested.headers(at + offset + number * field.size)
        for header, offset, structure in self.subsections:
            yield at + header, structure
            yield from structure.headers(at + offset)


def converter(field: Field, nested: Structure | None) -> Convert:
    """Reads field at an offset of a body: an array, a structure, a NULL pointer, or one value."""
    if nested is not None:
        if field.array_len is not None:
            return partial(nested.decode_array, field.array_len)
        one: Convert = nested.decode
    elif field.type == "nullptr":
        one = partial(_null, size=field.size)
    else:
        code = _code(field.type, field.size)
        if field.array_len is not None and len(code) == 1:
            return partial(_numbers, struct.Struct(f">{field.array_len}{code}"))
        one = partial(_first, struct.Struct(">" + code))
    if field.array_len is None:
        return one
    return partial(_elements, one, field.array_len, field.size)


def _numbers(codec: struct.Struct, body: Body, at: int) -> list[Any]:
    return list(codec.unpack_from(body, at))


def _first(codec: struct.Struct, body: Body, at: int) -> Any:
    return codec.unpack_from(body, at)[0]


def _elements(one: Convert, count: int, size: int, body: Body, at: int) -> list[Any]:
    return [one(body, at + number * size) for number in range(count)]


def _null(body: Body, at: int, size: int) -> bytes | None:
    """None for the marker of a NULL pointer; the bytes for anything else."""
    raw = bytes(body[at : at + size])
    return None if raw == _NULLPTR else raw


def _weight(field: Field) -> float:
    """What one element weighs."""
    return 0.125 if field.array_len is not None and field.size else 1


def _lists(fields: Sequence[Field]) -> frozenset[str]:
    """Names that occur more than once, or for one element of an array alone."""
    names = {field.name for field in fields}
    indexed = {field.name for field in fields if field.index is not None}
    if len(names) < len(fields):
        indexed.update(name for name, times in Counter(f.name for f in fields).items() if times > 1)
    return frozenset(indexed)


def _group(pairs: Iterable[tuple[str, Any]], lists: frozenset[str]) -> dict[str, Any]:
    """Values by name, those of one name as one list: QEMU splits arrays around NULL pointers."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name not in lists:
            result[name] = value
        elif isinstance(value, list):
            result.setdefault(name, []).extend(value)
        else:
            result.setdefault(name, []).append(value)
    return result


def subsection_header(structure: Structure) -> bytes:
    """What introduces a subsection in the stream."""
    return subsection_header_of(structure.vmsd_name, structure.version)


@lru_cache(maxsize=4096)
def subsection_header_of(name: str, version: int) -> bytes:
    """What introduces a subsection of that name and version in the stream."""
    header = stream.Subsection(SectionType.SUBSECTION, name.encode(), version)
    return stream.SUBSECTION.build(header)
