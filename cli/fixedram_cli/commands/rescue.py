"""`fixedram rescue`: what can be saved of a save that never finished, or that lost its bitmaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Form, Reading, Writing
from fixedram_cli.options import ImageArgument, OutputFile, option
from fixedram_cli.target import keep, require_target

if TYPE_CHECKING:
    from fixedram_fmt.recovery import Rescue
    from fixedram_fmt.recovery.rescued import RescueReport


@dataclass(frozen=True, slots=True)
class Taken:
    """Which pages are taken."""

    all_pages: Annotated[
        bool,
        option(
            "--all-pages",
            "Take every page that holds data, of blocks whose bitmap is sound too: stale pages"
            " come back.",
        ),
    ] = False
    map_: Annotated[
        Path | None,
        option(
            "--map",
            "Write which pages are present, and why (kept, rebuilt, doubtful), as JSON lines.",
            "FILE",
        ),
    ] = None


def rescue(
    image: ImageArgument,
    out: OutputFile = None,
    *,
    taken: Taken,
    writing: Writing,
    form: Form,
    reading: Reading,
) -> None:
    """Lost bitmaps are made again from the pages that hold data; sound ones stay.

    A save that QEMU, power or a full disk ended is ended properly after its memory: such an image
    is for forensics, since its devices are lost. Exit status 0: the new image can be restored; 1:
    it is only a part; 2: nothing could be saved. IMAGE is never written to.

    Example: fixedram rescue unfinished.save -o saved.img

    Example: fixedram rescue unfinished.save --plan --map pages.jsonl
    """
    from fixedram_fmt.recovery import Purpose, Rescue

    require_target(out, plan=writing.plan)
    if out is not None and taken.map_ is not None and out.resolve() == taken.map_.resolve():
        raise typer.BadParameter("the map would replace the image", param_hint="'--map'")
    with reading.open(image) as opened:
        plan = Rescue(opened, all_pages=taken.all_pages)
        if writing.plan or out is None:
            report = _planned(plan, image)
        else:
            keep([image], [out, taken.map_])
            report = _written(plan, image, out, force=writing.force)
        if taken.map_ is not None:
            keep([image], [taken.map_])
            _write_map(plan, taken.map_, force=writing.force)
    _show(report, form)
    if report.rescued.purpose is not Purpose.RESTORE:
        raise typer.Exit(1)


def _planned(plan: Rescue, location: str) -> RescueReport:
    from fixedram_fmt.recovery.rescued import RescueReport

    return RescueReport(None, plan.plan(location))


def _written(plan: Rescue, location: str, out: Path, *, force: bool) -> RescueReport:
    from fixedram_fmt.io.output import replacing
    from fixedram_fmt.recovery.rescued import RescueReport
    from fixedram_fmt.summary import summarize

    with replacing(out, force=force, mode=plan.image.file_mode) as output:
        rescued = plan.write(output, location, out)
    with plan.reopened(out) as written:
        return RescueReport(summarize(written, str(out)), rescued)


def _write_map(plan: Rescue, target: Path, *, force: bool) -> None:
    """A line for each run of pages in one state."""
    from fixedram_cli.render.jsonout import dumps
    from fixedram_cli.target import sink

    with sink(target, force=force, mode=plan.image.file_mode) as write:
        for run in plan.page_map():
            write(dumps(run).encode() + b"\n")


def _show(report: RescueReport, form: Form) -> None:
    if form.is_json:
        from fixedram_cli.render.jsonout import print_json

        print_json(report)
        return
    from fixedram_cli.render.rescued import print_rescued

    print_rescued(report.rescued)
