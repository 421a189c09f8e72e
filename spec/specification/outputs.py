"""JSON Schemas of what each command prints with --json, and of the destination file.

A new command or a new key: add it here, and run `make spec`.
"""

from __future__ import annotations

from typing import Any

from fixedram_fmt.blocks import Note
from fixedram_fmt.comparison.result import Change
from fixedram_fmt.container.wrapper import Container
from fixedram_fmt.dialect import DIALECTS, ORDINARY
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.multifd.timeline import Event
from fixedram_fmt.summary import BlockSummary, ImageSummary, SectionSummary
from fixedram_fmt.validation.rule import AREAS, Severity
from fixedram_fmt.validation.scope import JUDGED, Extent, Scope
from specification.jsonschema import (
    ANY,
    BOOLEAN,
    HEX,
    INTEGER,
    MAYBE_INTEGER,
    MAYBE_TEXT,
    NUMBER,
    SHA256,
    TEXT,
    UNSIGNED,
    array,
    either,
    fields_of,
    mapping,
    nullable,
    object_,
    one_of,
    optional,
)
from specification.records import RECORD, record_defs
from specification.stateschema import STATE, SUMMARY

__all__ = ["schemas"]

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SEVERITY = one_of(*Severity)
_LOADER = one_of(*LOADERS)
_VERDICT = one_of(*Outcome)
_CHANGE = one_of(*Change)
_RULE_ID = {"type": "string", "pattern": f"^[{''.join(AREAS)}][0-9]{{2}}$"}

_RANGE = object_(
    {"start": UNSIGNED, "stop": UNSIGNED, "block": TEXT, "offset": UNSIGNED,
     "kind": TEXT, "source": TEXT},
    "Guest-physical addresses [start, stop), and the block behind them.",
)  # fmt: skip

_LIBVIRT = object_(
    {"version": INTEGER, "byte_order": one_of("little", "big"), "format": TEXT,
     "was_running": BOOLEAN, "partial": BOOLEAN, "data_len": UNSIGNED, "cookie_offset": UNSIGNED,
     "domain": MAYBE_TEXT},
)  # fmt: skip

_INFO = object_(
    {
        name: schema
        for name, schema in fields_of(
            ImageSummary,
            container=object_(
                {"kind": TEXT, "stream_offset": UNSIGNED, "compression": optional(TEXT),
                 "libvirt": optional(_LIBVIRT)},
                str(Container.__doc__),
            ),
            dialect=one_of(*(dialect.name for dialect in DIALECTS), ORDINARY),
            byte_order=nullable(object_({"host_long": TEXT, "reason": TEXT})),
            stopped=nullable(
                object_({"offset": MAYBE_INTEGER, "path": TEXT, "truncated": BOOLEAN,
                         "message": TEXT, "summary": TEXT,
                         "section": nullable(
                             object_({"id": UNSIGNED, "name": TEXT, "instance_id": UNSIGNED,
                                      "offset": UNSIGNED, "inside": BOOLEAN}))})
            ),
            blocks=array(object_(fields_of(BlockSummary), str(BlockSummary.__doc__))),
            sections=array(object_(fields_of(SectionSummary), str(SectionSummary.__doc__))),
            vmdesc=nullable(
                object_({"offset": UNSIGNED, "length": UNSIGNED, "page_size": MAYBE_INTEGER,
                         "devices": UNSIGNED})
            ),
            memory_map=array(_RANGE),
            notes=array(object_(fields_of(Note))),
            page_map=ANY,
        ).items()
        if name != "page_map"
    },
    "One image at a glance; sizes and offsets in bytes.",
)  # fmt: skip

_PLAN = object_(
    {"pieces": array({"$ref": "#/$defs/record"})}, "What --plan prints: the file to be, in order."
)

_DUMP = object_(
    {"path": TEXT, "size": UNSIGNED, "stream_offset": UNSIGNED, "complete": BOOLEAN,
     "stopped": nullable(object_({"offset": MAYBE_INTEGER, "message": TEXT})),
     "records": array({"$ref": "#/$defs/record"})},
    "Every byte from stream_offset to the end of the file has one owner.",
)  # fmt: skip

