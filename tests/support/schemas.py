"""The JSON Schemas of spec/schemas, which refer to one another by file name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[2] / "spec" / "schemas"


@cache
def _registry() -> Registry:
    documents = (json.loads(path.read_text()) for path in SCHEMAS.glob("*.schema.json"))
    named = ((one["$id"], Resource.from_contents(one)) for one in documents if "$id" in one)
    return Registry().with_resources(named)


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """What holds documents to a schema."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_registry())
