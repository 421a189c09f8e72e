"""Schemas of what is in an image, as JSON shows it: records with their fields, sections, blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, DeviceBody, Kind, PageRun, Region
from fixedram_fmt.tiling import BlockRegion, Group, PagesRun
from specification.jsonschema import (
    BOOLEAN,
    HEX,
    INTEGER,
    TEXT,
    UNSIGNED,
    array,
    object_,
    one_of,
    optional,
)

__all__ = ["RECORD", "record_defs"]

_FLAGS = array({"type": "string", "pattern": "^[A-Z_]+$"})

#: What is shown of kinds that are no structure of the stream, by the class of their value.
_OTHERS: dict[Kind, tuple[type[Any], ...]] = {
    Kind.BITMAP: (BlockRegion,),
    Kind.PADDING: (BlockRegion,),
    Kind.PAGES: (PagesRun,),
    Kind.GROUP: (Group,),
    Kind.DEVICE: (DeviceBody,),
    Kind.PAGE: (PageRun,),
    Kind.ZERO: (PageRun,),
    Kind.XBZRLE: (PageRun,),
    Kind.COMPRESS_PAGE: (PageRun,),
    Kind.LIBVIRT_HEADER: (LIBVIRT_HEADER["little"].record,),
}

#: Fields of these kinds of value are bytes, shown as hexadecimal digits.
_HEX = frozenset({"uuid", "data"})
_TYPES = {"int": INTEGER, "int | None": INTEGER, "bool": BOOLEAN, "str": TEXT, "bytes": TEXT}


def _fields(kind: Kind) -> dict[str, Any]:
    """The schema of `fields`: what is empty is left out, so no key must be there."""
    schema = SCHEMA_OF_KIND.get(kind)
    if schema is not None and schema.names == ("word",):
        number = "size" if kind is Kind.MEM_SIZE else "address"
        return object_({"flags": _FLAGS, number: UNSIGNED})
    classes: tuple[type[Any], ...] = (schema.record,) if schema else _OTHERS.get(kind, (Region,))
    properties: dict[str, Any] = {}
    for class_ in classes:
        for field in dataclasses.fields(class_):
            type_ = HEX if field.name in _HEX else _TYPES[str(field.type)]
            properties[field.name] = optional(type_)
    if kind is Kind.COMMAND:
        properties["name"] = TEXT
    return object_(properties)


def record_defs() -> dict[str, Any]:
    """A definition for the fields of each kind."""
    return {f"fields of {kind.value}": _fields(kind) for kind in Kind}


def _record() -> dict[str, Any]:
    record = object_(
        {
            "offset": UNSIGNED,
            "length": UNSIGNED,
            "kind": one_of(*(kind.value for kind in Kind)),
            "path": TEXT,
            "fields": {"type": "object"},
            "bytes": optional(HEX),
            "layout": optional(
                array(object_({"name": TEXT, "offset": UNSIGNED, "length": UNSIGNED}))
            ),
        },
        "A range of the file with one owner; bytes and layout with --bytes.",
    )
    record["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind.value}}},
            "then": {"properties": {"fields": {"$ref": f"#/$defs/fields of {kind.value}"}}},
        }
        for kind in Kind
    ]
    return record


#: One record; the document must have record_defs() among its definitions.
RECORD = _record()
