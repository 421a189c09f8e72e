"""Images of one hand-made device, and what a receiver finds in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fixedram_fmt.receiver.judging import misfits
from fixedram_fmt.receiver.receiver import CheckedValue, Receiver
from fixedram_fmt.schema.vmdesc import Field
from fixedram_fmt.vmstate.structure import Structure, subsection_header_of
from support.builders import StreamBuilder, open_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver.misfit import Misfit

Fields = list[dict[str, Any]]


# -- structures without an image -------------------------------------------------------------------


def field(name: str, type_: str = "uint32", size: int = 4, count: int | None = None) -> Field:
    return Field(name=name, type=type_, size=size, array_len=count)


def structure(
    *fields: Field | tuple[str, Structure] | tuple[str, Structure, int],
    name: str = "dev",
    subsections: Sequence[Structure] = (),
) -> Structure:
    """A structure of plain fields, and of structures (name, structure, number of elements)."""
    plain: list[Field] = []
    nested: list[Structure | None] = []
    for one in fields:
        if isinstance(one, Field):
            plain.append(one)
            nested.append(None)
        else:
            count = one[2] if len(one) == 3 else None
            plain.append(field(one[0], "struct", one[1].size, count))
            nested.append(one[1])
    return Structure(name, 1, plain, nested, subsections)


# -- images of one device --------------------------------------------------------------------------


class Part(NamedTuple):
    """A field of a description, and its bytes."""

    field: dict[str, Any]
    raw: bytes


def part(name: str, type_: str, raw: bytes, count: int | None = None, **more: Any) -> Part:
    size = len(raw) if count is None else len(raw) // max(count, 1)
    array = {} if count is None else {"array_len": count}
    return Part({"name": name, "type": type_, "size": size, **array, **more}, raw)


def number(name: str, value: int, type_: str = "uint32") -> Part:
    """A number, as long as its type says."""
    digits = type_.split(" ", 1)[0].partition("int")[2]
    size = int(digits) // 8
    return part(name, type_, (value % (1 << 8 * size)).to_bytes(size, "big"))


def struct(name: str, *parts: Part, vmsd: str = "inner", count: int | None = None) -> Part:
    """A structure of parts, or an array of equal ones."""
    inner = {"vmsd_name": vmsd, "version": 1, "fields": [one.field for one in parts]}
    raw = b"".join(one.raw for one in parts) * (1 if count is None else count)
    return part(name, "struct", raw, count, struct=inner)


class Sub(NamedTuple):
    """A subsection of parts."""

    name: str
    parts: tuple[Part, ...]

    @property
    def raw(self) -> bytes:
        body = b"".join(one.raw for one in self.parts)
        return subsection_header_of(self.name, 1) + body

    @property
    def described(self) -> dict[str, Any]:
        return {
            "vmsd_name": self.name,
            "version": 1,
            "fields": [one.field for one in self.parts],
        }


def saved(name: str, *parts: Part | Sub, vmsd: str | None = None) -> Image:
    """An image of one device with its description."""
    plain = [one for one in parts if isinstance(one, Part)]
    subs = [one for one in parts if isinstance(one, Sub)]
    builder = StreamBuilder().header().configuration(b"pc")
    builder.full(3, name.encode(), b"".join(one.raw for one in (*plain, *subs)))
    entry: dict[str, Any] = {
        "name": name,
        "instance_id": 0,
        "vmsd_name": vmsd or name.rpartition("/")[2],
        "version": 1,
        "fields": [one.field for one in plain],
    }
    if subs:
        entry["subsections"] = [one.described for one in subs]
    return open_bytes(builder.described(entry).file())


def found(image: Image, own: Image | Receiver) -> list[Misfit]:
    """What the VM that own was saved from would refuse of image."""
    receiver = own if isinstance(own, Receiver) else Receiver.of_image(own)
    return list(misfits(image, receiver))


def with_contents(receiver: Receiver, device: str, **values: tuple[str, str]) -> Receiver:
    """A receiver with other contents of a device: type and hexadecimal digits by path."""
    from msgspec.structs import replace

    contents = {path: CheckedValue(*value) for path, value in values.items()}
    return replace(receiver, contents={device: contents})


__all__ = [
    "Part", "Sub", "field", "found", "number", "part", "saved", "struct", "structure",
    "with_contents",
]  # fmt: skip
