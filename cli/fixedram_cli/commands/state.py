"""`fixedram state`: the devices' state, by path."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Searching
from fixedram_cli.options import Force, ImageArgument, Json, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.stateview import StateView, nothing_found
from fixedram_cli.render.terminal import warn, warn_if_stopped
from fixedram_cli.target import keep, only_for_programs, sink
from fixedram_fmt.errors import FormatError

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


#: The module in render/ whose print_state() prints the form.
_PRINTERS = {
    StateFormat.TEXT: "statetree",
    StateFormat.JSON: "statejson",
    StateFormat.QEMU: "stateqemu",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the state is shown, and where it goes."""

    summary: Annotated[
        bool,
        option("--summary", "What people look for first: CPUs, run state, clock, PCI, virtio."),
    ] = False
    flat: Annotated[
        bool, option("--flat", "One line a value with its whole path: to grep and to diff.")
    ] = False
    offsets: Annotated[bool, option("--offsets", "Where in the file each value lies.")] = False
    raw: Annotated[bool, option("--raw", "The bytes of the device or value that PATH names.")] = (
        False
    )
    out: Annotated[Path | None, option("-o --out", "File for --raw.", "FILE")] = None
    desc: Annotated[bool, option("--desc", "The description itself (vmdesc), as JSON.")] = False
    desc_from: Annotated[
        str | None,
        option("--desc-from", "Use the description in another image of the same machine.", "IMAGE"),
    ] = None
    all_: Annotated[bool, option("--all", "Long values and like elements in full (text).")] = False
    force: Force = False
    json_: Json = False
    output: Annotated[
        StateFormat,
        option(
            "--output --format",
            "Form of the output; qemu: the JSON that analyze-migration.py -d state prints.",
            "|".join(StateFormat),
        ),
    ] = StateFormat.TEXT

    @property
    def form(self) -> StateFormat:
        """What --output says, or --json; qemu's JSON is JSON as well."""
        plain = self.output is not StateFormat.QEMU
        return StateFormat.JSON if self.json_ and plain else self.output


def state(
    image: ImageArgument,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="device[/instance]/field/field[index]; * ? within a step, ** any.",
        ),
    ] = None,
    *,
    wanted: Wanted,
    searching: Searching,
) -> None:
    """Without PATH it lists the devices, with one it shows what the path means.

    Example: fixedram state guest.img 'cpu*/env.eip'

    Example: fixedram state guest.img ioapic --offsets

    Example: fixedram state guest.img '**/config[0]' --raw -o config.bin

    Example: fixedram state no-vmdesc.img --desc-from other.img --flat
    """
    _check(path, wanted)
    keep([image], [wanted.out])
    with searching.open(image) as opened:
        donor = _description(wanted.desc_from, searching) if wanted.desc_from else None
        if wanted.desc:
            _print_description(opened, donor)
            return
        machine = _machine(opened, donor)
        _tell_notes(opened, machine, path)
        if wanted.raw:
            _write_raw(machine, path or "", wanted, mode=opened.file_mode)
        elif wanted.summary and wanted.form is not StateFormat.QEMU:
            _print_summary(opened, machine, as_json=wanted.form is StateFormat.JSON)
        else:
            printer = import_module(f"fixedram_cli.render.{_PRINTERS[wanted.form]}")
            printer.print_state(
                StateView(
                    opened,
                    image,
                    machine,
                    path,
                    offsets=wanted.offsets,
                    flat=wanted.flat,
                    everything=wanted.all_,
                )
            )


def _check(path: str | None, wanted: Wanted) -> None:
    """Usage errors: options that make no sense together."""
    raw, out = wanted.raw, wanted.out
    others = wanted.summary or wanted.desc or wanted.form is not StateFormat.TEXT
    if out is not None and not raw:
        raise typer.BadParameter("only --raw writes a file", param_hint="'-o'")
    if raw and others:
        raise typer.BadParameter("--raw prints bytes, and nothing else", param_hint="'--raw'")
    if raw and path is None:
        raise typer.BadParameter("which device or value?  give a PATH", param_hint="'--raw'")
    if raw and out is None:
        only_for_programs("--raw")


def _description(location: str, searching: Searching) -> Description:
    """The description in another image."""
    from fixedram_fmt.vmstate.description import Description

    with searching.open(location) as donor:
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
    from fixedram_fmt.vmstate.description import Description

    found = donor or Description.of_image(image)
    if found is None:
        raise FormatError(
            "the image has no description of its devices",
            hint="it was saved with suppress-vmdesc=on, or its end is missing",
        )
    print_json(found.as_json())


def _print_summary(image: Image, machine: MachineState, *, as_json: bool) -> None:
    from fixedram_fmt.vmstate.overview import overview

    told = overview(image, machine)
    if as_json:
        print_json(told)
    else:
        from fixedram_cli.render.overview import print_overview

        print_overview(told)


def _write_raw(machine: MachineState, path: str, wanted: Wanted, *, mode: int) -> None:
    found = list(islice(machine.find(path), 2))
    if not found:
        raise nothing_found(machine, path)
    if len(found) > 1:
        raise typer.BadParameter(
            f"{path!r} means {found[0].path}, {found[1].path} and perhaps more: name one",
            param_hint="'PATH'",
        )
    with sink(wanted.out, force=wanted.force, mode=mode) as write:
        for piece in found[0].pieces():
            write(piece)


def _tell_notes(image: Image, machine: MachineState, path: str | None) -> None:
    """What is odd, on stderr; about one device only where it is asked for."""
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