_FINDING = object_(
    {"rule": _RULE_ID, "severity": _SEVERITY, "offset": MAYBE_INTEGER, "path": TEXT,
     "message": TEXT, "found": TEXT, "expected": TEXT, "fix": TEXT},
)  # fmt: skip

_VALIDATE = object_(
    {"images": array(object_({
        "path": TEXT,
        "loader": _LOADER,
        "multifd": BOOLEAN,
        "verdict": nullable(_VERDICT),
        "decided_by": nullable(_FINDING),
        "message": TEXT,
        "messages": array(TEXT),
        "verdicts": array(
            object_({"loader": _LOADER, "multifd": BOOLEAN, "verdict": _VERDICT})
        ),
        "judged": object_({name: one_of(*Extent) for name in JUDGED}, str(Scope.__doc__)),
        "not_judged": array(TEXT),
        "findings": array(_FINDING),
        "unlisted": mapping(UNSIGNED),
        "accepted": UNSIGNED,
        "error": MAYBE_TEXT,
    }))},
    "What is wrong with each image, and what loaders do with it.",
)  # fmt: skip

_RULES = object_(
    {"rules": array(object_({
        "id": _RULE_ID, "area": one_of(*AREAS.values()), "severity": _SEVERITY,
        "title": TEXT, "why": TEXT, "fix": TEXT, "source": TEXT,
    }))},
)  # fmt: skip

_SIZE = either(UNSIGNED, {"type": "string", "description": "a size with a suffix: 64M, 0x1000"})

#: What --destination takes; `fixedram destination` prints it, and readers pass over other keys.
_DESTINATION = object_(
    {
        "machine": optional(nullable(TEXT)),
        "capabilities": optional(nullable(array(TEXT))),
        "target_page_size": optional(nullable(UNSIGNED)),
        "blocks": optional(nullable(mapping(_SIZE))),
        "max_lengths": optional(nullable(mapping(_SIZE))),
        "sections": optional(nullable(mapping(UNSIGNED))),
        "instances": optional(nullable(mapping(array(UNSIGNED)))),
    },
    "The VM an image is to be loaded into; what is left out is not judged.",
)

_LOAD = object_(
    {
        "blocks": array(object_({
            "name": TEXT, "length": UNSIGNED, "sha256": nullable(SHA256), "file": MAYBE_TEXT,
        })),
        "loader": _LOADER, "verdict": nullable(_VERDICT), "message": TEXT,
        "rule": nullable(_RULE_ID), "error": MAYBE_TEXT,
        "channels": UNSIGNED, "jobs": UNSIGNED, "syncs": UNSIGNED,
        "unsynced_jobs": UNSIGNED, "bytes": UNSIGNED, "seconds": NUMBER, "notes": array(TEXT),
    },
    "What a load did, or why it did nothing (verdict, error); sha256 is of"
    " a block's whole memory, absent pages as zeros.",
)  # fmt: skip

_TIMELINE: dict[str, Schema] = {
    "loader": _LOADER,
    "channels": UNSIGNED,
    "property": BOOLEAN,
    "calls": array(
        object_({"section": TEXT, "path": TEXT, "offset": UNSIGNED, "events": UNSIGNED})
    ),
    "events": array(object_(fields_of(Event, action=one_of("sync", "none")))),
    "jobs": UNSIGNED,
    "syncs": UNSIGNED,
    "hazards": array(object_({"kind": TEXT, "message": TEXT, "offset": MAYBE_INTEGER})),
}
_EXPLANATION = array(
    object_(
        {"title": TEXT, "paragraphs": array(object_({"loader": nullable(_LOADER), "text": TEXT}))}
    )
)
_SYNC = either(
    object_({"explanation": optional(_EXPLANATION), **_TIMELINE}, "One loader."),
    object_(
        {"explanation": optional(_EXPLANATION), "loaders": array(object_(_TIMELINE))}, "--compare"
    ),
    object_({"explanation": _EXPLANATION}, "--explain without an image"),
)

