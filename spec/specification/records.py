"""Schemas of the fields of records, by kind: made of the structures of the format."""

from __future__ import annotations

import dataclasses
from typing import Any

from fixedram_fmt.container.qcow2snapshots import VmSnapshot
from fixedram_fmt.container.qcow2tiles import Clusters, Extension
from fixedram_fmt.schema import qcow2, xen
from fixedram_fmt.schema.libvirt import LIBVIRT_HEADER
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, DeviceBody, Kind, PageRun, Region
from fixedram_fmt.tiling import BlockRegion, Group, PagesRun

__all__ = ["record_defs"]

_FLAGS = {"type": "array", "items": {"type": "string", "pattern": "^[A-Z_]+$"}}
_DIGITS = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}

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
    Kind.CONTAINER: (
        Region, qcow2.Header, qcow2.HeaderExtension, Extension, VmSnapshot, Clusters, xen.XlHeader,
        xen.LibvirtXenHeader, xen.LibxlHeader, xen.RecordHeader, xen.LibxcHeader, xen.DomainHeader,
    ),
}  # fmt: skip

#: Fields of these kinds of value are bytes, shown as hexadecimal digits.
_HEX = frozenset({"uuid", "data"})
_TYPES = {
    "int": {"type": "integer"},
    "int | None": {"type": "integer"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "bytes": {"type": "string"},
}


def _fields(kind: Kind) -> dict[str, Any]:
    """The schema of `fields`: what is empty is left out, so no key must be there."""
    schema = SCHEMA_OF_KIND.get(kind)
    properties: dict[str, Any] = {}
    required = []
    if schema is not None and schema.names == ("word",):
        number = "size" if kind is Kind.MEM_SIZE else "address"
        properties = {"flags": _FLAGS, number: {"type": "integer", "minimum": 0}}
        required = list(properties)
    else:
        for one in (schema.record,) if schema else _OTHERS.get(kind, (Region,)):
            for field in dataclasses.fields(one):
                properties[field.name] = _DIGITS if field.name in _HEX else _TYPES[str(field.type)]
    if kind is Kind.COMMAND:
        properties["name"] = {"type": "string"}
        required = ["name"]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def record_defs() -> dict[str, Any]:
    """By kind, the schema of its fields."""
    return {kind.value: _fields(kind) for kind in Kind}
