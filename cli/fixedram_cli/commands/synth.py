"""`fixedram synth`: an image made from a spec."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Searching, Writing
from fixedram_cli.options import Container, OutputFile, WrittenByteOrder, option
from fixedram_cli.render.jsonout import print_json
from fixedram_cli.render.plan import finish
from fixedram_cli.target import require_target

if TYPE_CHECKING:
    from fixedram_fmt.write.spec import ImageSpec


@dataclass(frozen=True, slots=True)
class Overrides:
    """What options say in the place of a spec."""

    machine: Annotated[str | None, option("--machine", "Machine type in the stream.", "NAME")] = (
        None
    )
    dialect: Annotated[
        str | None, option("--dialect", "Who writes: mapped-ram or fixed-ram-v4.", "NAME")
    ] = None
    block: Annotated[
        list[str] | None,
        option(
            "--block",
            "A RAM block; may be given several times. Patterns: zero, random, counter, text.",
            "NAME=SIZE[:PATTERN[:DENSITY]]",
        ),
    ] = None
    page_size: Annotated[str | None, option("--page-size", "Target page size.", "SIZE")] = None
    target_page_bits: Annotated[
        bool | None,
        option(
            "--target-page-bits/--no-target-page-bits",
            "Say the page size in the configuration, as QEMU does for ARM.",
        ),
    ] = None
    rounds: Annotated[int | None, option("--rounds", "Rounds of a live save.", "N")] = None
    multifd: Annotated[
        bool | None, option("--multifd/--no-multifd", "Whether the sender used multifd.")
    ] = None
    channels: Annotated[int | None, option("--channels", "The sender's multifd channels.", "N")] = (
        None
    )
    flush: Annotated[
        bool | None,
        option(
            "--multifd-flush-after-each-section/--no-multifd-flush-after-each-section",
            "The sender's migration property of that name.",
        ),
    ] = None
    uuid: Annotated[str | None, option("--uuid", "The guest's UUID.", "UUID")] = None
    offset: Annotated[str | None, option("--offset", "Where the stream starts.", "OFFSET")] = None
    align: Annotated[str | None, option("--align", "Alignment of the pages.", "SIZE")] = None
    container: Annotated[
        Container | None, option("--container", "What the stream is packed in.", "none|libvirt")
    ] = None
    devices_from: Annotated[
        str | None, option("--devices-from", "Take the device sections of another image.", "IMAGE")
    ] = None
    vmdesc: Annotated[
        bool | None, option("--vmdesc/--no-vmdesc", "Whether a description is at the end.")
    ] = None
    byte_order: WrittenByteOrder = None
    seed: Annotated[int | None, option("--seed", "Same seed, same bytes.", "N")] = None
    fault: Annotated[
        list[str] | None,
        option("--fault", "Break one thing (--list-faults); may be given several times.", "NAME"),
    ] = None


def synth(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="SPEC", help="TOML or JSON file; options override it."),
    ] = None,
    out: OutputFile = None,
    *,
    overrides: Overrides,
    list_faults: Annotated[
        bool, option("--list-faults", "Show every fault and what QEMU does with it.")
    ] = False,
    writing: Writing,
    form: Form,
) -> None:
    """Example: fixedram synth -o test.img --machine pc --block pc.ram=64M:counter:0.25

    Example: fixedram synth spec.toml -o test.img --seed 7

    Example: fixedram synth -o huge.img --block pc.ram=1T:random:0.00001 --rounds 3 --plan
    """
    from fixedram_fmt.write.faults import fault_named
    from fixedram_fmt.write.placing import write_pieces
    from fixedram_fmt.write.synth import synthesize

    if list_faults:
        _list_faults(as_json=form.is_json)
        return
    require_target(out, plan=writing.plan)
    faults = [fault_named(name) for name in overrides.fault or ()]
    made = _spec(spec, overrides)
    devices = made.devices_from
    with Searching().open(devices) if devices else nullcontext() as donor:
        planned = synthesize(made, donor, faults)
        finish(
            planned.pieces,
            None if writing.plan else out,
            as_json=form.is_json,
            force=writing.force,
            # Devices of another image are its guest's state.
            mode=donor.file_mode if donor else None,
            write=partial(write_pieces, cut=planned.size),
        )


def _list_faults(*, as_json: bool) -> None:
    from fixedram_fmt.write.faults import fault_list

    found = fault_list()
    if as_json:
        print_json(found)
        return
    for fault in found.faults:
        outcome = fault.plain.value
        if fault.multifd is not fault.plain:
            outcome += f" ({fault.multifd.value} with multifd)"
        print(f"{fault.name:26} {fault.text}; QEMU 10.0 {outcome}")


def _spec(path: Path | None, overrides: Overrides) -> ImageSpec:
    """The spec of the file, with what options say in its place."""
    from fixedram_fmt.write.spec import spec_of

    given = {name: value for name, value in asdict(overrides).items() if value is not None}
    given.pop("fault", None)
    if "flush" in given:
        given["multifd_flush_after_each_section"] = given.pop("flush")
    if "byte_order" in given:
        given["byte_order"] = given["byte_order"].value
    if "block" in given:
        given["blocks"] = given.pop("block")
    if "container" in given:
        given["container"] = {"kind": given["container"].value}
    return spec_of(path, **given)
