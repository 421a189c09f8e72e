"""JSON Schemas of what commands print with --json, and of files that are read or made.

They are made of the types of results.  A command with another type of result: add it here, and run
`make spec`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.comparison import Diff
from fixedram_fmt.diagnosis import Diagnosis
from fixedram_fmt.digests import CheckedImages, ImageDigests
from fixedram_fmt.export.extracted import Extracted, ExtractionPlan
from fixedram_fmt.forensics import LayerFolder
from fixedram_fmt.guest import GuestSystem
from fixedram_fmt.memory.pieces import ReadMemory
from fixedram_fmt.memory.ranges import ShownMap
from fixedram_fmt.multifd.loadresult import (
    Explained,
    LoadResult,
    TimelineComparison,
    TimelineSummary,
)
from fixedram_fmt.pagemap.cells import ImageCells
from fixedram_fmt.recovery.rescued import RescueReport
from fixedram_fmt.rehearsal import Rehearsal, RehearsalPlan
from fixedram_fmt.results import WrittenPage
from fixedram_fmt.snapshots import SnapshotList
from fixedram_fmt.summary import ImageSummary
from fixedram_fmt.tiling import Dump, WritingPlan
from fixedram_fmt.validation import Receiver
from fixedram_fmt.validation.imagereport import ImageReports, RuleList
from fixedram_fmt.vmstate.overview import Overview
from fixedram_fmt.vmstate.statesummary import StateSummary
from fixedram_fmt.write.faults import FaultList
from specification.records import record_defs
from specification.vectors import Vectors

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SHARED", "schemas"]

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
#: The file that has each definition, once.
SHARED = "results"
_HEX = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}

#: What each command prints; of several types it is one.
_OUTPUTS: dict[str, tuple[type[Any], ...]] = {
    "info": (ImageSummary,),
    "dump": (Dump,),
    "copy": (ImageSummary, WritingPlan),
    "convert": (ImageSummary, WritingPlan),
    "rescue": (RescueReport,),
    "synth": (ImageSummary, WritingPlan, FaultList),
    "validate": (ImageReports,),
    "state": (StateSummary, Overview),
    "read": (ReadMemory, ShownMap),
    "extract": (Extracted, ExtractionPlan),
    "map": (ImageCells,),
    "report": (WrittenPage,),
    "load": (LoadResult,),
    "rehearse": (Rehearsal, RehearsalPlan),
    "sync": (TimelineSummary, TimelineComparison, Explained),
    "diff": (Diff,),
    "digest": (ImageDigests, CheckedImages),
    "diagnose": (Diagnosis,),
    "rules": (RuleList,),
    "destination": (Receiver,),
    "snapshots": (SnapshotList,),
    "guest": (GuestSystem,),
    "volatility-path": (LayerFolder,),
}
#: Files that no command prints, by name: titles and types.
_FILES = {"vectors": ("spec/vectors/*.json", Vectors)}


def schemas() -> dict[str, Schema]:
    """By name: each command's output (`destination` is that file's as well), and other files."""
    outputs = {name: (f"fixedram {name} --json", types) for name, types in _OUTPUTS.items()}
    outputs |= {name: (title, (one,)) for name, (title, one) in _FILES.items()}
    types = list(dict.fromkeys(one for _, several in outputs.values() for one in several))
    template = f"{SHARED}.schema.json#/$defs/{{name}}"
    references, definitions = msgspec.json.schema_components(types, ref_template=template)
    classes = _classes(types)
    for name, definition in definitions.items():
        _complete(definition, classes.get(name))
    _drop_hidden(definitions, [one.__name__ for one in types])
    definitions["RecordEntry"] |= {"allOf": list(_fields_by_kind(template))}
    definitions |= {f"fields of {kind}": fields for kind, fields in record_defs().items()}
    reference = dict(zip(types, references, strict=True))
    shared = {"title": "What fixedram prints with --json", "$defs": definitions}
    made = {SHARED: _document(SHARED, shared)}
    for name, (title, several) in outputs.items():
        forms = [reference[one] for one in several]
        made[name] = _document(
            name, {"title": title, **(forms[0] if len(forms) == 1 else {"anyOf": forms})}
        )
    return made


def _document(name: str, schema: Schema) -> Schema:
    return {"$schema": _DRAFT, "$id": f"{name}.schema.json", **schema}


def _classes(types: list[type[Any]]) -> dict[str, type[Any]]:
    """Structs and dataclasses inside types, by name."""
    found: dict[str, type[Any]] = {}

    def look(node: Any) -> None:
        if isinstance(node, msgspec.inspect.Type):
            if isinstance(node, (msgspec.inspect.StructType, msgspec.inspect.DataclassType)):
                if node.cls.__name__ in found:
                    return
                found[node.cls.__name__] = node.cls
            for name in node.__struct_fields__:
                look(getattr(node, name))
        elif isinstance(node, msgspec.inspect.Field):
            look(node.type)
        elif isinstance(node, tuple):
            for one in node:
                look(one)

    look(tuple(msgspec.inspect.multi_type_info(types)))
    return found


def _complete(definition: Schema, made_of: type[Any] | None) -> None:
    """What JSON shows of the class: no key but its fields, and all that it does not leave out."""
    if "description" in definition:
        # Python takes the indentation out of docstrings by itself since 3.13.
        definition["description"] = inspect.cleandoc(definition["description"])
    if made_of is None:
        return
    hidden: frozenset[str] = getattr(made_of, "hidden", frozenset())
    required = []
    for name, key, optional in _keys(made_of):
        if name in hidden:
            del definition["properties"][key]
            continue
        definition["properties"][key].pop("default", None)
        if not optional:
            required.append(key)
    definition |= {"required": required, "additionalProperties": False}
    _bytes_as_digits(definition)


def _drop_hidden(definitions: dict[str, Schema], wanted: list[str]) -> None:
    """Leave out what only hidden fields are made of."""
    reached: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += re.findall(r"#/\$defs/(\w+)", json.dumps(definitions[name]))
    for name in definitions.keys() - reached:
        del definitions[name]


def _keys(made_of: type[Any]) -> Iterator[tuple[str, str, bool]]:
    """Name and key of each field, and whether JSON leaves it out where it has its default."""
    if dataclasses.is_dataclass(made_of):
        yield from ((one.name, one.name, False) for one in dataclasses.fields(made_of))
        return
    for one in msgspec.structs.fields(made_of):
        sparse = made_of.__struct_config__.omit_defaults
        yield one.name, one.encode_name, sparse and not one.required


def _bytes_as_digits(node: Any) -> None:
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict) and value.pop("contentEncoding", None):
            value.update(_HEX)
        if isinstance(value, dict | list):
            _bytes_as_digits(value)


def _fields_by_kind(template: str) -> Iterator[Schema]:
    for kind in record_defs():
        yield {
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {"properties": {"fields": {"$ref": template.format(name=f"fields of {kind}")}}},
        }