_STEP = object_(
    {"level": TEXT, "table": INTEGER, "index": INTEGER, "address": INTEGER, "entry": MAYBE_INTEGER,
     "meaning": TEXT},
)  # fmt: skip
_TRANSLATION = object_(
    {"virtual": INTEGER, "physical": MAYBE_INTEGER, "mode": TEXT, "page_size": MAYBE_INTEGER,
     "fault": MAYBE_TEXT, "steps": array(_STEP)},
)  # fmt: skip
_PLACE = {"block": MAYBE_TEXT, "offset": MAYBE_INTEGER, "file_offset": MAYBE_INTEGER}
_READ = either(
    object_({
        "address": UNSIGNED, "length": UNSIGNED, "space": TEXT, **_PLACE, "present": BOOLEAN,
        "data": HEX,
        "pieces": array(
            object_({"address": UNSIGNED, "length": UNSIGNED, "state": TEXT, **_PLACE})
        ),
        "translation": optional(nullable(_TRANSLATION)),
    }),
    object_(
        {"memory_map": array(_RANGE), "notes": array(TEXT), "unmapped": array(TEXT)}, "--list"
    ),
)  # fmt: skip

_EXTRACT = either(
    object_({"files": array(object_({
        "path": TEXT, "block": MAYBE_TEXT, "bytes": UNSIGNED, "holes": optional(UNSIGNED),
    }))}, "Without holes: what would be written (--list)."),
    object_({"size": UNSIGNED, "parts": array(
        object_({"offset": UNSIGNED, "length": UNSIGNED, "address": MAYBE_INTEGER})
    )}, "--plan"),
)  # fmt: skip

_DIFF_SIDE = object_(
    {"path": TEXT, "machine": MAYBE_TEXT, "dialect": TEXT, "container": TEXT, "complete": BOOLEAN}
)
_DIFF_BLOCK = object_({
    "name": TEXT, "page_size": UNSIGNED, "pages": UNSIGNED, "changed": UNSIGNED,
    "only_a": UNSIGNED, "only_b": UNSIGNED, "unreadable": UNSIGNED, "first_byte": MAYBE_INTEGER,
    "not_compared": MAYBE_TEXT, "ranges_total": UNSIGNED,
    "ranges": array(object_({
        "first_page": UNSIGNED, "pages": UNSIGNED, "address": UNSIGNED, "length": UNSIGNED,
        "change": _CHANGE,
    })),
})  # fmt: skip
_DIFF = object_(
    {
        "a": _DIFF_SIDE, "b": _DIFF_SIDE, "same": BOOLEAN,
        "structure": array(object_({"what": TEXT, "name": TEXT, "a": ANY, "b": ANY})),
        "ram": object_({
            "pages_changed": UNSIGNED, "pages_only_a": UNSIGNED, "pages_only_b": UNSIGNED,
            "blocks_compared": UNSIGNED, "blocks": array(_DIFF_BLOCK),
            "pages": array({"type": "object"}),
        }),
        "state": nullable(object_({
            "differing": UNSIGNED, "devices": ANY, "ignored": ANY, "more": ANY,
            "values": array(object_({
                "path": TEXT, "type": TEXT, "change": _CHANGE, "a": ANY, "b": ANY,
                "offset_a": MAYBE_INTEGER, "offset_b": MAYBE_INTEGER, "note": MAYBE_TEXT,
            })),
        })),
        "notes": array(TEXT), "trouble": array(TEXT),
    },
    "Where two images differ; a and b of a value are what each has there.",
)  # fmt: skip

_DIGEST = either(
    object_({"images": array(object_({
        "path": TEXT, "digest": TEXT, "memory": TEXT, "devices": TEXT,
        "blocks": array(object_({
            "name": TEXT, "length": UNSIGNED, "content": TEXT, "sha256": nullable(SHA256),
            "ignored": BOOLEAN,
        })),
    }))}),
    object_({
        "checked": array(object_({"path": TEXT, "status": one_of("ok", "failed", "unreadable")})),
        "ok": UNSIGNED, "failed": UNSIGNED, "unreadable": UNSIGNED,
    }, "--check"),
)  # fmt: skip

