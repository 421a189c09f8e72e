"""Words to write JSON Schemas with: closed objects, so that a new key without a schema fails."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

__all__ = [
    "ANY",
    "BOOLEAN",
    "HEX",
    "INTEGER",
    "MAYBE_INTEGER",
    "MAYBE_TEXT",
    "NUMBER",
    "SHA256",
    "TEXT",
    "UNSIGNED",
    "array",
    "either",
    "fields_of",
    "mapping",
    "nullable",
    "object_",
    "one_of",
    "optional",
]

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
UNSIGNED: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def nullable(schema: Schema) -> Schema:
    """schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


MAYBE_TEXT = nullable(TEXT)
MAYBE_INTEGER = nullable(INTEGER)


def array(items: Schema) -> Schema:
    """A list of such."""
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """An object whose keys are data: names of blocks, devices."""
    return {"type": "object", "additionalProperties": values}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"enum": list(values)}


def either(*schemas: Schema) -> Schema:
    """Any of these forms."""
    return {"anyOf": list(schemas)}


def optional(schema: Schema) -> Schema:
    """A key of object_ that may be absent."""
    return {**schema, _OPTIONAL: True}


#: Marks a key inside object_; it does not get into the schema.
_OPTIONAL = "optional"


def object_(properties: Mapping[str, Schema], description: str = "") -> Schema:
    """An object with exactly these keys; those that are optional() may be absent."""
    # Docstrings of classes are indented before Python 3.13.
    made: Schema = {"description": inspect.cleandoc(description)} if description else {}
    made |= {
        "type": "object",
        "properties": {
            name: {key: value for key, value in schema.items() if key != _OPTIONAL}
            for name, schema in properties.items()
        },
        "required": [name for name, schema in properties.items() if not schema.get(_OPTIONAL)],
        "additionalProperties": False,
    }
    return made


_ANNOTATIONS = {
    "int": INTEGER,
    "str": TEXT,
    "bool": BOOLEAN,
    "bytes": TEXT,
    "int | None": MAYBE_INTEGER,
    "str | None": MAYBE_TEXT,
    "list[str]": array(TEXT),
}


def fields_of(record: type[DataclassInstance], **others: Schema) -> dict[str, Schema]:
    """The fields of a dataclass as properties; others are those that its annotations do not tell.

    KeyError for a field whose annotation is too much and that others has not.
    """
    return {
        field.name: others[field.name] if field.name in others else _ANNOTATIONS[str(field.type)]
        for field in dataclasses.fields(record)
    }
