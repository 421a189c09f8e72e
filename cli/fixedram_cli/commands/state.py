"""`fixedram state`: the devices' state, by path."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.options import (
    Force,
    ImageArgument,
    Json,
    Search,
    keep,
    only_for_programs,
    open_image,
    option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.description import Description
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import Value


_HINTS = {"no-vmdesc": "; --desc-from takes that of another image of the same machine"}


class StateFormat(StrEnum):
    """Forms of the output."""

    TEXT = "text"
    JSON = "json"
    QEMU = "qemu"


def state(
    image: ImageArgument,
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", show_default=False,
                       help="device[/instance]/field/field[index]; * ? within a step, ** any."),
    ] = None,
    summary: Annotated[
        bool,
        option("--summary", "What people look for first: CPUs, run state, clock, PCI, virtio."),
    ] = False,
    flat: Annotated[
        bool, option("--flat", "One line a value with its whole path: to grep and to diff.")
    ] = False,
    offsets: Annotated[bool, option("--offsets", "Where in the file each value lies.")] = False,
    raw: Annotated[
        bool, option("--raw", "The bytes of the device or value that PATH names.")
    ] = False,
    out: Annotated[Path | None, option("-o --out", "File for --raw.", "FILE")] = None,
    desc: Annotated[
        bool, option("--desc", "The description itself (vmdesc), as JSON.")
    ] = False,
    desc_from: Annotated[
        str | None,
        option("--desc-from", "Use the description in another image of the same machine.",
                "IMAGE"),
    ] = None,
    all_: Annotated[
        bool, option("--all", "Long values and like elements in full (text).")
    ] = False,
    force: Force = False,
    json_: Json = False,
    output: Annotated[
        StateFormat,
        option("--output --format",
               "Form of the output; qemu: the JSON that analyze-migration.py -d state prints.",
               "text|json|qemu"),
    ] = StateFormat.TEXT,
    search: Search = False,
) -> None:  # fmt: skip
    """Show the state of devices: registers, timers, queues.

    Without PATH it lists the devices, with one it shows what the path means.

    Example: fixedram state guest.img 'cpu*/env.eip'

    Example: fixedram state guest.img ioapic --offsets

    Example: fixedram state guest.img '**/config[0]' --raw -o config.bin

    Example: fixedram state no-vmdesc.img --desc-from other.img --flat
    """
    as_json = json_ or output is StateFormat.JSON
    _check(path, raw=raw, out=out, others=summary or desc or as_json)
    keep([image], [out])
    with open_image(image, search=search) as opened:
        donor = _description(desc_from, search=search) if desc_from else None
        if desc:
            _print_description(opened, donor)
            return
        machine = _machine(opened, donor)
        _tell_notes(opened, machine, path)
        if output is StateFormat.QEMU:
            _print_qemu(opened, machine)
        elif raw:
            _write_raw(machine, path or "", out, force=force, mode=opened.file_mode)
        elif summary:
            _print_summary(opened, machine, as_json=as_json)
        elif as_json:
            from fixedram_cli.render.statejson import print_state

            print_state(opened, image, machine, path, offsets=offsets)
        else:
            from fixedram_cli.render.statetree import StatePrinter

            StatePrinter(offsets=offsets, everything=all_).print(opened, machine, path, flat=flat)


def _check(path: str | None, *, raw: bool, out: Path | None, others: bool) -> None:
    """Usage errors: options that make no sense together."""
    if out is not None and not raw:
        raise typer.BadParameter("only --raw writes a file", param_hint="'-o'")
    if raw and others:
        raise typer.BadParameter("--raw prints bytes, and nothing else", param_hint="'--raw'")
    if raw and path is None:
        raise typer.BadParameter("which device or value?  give a PATH", param_hint="'--raw'")
    if raw and out is None:
        only_for_programs("--raw")


def _description(location: str, *, search: bool) -> Description:
    """The description in another image."""
    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.vmstate.description import Description

    with open_image(location, search=search) as donor:
        found = Description.of_image(donor)
    if found is None:
        raise FormatError(f"{location!r} has no description of its devices either")
    return found


def _machine(image: Image, donor: Description | None) -> MachineState:
    if donor is None:
        return image.state
    from fixedram_fmt.vmstate.machine import machine_state

    return machine_state(image, donor=donor)


def _print_description(image: Image, donor: Description | None) -> None:
    from fixedram_cli.render.jsonout import print_json
    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.vmstate.description import Description

    found = donor or Description.of_image(image)
    if found is None:
        raise FormatError(
            "the image has no description of its devices",
            hint="it was saved with suppress-vmdesc=on, or its end is missing",
        )
    print_json(found.as_json())


def _print_qemu(image: Image, machine: MachineState) -> None:
    import sys

    from fixedram_fmt.vmstate.qemu import pieces

    for piece in pieces(image, machine):
        sys.stdout.write(piece)
    sys.stdout.write("\n")


def _print_summary(image: Image, machine: MachineState, *, as_json: bool) -> None:
    from fixedram_fmt.vmstate.overview import overview

    told = overview(image, machine)
    if as_json:
        from fixedram_cli.render.jsonout import print_json

        print_json(told)
    else:
        from fixedram_cli.render.overview import print_overview

        print_overview(told)


def _write_raw(
    machine: MachineState, path: str, out: Path | None, *, force: bool, mode: int
) -> None:
    from itertools import islice

    from fixedram_cli.render.statetree import nothing_found

    found = list(islice(machine.find(path), 2))
    if not found:
        raise nothing_found(machine, path)
    if len(found) > 1:
        raise typer.BadParameter(
            f"{path!r} means {found[0].path}, {found[1].path} and perhaps more: name one",
            param_hint="'PATH'",
        )
    with _target(out, force=force, mode=mode) as write:
        for piece in found[0].pieces():
            write(piece)


@contextmanager
def _target(out: Path | None, *, force: bool, mode: int) -> Iterator[Any]:
    """Where --raw goes: standard output, or a file that gets its name when it is complete."""
    import sys

    if out is None:
        yield sys.stdout.buffer.write
        return
    from fixedram_fmt.io.output import replacing

    with replacing(out, force=force, mode=mode) as output:
        done = 0

        def write(piece: bytes) -> None:
            nonlocal done
            output.write(done, piece)
            done += len(piece)

        yield write


def _tell_notes(image: Image, machine: MachineState, path: str | None) -> None:
    """What is odd, on stderr; about one device only where it is asked for."""
    from fixedram_cli.render.terminal import warn, warn_if_stopped

    asked = {value.device.path for value in _devices_of(machine, path)} if path else None
    for note in machine.notes:
        if asked is None or note.code != "device-state" or note.path in asked:
            where = f"at {note.offset:#x} {note.path}: " if note.code != "no-vmdesc" else ""
            warn(where + note.message + _HINTS.get(note.code, ""))
    warn_if_stopped(image)


def _devices_of(machine: MachineState, path: str) -> Iterator[Value]:
    seen = None
    for value in machine.find(path):
        if value.device is not seen:
            seen = value.device
            yield value
