"""Device state as JSON: numbers as numbers, bytes as hexadecimal digits, arrays as lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fixedram_cli.render.stateview import nothing_found
from fixedram_fmt.results import dumps
from fixedram_fmt.vmstate.handcoded import summarize
from fixedram_fmt.vmstate.jsontext import located_pieces, value_pieces
from fixedram_fmt.vmstate.paths import Pattern
from fixedram_fmt.vmstate.statesummary import DeviceSummary, StateNote, StateSummary
from fixedram_fmt.vmstate.structure import BODY_CEILING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_cli.render.stateview import StateView
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["print_state"]


def print_state(view: StateView) -> None:
    """One object: `devices` by path, with `fields`, or with `values` for what pattern means.

    It is printed piece by piece, whatever its length; that nothing has the path is told before.
    """
    image, machine, pattern, offsets = view.image, view.machine, view.pattern, view.offsets
    if pattern and next(machine.find(pattern), None) is None:
        raise nothing_found(machine, pattern)
    summaries = {one.section_id: one for one in summarize(image)}
    head = StateSummary(view.location, image.complete, image.machine, {}, ())
    compiled = Pattern(pattern) if pattern is not None else None
    write = sys.stdout.write
    write(dumps(head).removesuffix('}, "notes": []}'))
    separator = "\n"
    for device in machine.devices:
        content = (
            _fields(device, offsets=offsets)
            if compiled is None
            else _values(device, compiled, offsets=offsets)
        )
        first = next(content, None)
        if first is None:
            continue
        write(f"{separator}{dumps(device.path)}: {dumps(_about(device))[:-1]}, {first}")
        for piece in content:
            write(piece)
        if device.section_id in summaries:
            write(f', "summary": {dumps(summaries[device.section_id])}')
        write("}")
        separator = ",\n"
    write('\n}, "notes": [')
    separator = ""
    for note in machine.notes:
        write(separator + dumps(StateNote(note.offset, note.path, note.message)))
        separator = ", "
    write("]}\n")


def _about(device: DeviceState) -> DeviceSummary:
    return DeviceSummary(
        name=device.name,
        instance_id=device.instance_id,
        version=device.version_id,
        section_id=device.section_id,
        offset=device.offset,
        size=device.size,
        delimited_by=device.delimited_by,
        described_by=device.described_by or None,
        problem=device.problem or None,
    )


def _fields(device: DeviceState, *, offsets: bool) -> Iterator[str]:
    """All values of a device; null for one that is not described, or too long to decode."""
    yield '"fields": '
    if device.structure is None or (device.size > BODY_CEILING and not offsets):
        yield "null"
    else:
        yield from (located_pieces if offsets else value_pieces)(device.root)


def _values(device: DeviceState, pattern: Pattern, *, offsets: bool) -> Iterator[str]:
    """What pattern means in a device, by path; nothing where it means nothing there."""
    separator = '"values": {'
    for value in device.find(pattern):
        yield f"{separator}{dumps(value.path)}: "
        yield from (located_pieces if offsets else value_pieces)(value)
        separator = ", "
    if separator == ", ":
        yield "}"
