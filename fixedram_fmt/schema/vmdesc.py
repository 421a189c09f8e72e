"""The JSON of a description (vmdesc), as classes: what QEMU writes about each device's state.

Upstream: QEMU migration/vmstate.c vmsd_desc_field_start() and vmstate_save_dispatch(),
migration/savevm.c vmstate_save_old_style().  Two depths of the same objects: sizes alone, which is
all that a walk over the stream needs, and everything.  Nested structures stay text (Raw) until one
is compiled, so that equal ones are read once.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.stream import SectionType

__all__ = [
    "DEPTH_CEILING",
    "NAME_CEILING",
    "SIZE_CEILING",
    "Device",
    "Document",
    "Field",
    "Sized",
    "SizedDevice",
    "SizedDocument",
    "SizedField",
    "Vmstate",
    "decoded",
    "header_size",
]

#: A name's length is one byte in the stream.
NAME_CEILING = 255

#: No size, count or offset in a device's state is larger, in bytes.
SIZE_CEILING = 1 << 48

#: Structures inside structures deeper than this are not QEMU's.
DEPTH_CEILING = 32

#: Commas in a description: 255 vCPUs have 100,000, one of 16 MiB (the longest that is read) fewer
#: than a million.
_PARTS_CEILING = 1 << 20
#: Devices, fields and structures: 255 vCPUs have 27,000.
_OBJECTS_CEILING = 1 << 18

#: Bytes of a subsection's header, its name left out.
_NAMELESS = len(stream.SUBSECTION.build(stream.Subsection(SectionType.SUBSECTION, b"", 0)))


def decoded(text: bytes, kind: type[T]) -> T:
    """A description's text as a document of a kind; ValueError where its parts are too many.

    Each part is an object, tens of times as large as its text can be; all but the first of a list
    or object have a comma before them.
    """
    if text.count(b",") > _PARTS_CEILING or text.count(b"{") > _OBJECTS_CEILING:
        raise ValueError("more parts than the description of any machine has")
    document = msgspec.json.decode(text, type=kind)
    if len(document.devices) > stream.SECTIONS_CEILING:
        raise ValueError(f"{len(document.devices)} devices, more than a stream has sections")
    return document


def header_size(vmsd_name: str) -> int:
    """Bytes of the header of a subsection; ValueError for a name that has no place in one."""
    length = len(vmsd_name.encode())
    if length > NAME_CEILING:
        raise ValueError(f"a subsection's name of {length} bytes")
    return _NAMELESS + length


# -- sizes alone --------------------------------------------------------------------------------


class SizedField(msgspec.Struct, gc=False, kw_only=True):
    """size covers everything inside one element, array_len the elements in a row; in bytes."""

    size: int
    array_len: int | None = None

    @property
    def count(self) -> int:
        """Elements in a row."""
        return 1 if self.array_len is None else self.array_len


class Sized(msgspec.Struct, gc=False, kw_only=True):
    """Fields, then subsections with a header each; or only a size (vmstate_save_old_style)."""

    vmsd_name: str = ""
    fields: tuple[SizedField, ...] | None = None
    subsections: tuple[SizedSubsection, ...] = ()
    size: int = 0


class SizedSubsection(Sized, gc=False, kw_only=True):
    """Its name is in the stream, so it must have one."""

    vmsd_name: str


class SizedDevice(Sized, gc=False, kw_only=True):
    """One entry of `devices`."""

    name: str
    instance_id: int
    version: int = 0


class SizedDocument(msgspec.Struct):
    """The description as a whole, as far as sizes go."""

    devices: list[SizedDevice]
    page_size: int | None = None
    configuration: Sized = msgspec.field(default_factory=Sized)


# -- everything ---------------------------------------------------------------------------------


class Field(SizedField, gc=False, kw_only=True):
    """A field; index says that it is one element of an array that QEMU wrote apart.

    A `struct` has the nested structure; a `tmp` is one itself (fields, subsections).
    """

    name: str
    type: str
    index: int | None = None
    struct: msgspec.Raw = msgspec.Raw()
    vmsd_name: str = ""
    version: int = 0
    fields: msgspec.Raw = msgspec.Raw()
    subsections: msgspec.Raw = msgspec.Raw()

    @property
    def in_array(self) -> bool:
        """Whether it is an array, or an element of one."""
        return self.array_len is not None or self.index is not None


class Vmstate(msgspec.Struct, kw_only=True):
    """A structure, its subsections still as text; a size where there are no fields."""

    vmsd_name: str = ""
    version: int = 0
    fields: list[Field] | None = None
    subsections: list[msgspec.Raw] = []
    size: int = 0


class Device(msgspec.Struct, gc=False, kw_only=True):
    """One entry of `devices`; what it is made of stays text until it is compiled."""

    name: str
    instance_id: int
    vmsd_name: str = ""
    version: int = 0
    fields: msgspec.Raw = msgspec.Raw()
    subsections: msgspec.Raw = msgspec.Raw()
    size: int = 0


class Document(msgspec.Struct):
    """The description as a whole."""

    devices: list[Device]
    page_size: int | None = None


T = TypeVar("T", SizedDocument, Document)
