"""`fixedram rehearse`: a real restore, paused, that can write nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading
from fixedram_cli.options import FlushOption, ImageArgument, option
from fixedram_cli.render.jsonout import print_json

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.rehearsal import Options


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which QEMU is started, how it loads, and for how long."""

    qemu: Annotated[
        str | None,
        option("--qemu", "The program (default: qemu-system-ARCH by the image's CPU).", "PATH"),
    ] = None
    accel: Annotated[
        str, option("--accel", "tcg, or kvm where the image was saved with it.", "tcg|kvm")
    ] = "tcg"
    channels: Annotated[
        int | None,
        option("--channels", "Load with multifd, and so many channels.", "N", min=1, max=255),
    ] = None
    flush: FlushOption = False
    timeout: Annotated[
        float | None,
        option("--timeout", "Limit for all of it (default: 60, and 10 for each GiB).", "SECONDS",
               min=0.1, max=86400),
    ] = None  # fmt: skip
    memory: Annotated[
        bool, option("--memory/--no-memory", "Compare the VM's memory with the image's.")
    ] = True


@dataclass(frozen=True, slots=True)
class Trying:
    """What is done where QEMU refuses."""

    adapt: Annotated[
        bool, option("--adapt", "Where it fails, change the VM by what QEMU says, and try again.")
    ] = False
    tries: Annotated[
        int, option("--tries", "Changes that --adapt makes at most.", "N", min=1, max=100)
    ] = 8
    plan: Annotated[
        bool, option("--plan", "Print the command that would be run, and start nothing.")
    ] = False


def rehearse(
    image: ImageArgument,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- QEMU ARGS...]",
            help="Arguments of the receiving VM, without the program and what loads the image"
            " (default: derived from the image).",
            show_default=False,
        ),
    ] = None,
    *,
    wanted: Wanted,
    trying: Trying,
    form: Form,
    reading: Reading,
) -> None:
    """QEMU is started paused, loads the image, its memory is compared, and it is ended.

    The guest never runs. QEMU gets no network, no file and no disk that it could write: options
    that would open some are replaced by what looks the same to the guest, or refused, each told.
    Exit code 1: the image is refused, or its memory is another; 2: it could not be tried. Needs
    QEMU, and: pip install 'fixedram[qemu]'.

    Example: fixedram rehearse guest.img

    Example: fixedram rehearse guest.img -- -machine q35 -m 4G -nodefaults -device virtio-net-pci

    Example: fixedram rehearse guest.img --adapt --json
    """
    from fixedram_fmt.rehearsal import Options

    if wanted.accel not in {"tcg", "kvm"}:
        raise typer.BadParameter(f"{wanted.accel!r} is not tcg or kvm", param_hint="'--accel'")
    options = Options(
        arguments=tuple(arguments) if arguments else None,
        qemu=wanted.qemu,
        accel=wanted.accel,
        channels=wanted.channels or 0,
        flush_after_each_section=wanted.flush,
        timeout=wanted.timeout,
        memory=wanted.memory,
        adapt=trying.tries if trying.adapt else 0,
    )
    with reading.open(image) as opened:
        if trying.plan:
            _plan(opened, options, as_json=form.is_json)
        else:
            _rehearse(opened, image, options, as_json=form.is_json)


def _plan(image: Image, options: Options, *, as_json: bool) -> None:
    from fixedram_fmt.rehearsal import plan_of

    plan = plan_of(image, options)
    if as_json:
        print_json(plan)
    else:
        from fixedram_cli.render.rehearsal import print_plan

        print_plan(plan)


def _rehearse(image: Image, location: str, options: Options, *, as_json: bool) -> None:
    from msgspec.structs import replace

    from fixedram_fmt.rehearsal import rehearse as really

    done = replace(really(image, options), path=location)
    if as_json:
        print_json(done)
    else:
        from fixedram_cli.render.rehearsal import print_rehearsal

        print_rehearsal(done)
    raise typer.Exit(0 if done.restores else 1)
