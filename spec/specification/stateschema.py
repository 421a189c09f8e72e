"""Schemas of `state --json`: device state, whose names are the image's own, and its summary."""

from __future__ import annotations

from specification.jsonschema import (
    ANY,
    BOOLEAN,
    INTEGER,
    MAYBE_INTEGER,
    MAYBE_TEXT,
    TEXT,
    UNSIGNED,
    array,
    either,
    mapping,
    nullable,
    object_,
    one_of,
    optional,
)

__all__ = ["STATE", "SUMMARY"]

_BITMAP = object_({
    "node": TEXT, "bitmap": TEXT, "granularity": UNSIGNED, "sectors": UNSIGNED,
    "chunks": UNSIGNED, "bitmap_bytes": UNSIGNED, "bits_set": UNSIGNED, "dirty_bytes": UNSIGNED,
    "complete": BOOLEAN, "enabled": optional(BOOLEAN), "persistent": optional(BOOLEAN),
    "autoload": optional(BOOLEAN),
})  # fmt: skip

_HAND_CODED = object_(
    {
        "offset": UNSIGNED, "path": TEXT, "parts": UNSIGNED, "problem": optional(TEXT),
        "pages": optional(UNSIGNED), "non_zero": optional(UNSIGNED),
        "values": optional(mapping(UNSIGNED)), "ranges_total": optional(UNSIGNED),
        "ranges": optional(array(object_({"address": UNSIGNED, "pages": UNSIGNED}))),
        "chunks": optional(UNSIGNED), "valid": optional(UNSIGNED), "invalid": optional(UNSIGNED),
        "shift": optional(UNSIGNED), "table_size": optional(UNSIGNED),
        "bitmaps": optional(array(_BITMAP)),
    },
    "What a section that is written by hand holds, over all its parts.",
)  # fmt: skip

_DEVICE = object_({
    "name": TEXT, "instance_id": UNSIGNED, "version": UNSIGNED, "section_id": INTEGER,
    "offset": UNSIGNED, "size": UNSIGNED, "delimited_by": TEXT, "described_by": MAYBE_TEXT,
    "problem": MAYBE_TEXT, "fields": optional(ANY), "values": optional(mapping(ANY)),
    "summary": optional(_HAND_CODED),
})  # fmt: skip

STATE = object_(
    {
        "path": TEXT, "complete": BOOLEAN, "machine": MAYBE_TEXT, "devices": mapping(_DEVICE),
        "notes": array(object_({"offset": MAYBE_INTEGER, "path": TEXT, "message": TEXT})),
    },
    "Devices by path; fields are what the image's own description names.",
)  # fmt: skip

_FACT = object_(
    {"name": TEXT, "value": either(INTEGER, TEXT, BOOLEAN), "path": TEXT, "text": optional(TEXT)}
)

SUMMARY = object_(
    {
        "machine": MAYBE_TEXT, "run_state": array(_FACT), "clocks": array(_FACT),
        "cpus": array(object_({
            "path": TEXT, "architecture": TEXT, "mode": TEXT, "halted": nullable(BOOLEAN),
            "registers": array(_FACT),
        })),
        "pci": array(object_({
            "address": TEXT, "name": TEXT, "vendor_id": UNSIGNED, "device_id": UNSIGNED,
            "class_code": UNSIGNED, "class": TEXT,
            "bars": array(object_({"number": UNSIGNED, "address": MAYBE_INTEGER, "kind": TEXT})),
            "path": TEXT,
        })),
        "virtio": array(object_({
            "name": TEXT, "transport": one_of("pci", "mmio", "ccw"), "status": UNSIGNED,
            "status_names": array(TEXT), "features": UNSIGNED,
            "queues": array(object_({
                "index": UNSIGNED, "size": UNSIGNED, "desc": MAYBE_INTEGER,
                "avail": MAYBE_INTEGER, "used": MAYBE_INTEGER, "last_avail_idx": MAYBE_INTEGER,
            })),
            "path": TEXT,
        })),
    },
    "--summary",
)  # fmt: skip