_MAP = object_(
    {"path": TEXT, "deep": BOOLEAN, "blocks": array(object_({
        "name": TEXT, "page_size": UNSIGNED, "pages_total": UNSIGNED,
        "pages_present": MAYBE_INTEGER, "ignored": BOOLEAN,
        "cells": array(object_({
            "first_page": UNSIGNED, "pages": UNSIGNED, "present": MAYBE_INTEGER,
            "zero": MAYBE_INTEGER, "stale": MAYBE_INTEGER,
        })),
    }))},
)  # fmt: skip

_FAULTS = object_(
    {"faults": array(object_({
        "name": TEXT, "text": TEXT, "qemu-10.0": _VERDICT, "qemu-10.0 multifd": _VERDICT,
    }))},
    "--list-faults",
)  # fmt: skip

_MADE = either(_INFO, _PLAN)

#: By command.
_OUTPUTS: dict[str, Schema] = {
    "info": _INFO,
    "dump": _DUMP,
    "copy": _MADE,
    "convert": _MADE,
    "synth": either(_INFO, _PLAN, _FAULTS),
    "validate": _VALIDATE,
    "state": either(STATE, SUMMARY),
    "read": _READ,
    "extract": _EXTRACT,
    "map": _MAP,
    "report": object_({"path": TEXT, "out": TEXT, "bytes": UNSIGNED}),
    "load": _LOAD,
    "sync": _SYNC,
    "diff": _DIFF,
    "digest": _DIGEST,
    "rules": _RULES,
    "destination": _DESTINATION,
    "volatility-path": object_({"path": TEXT}),
}

_VECTOR = object_({
    "name": TEXT,
    "about": TEXT,
    "image": object_({"size": UNSIGNED, "data": array(object_({"offset": UNSIGNED, "hex": HEX}))},
                     "The bytes that are not zero."),
    "stream_offset": nullable(UNSIGNED),
    "destination": BOOLEAN,
    "expected": object_({
        "opens": BOOLEAN,
        "findings": array(_RULE_ID),
        "verdicts": mapping(_VERDICT),
        **{name: optional(schema) for name, schema in {
            "stream_offset": UNSIGNED, "complete": BOOLEAN, "machine": MAYBE_TEXT,
            "capabilities": array(TEXT), "dialect": TEXT, "target_page_size": UNSIGNED,
            "byte_order": TEXT,
            "blocks": array(object_({
                "name": TEXT, "used_length": UNSIGNED, "page_size": MAYBE_INTEGER,
                "bitmap_offset": INTEGER, "pages_offset": INTEGER, "ignored": BOOLEAN,
                "pages": nullable(mapping(SHA256)),
            })),
            "sections": array(object_({
                "id": UNSIGNED, "name": TEXT, "instance_id": UNSIGNED, "version": UNSIGNED,
            })),
        }.items()},
    }),
})  # fmt: skip

#: Files that no command prints, by name: their titles and schemas.
_FILES: dict[str, tuple[str, Schema]] = {
    "vectors": (
        "spec/vectors/*.json",
        object_({"destination": _DESTINATION, "vectors": array(_VECTOR)}),
    ),
}

#: Those that hold records.
_WITH_RECORDS = frozenset({"dump", "copy", "convert", "synth"})


def schemas() -> dict[str, Schema]:
    """By name: each command's output (`destination` is that file's as well), and other files."""
    made = {}
    for name, schema in _OUTPUTS.items():
        title = f"fixedram {name} --json"
        document: Schema = {"$schema": _DRAFT, "title": title, **schema}
        if name in _WITH_RECORDS:
            document["$defs"] = {"record": RECORD, **record_defs()}
        made[name] = document
    for name, (title, schema) in _FILES.items():
        made[name] = {"$schema": _DRAFT, "title": title, **schema}
    return made
