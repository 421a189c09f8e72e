"""A vmstate structure, compiled: where each field lies, and one struct.Struct that reads them all.

A description (vmdesc) is interpreted once per distinct structure, not once per field and element:
arrays and equal structures share what was worked out here.  Upstream: QEMU migration/vmstate.c
vmstate_save_state_v(), migration/vmstate-types.c for how each type is put into the stream.
"""

from __future__ import annotations

import struct
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixedram_fmt.vmstate.model import Field

    Body = bytes | memoryview
    Convert = Callable[[Body, int], Any]

__all__ = ["Structure", "Subsection", "integer_of", "subsection_header", "subsection_header_of"]

#: A NULL pointer in an array of pointers: VMS_NULLPTR_MARKER.
_NULLPTR = b"0"


class Subsection(NamedTuple):
    """A subsection: its header and its structure, both relative to the start of the parent."""

    header_offset: int
    offset: int
    structure: Structure


# -- types ------------------------------------------------------------------------------------

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}

#: Types with one size; anything else is as many bytes as the description says.
_OTHERS = {("bool", 1): "?", ("timer", 8): "q", ("float64", 8): "d"}


def integer_of(type_: str) -> bool | None:
    """Whether integers of a type are signed; None for what is no integer.

    `equal` and `le` only say how a loader compares: with the value it has, or with a maximum.
    """
    name = type_.removesuffix(" equal").removesuffix(" le")
    signed = not name.startswith("u")
    digits = name.removeprefix("u").removeprefix("int")
    return signed if digits in _WIDTHS and name.endswith(f"int{digits}") else None


_WIDTHS = frozenset({"8", "16", "32", "64"})


class _Codec(NamedTuple):
    """How one element of a type is read: struct's code, and whether that is only its bytes."""

    code: str
    opaque: bool


def _codec(type_: str, size: int, cache: dict[tuple[str, int], _Codec]) -> _Codec:
    found = cache.get((type_, size))
    if found is None:
        signed = integer_of(type_)
        code = _OTHERS.get((type_, size), "")
        if signed is not None and size in _CODES:
            code = _CODES[size] if signed else _CODES[size].upper()
        elif type_ == "capability" and 0 < size <= 256:
            code = f"{size}p"
        found = cache[type_, size] = _Codec(code or f"{size}s", not code)
    return found


_codecs: dict[tuple[str, int], _Codec] = {}


# -- structures -------------------------------------------------------------------------------


class Structure:
    """Fields one after the other, then subsections with a header each; sizes in bytes.

    nested has the structure of each field, None where there is none.  values counts what decode()
    makes at most.  depth is that of structures in it.
    """

    def __init__(
        self,
        vmsd_name: str,
        version: int,
        fields: Sequence[Field],
        nested: Sequence[Structure | None],
        subsections: Sequence[Structure] = (),
    ) -> None:
        self.values: int
        self.size: int
        self.has_headers: bool
        self.vmsd_name = vmsd_name
        self.version = version
        self.fields = fields
        self.nested = nested
        counts = [field.count for field in fields]
        sizes = list(map(mul, counts, [field.size for field in fields]))
        self.offsets = list(accumulate(sizes, initial=0))
        at = self.offsets.pop()
        inner = [1 if child is None else child.values for child in nested]
        self.values = sum(map(mul, counts, inner)) + 1
        self.subsections: list[Subsection] = []
        for child in subsections:
            body = at + len(subsection_header(child))
            self.subsections.append(Subsection(at, body, child))
            at = body + child.size
            self.values += child.values
        self.size = at
        self.has_headers = bool(subsections) or any(child and child.has_headers for child in nested)

    def decode(self, body: Body, at: int = 0) -> dict[str, Any]:
        """The values of the structure that lies at offset at of body, by name.

        Numbers are int, bool or float; what is not known is bytes; arrays are lists, structures
        dicts, NULL pointers None.  body must hold the whole structure.
        """
        names, codec, special, grouped = self._plan
        values: Any = codec.unpack_from(body, at)
        if special:
            values = list(values)
            for position, offset, convert in special:
                values[position] = convert(body, at + offset)
        result = (
            _group(names, values, grouped) if grouped else dict(zip(names, values, strict=True))
        )
        for _, offset, structure in self.subsections:
            result[structure.vmsd_name] = structure.decode(body, at + offset)
        return result

    @cached_property
    def _plan(
        self,
    ) -> tuple[list[str], struct.Struct, list[tuple[int, int, Convert]], dict[str, bool]]:
        """Names, the format of all fields at once, and what it can only leave room for."""
        codes, special = [">"], []
        for position, (field, nested) in enumerate(zip(self.fields, self.nested, strict=True)):
            if nested is None and field.array_len is None and field.type != "nullptr":
                codes.append(_codec(field.type, field.size, _codecs).code)
            else:
                codes.append(f"0s{field.size * field.count}x")
                special.append((position, self.offsets[position], converter(field, nested)))
        names = [field.name for field in self.fields]
        return names, struct.Struct("".join(codes)), special, self.lists

    @cached_property
    def lists(self) -> dict[str, bool]:
        """Names that several fields make up together, as lists; empty where there are none.

        The value tells whether any name occurs more than once; True for each such name.
        """
        names = [field.name for field in self.fields]
        repeated = len(set(names)) < len(names)
        if not repeated and not any(field.index is not None for field in self.fields):
            return {}
        seen: dict[str, bool] = {}
        for field in self.fields:
            seen[field.name] = field.name in seen or field.index is not None
        return {name: True for name, several in seen.items() if several}

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
        one: Convert = nested.decode
    elif field.type == "nullptr":
        one = partial(_null, size=field.size)
    else:
        code, opaque = _codec(field.type, field.size, _codecs)
        if field.array_len is not None and not opaque:
            codec = struct.Struct(
                f">{field.count}{code}" if code[-1] != "p" else ">" + code * field.count
            )
            return partial(_numbers, codec)
        one = partial(_first, struct.Struct(">" + code))
    if field.array_len is None:
        return one
    return partial(_elements, one, field.count, field.size)


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


def _group(names: Sequence[str], values: Sequence[Any], lists: dict[str, bool]) -> dict[str, Any]:
    """Values by name, those of one name as one list: QEMU splits arrays around NULL pointers."""
    result: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
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
