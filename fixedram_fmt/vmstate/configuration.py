"""The configuration section as a device's state: the walk over the stream has read it already.

Its capabilities are strings of different lengths, which a description cannot say, and it is there
where a description is not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fixedram_fmt.blocks import Section
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.vmdesc import Field
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.vmstate.structure import Structure
from fixedram_fmt.vmstate.values import DeviceState, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.facts import ImageFacts

__all__ = ["configuration_state"]

_NAME = "configuration"
_VERSION = 1
_STRANGE = "the name of a subsection is no text"

#: Fields that are one number, by the record that holds it.
_NUMBERS = {
    Kind.TARGET_PAGE_BITS: "target_page_bits",
    Kind.CAPABILITIES: "caps_count",
}


def configuration_state(image: ImageFacts) -> DeviceState | None:
    """`configuration` with the fields QEMU gives it; None for a stream without one."""
    records = list(_records(image))
    if not records:
        return None
    # The section type byte is no part of the state.
    offset = records[0].offset + 1
    names = [record.value.idstr for record in records if record.kind is Kind.SUBSECTION]
    # Others are told escaped, and are longer then than they are.
    as_text = all(text(name).encode() == name for name in names)
    section = Section(
        section_id=-1,
        idstr=_NAME.encode(),
        instance_id=0,
        version_id=_VERSION,
        full=True,
        offset=records[0].offset,
        body_offset=offset,
        body_length=records[-1].stop - offset,
        delimited_by="records",
    )
    layout = Layout(_structure(records)) if as_text else Layout(None, problem=_STRANGE)
    return DeviceState(image.source, _NAME, section, layout)


def _records(image: ImageFacts) -> Iterator[Record[Any]]:
    """Everything from the configuration's type byte to the first section."""
    for record in image.known_records():
        if record.kind is Kind.FILE_HEADER:
            continue
        if record.path.partition("/")[0] != _NAME:
            return
        yield record


def _structure(records: list[Record[Any]]) -> Structure:
    """Fields up to the first subsection are the configuration's, then each has its own."""
    starts = [number for number, record in enumerate(records) if record.kind is Kind.SUBSECTION]
    fields = _fields(records[: starts[0]] if starts else records)
    subsections = []
    for start, stop in pairwise([*starts, len(records)]):
        header = records[start].value
        inner = _fields(records[start + 1 : stop])
        name, version = text(header.idstr), header.version_id
        subsections.append(Structure(name, version, inner, [None] * len(inner)))
    return Structure(_NAME, _VERSION, fields, [None] * len(fields), subsections)


def _fields(records: list[Record[Any]]) -> list[Field]:
    fields: list[Field] = []
    for record in records:
        if record.kind is Kind.CONFIGURATION:
            size = len(record.value.name)
            fields.append(Field(name="len", type="uint32", size=record.length - 1 - size))
            fields.append(Field(name="name", type="buffer", size=size))
        elif record.kind is Kind.CAPABILITY:
            fields.append(
                Field(
                    name="capabilities",
                    type="capability",
                    size=record.length,
                    index=len(fields) - 1,
                )
            )
        elif record.kind is Kind.UUID:
            fields.append(Field(name="uuid", type="uint8", size=1, array_len=record.length))
        elif record.kind in _NUMBERS:
            fields.append(Field(name=_NUMBERS[record.kind], type="uint32", size=record.length))
        else:
            fields.append(Field(name="body", type="unknown", size=record.length))
    return fields
