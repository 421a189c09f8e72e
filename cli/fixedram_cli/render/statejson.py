"""Device state as JSON: numbers as numbers, bytes as hexadecimal digits, arrays as lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fixedram_cli.render.jsonout import dumps
from fixedram_cli.render.statetree import nothing_found
from fixedram_fmt.vmstate.plain import plain
from fixedram_fmt.vmstate.values import children

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.state import DeviceState, MachineState
    from fixedram_fmt.vmstate.values import Value

__all__ = ["print_state"]


def print_state(
    image: Image, path: str, machine: MachineState, pattern: str | None, *, offsets: bool
) -> None:
    """One object: `devices` by path, with `fields`, or with `values` for what pattern means.

    One device after the other is decoded and printed, so that memory holds one.
    """
    from fixedram_fmt.vmstate.handcoded import summarize

    head = {"path": path, "complete": image.complete, "machine": image.machine}
    sys.stdout.write(dumps(head)[:-1] + ', "devices": {')
    separator = "\n"
    summaries = {one.section_id: one.as_dict() for one in summarize(image)}
    for device in machine.devices:
        told = _device(device, pattern, offsets=offsets)
        if told is None:
            continue
        if device.section_id in summaries:
            told["summary"] = summaries[device.section_id]
        sys.stdout.write(f"{separator}{dumps(device.path)}: {dumps(told)}")
        separator = ",\n"
    notes = [{"offset": n.offset, "path": n.path, "message": n.message} for n in machine.notes]
    sys.stdout.write('\n}, "notes": ' + dumps(notes) + "}\n")
    if pattern and separator == "\n":
        raise nothing_found(machine, pattern)


def _device(device: DeviceState, pattern: str | None, *, offsets: bool) -> dict[str, Any] | None:
    told: dict[str, Any] = {
        "name": device.name,
        "instance_id": device.instance_id,
        "version": device.version_id,
        "section_id": device.section_id,
        "offset": device.offset,
        "size": device.size,
        "delimited_by": device.delimited_by,
        "described_by": device.described_by or None,
        "problem": device.problem or None,
    }
    if pattern is None:
        fields = _located(device.root) if offsets and device.structure else plain(device.fields)
        told["fields"] = fields
        return told
    from fixedram_fmt.vmstate.paths import Pattern

    values = {value.path: _shown(value, offsets) for value in device.find(Pattern(pattern))}
    told["values"] = values
    return told if values else None


def _shown(value: Value, offsets: bool) -> Any:
    return _located(value) if offsets else plain(value.value)


def _located(value: Value) -> Any:
    """A value with where it lies: four keys for what has no parts, lists and dicts of such."""
    if value.parts is not None or (value.is_array and value.structure is not None):
        return [_located(child) for child in children(value)]
    if value.structure is not None:
        return {child.path[len(value.path) + 1 :]: _located(child) for child in children(value)}
    return {
        "value": plain(value.value),
        "type": value.type,
        "offset": value.offset,
        "size": value.size,
    }
