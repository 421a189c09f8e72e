"""`fixedram sync`: where a loader waits for its receive channels, and what can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading, Receiver
from fixedram_cli.options import image_argument, loader_named, option
from fixedram_cli.render.jsonout import print_json
from fixedram_fmt.loaders import DEFAULT_LOADER

if TYPE_CHECKING:
    from fixedram_fmt.multifd.timeline import Timeline

#: The designs of the discussion and what was merged, oldest first.
_MODELS = ("fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram")


def sync(
    image: Annotated[str | None, image_argument()] = None,
    *,
    receiver: Receiver,
    compare: Annotated[
        bool, option("--compare", "The four designs (and --loader) side by side; exit code 0.")
    ] = False,
    explain: Annotated[bool, option("--explain", "What the question is, and the answer.")] = False,
    form: Form,
    reading: Reading,
) -> None:
    """Only syncs are judged here; `fixedram validate` judges the rest.  Exit code 1 when the design
    would refuse, hang, or declare the load done too early.

    Example: fixedram sync guest.img --loader fixed-ram-v4 --channels 4

    Example: fixedram sync guest.img --compare
    """
    if image is None and not explain:
        raise typer.BadParameter("which image?  (--explain alone needs none)", param_hint="'IMAGE'")
    lines = _timelines(image, receiver, reading, compare=compare) if image is not None else []
    if form.is_json:
        _print_json(lines, compare=compare, explain=explain)
    else:
        _print_text(lines, image or "", compare=compare, explain=explain)
    if not compare and not all(line.is_safe for line in lines):
        raise typer.Exit(1)


def _timelines(
    image: str, receiver: Receiver, reading: Reading, *, compare: bool
) -> list[Timeline]:
    from fixedram_fmt.multifd.timeline import timelines

    names = list(_MODELS) if compare else []
    if receiver.loader or not compare:
        names.append(receiver.loader or DEFAULT_LOADER)
    models = list(dict.fromkeys(map(loader_named, names)))
    with reading.open(image) as opened:
        return timelines(opened, models, channels=receiver.channels, property_on=receiver.flush)


def _print_text(lines: list[Timeline], path: str, *, compare: bool, explain: bool) -> None:
    from fixedram_cli.render.explanation import print_explanation
    from fixedram_cli.render.sequence import print_chart, print_comparison
    from fixedram_cli.render.terminal import console

    out = console()
    if explain:
        print_explanation(out)
    if lines and compare:
        print_comparison(out, lines, path)
    elif lines:
        print_chart(out, lines[0], path)


def _print_json(lines: list[Timeline], *, compare: bool, explain: bool) -> None:
    from msgspec.structs import replace

    from fixedram_cli.render.explanation import explanation
    from fixedram_fmt.multifd.loadresult import Explained, TimelineComparison

    told = explanation() if explain else None
    summaries = tuple(line.summary for line in lines)
    if compare and lines:
        print_json(TimelineComparison(explanation=told, loaders=summaries))
    elif lines:
        print_json(replace(summaries[0], explanation=told))
    else:
        print_json(Explained(told or ()))
