"""`fixedram validate`: every finding, and what a loader would do."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fixedram_cli.options import (
    ByteOrder,
    ByteOrderOption,
    FlushOption,
    Force,
    Json,
    OutputFile,
    Search,
    host_long,
    image_argument,
    keep,
    loader_named,
    loader_names,
    option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.validation.destination import Destination
    from fixedram_fmt.validation.report import ImageReport, Question
    from fixedram_fmt.validation.rule import Severity
    from fixedram_fmt.validation.selection import Accepted, Baseline, Selection


class ReportFormat(StrEnum):
    """Forms of a report."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    GITHUB = "github"


class FailOn(StrEnum):
    """From which severity on findings make the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    NEVER = "never"


def validate(
    images: Annotated[list[str], image_argument("IMAGE...", "Image files")],
    loader: Annotated[
        str | None,
        option("--loader", f"Who would load it: {loader_names()} (default: the newest QEMU; of a"
                " libvirt save the newest libvirt).", "LOADER"),
    ] = None,
    multifd: Annotated[
        bool | None,
        option("--multifd/--no-multifd",
                "Whether it would load with channels (default: designs do, QEMU does not)."),
    ] = None,
    flush: FlushOption = False,
    deep: Annotated[bool, option("--deep", "Read the pages too: stale and zero ones.")] = False,
    destination: Annotated[
        Path | None,
        option("--destination", "What the receiving VM has (JSON or TOML).", "FILE"),
    ] = None,
    like: Annotated[
        str | None, option("--like", "Take the destination from a good image.", "IMAGE")
    ] = None,
    select: Annotated[
        list[str] | None, option("--select", "Only these rules or areas, like L03,B.", "IDS")
    ] = None,
    ignore: Annotated[
        list[str] | None, option("--ignore", "Not these rules or areas.", "IDS")
    ] = None,
    baseline: Annotated[
        Path | None, option("--baseline", "Accept the findings listed there.", "FILE")
    ] = None,
    write_baseline: Annotated[
        Path | None, option("--write-baseline", "Write all findings as accepted.", "FILE")
    ] = None,
    fail_on: Annotated[
        FailOn,
        option("--fail-on", "From which severity on the exit code is 1.",
               "error|warning|note|never"),
    ] = FailOn.ERROR,
    output: Annotated[
        ReportFormat,
        option("--output --format", "Form of the report.", "text|json|sarif|junit|github"),
    ] = ReportFormat.TEXT,
    force: Force = False,
    json_: Json = False,
    out: OutputFile = None,
    jobs: Annotated[
        int, option("-j --jobs", "Images at once; 0: a CPU each.", "N", min=0)
    ] = 1,
    search: Search = False,
    byte_order: ByteOrderOption = None,
) -> None:  # fmt: skip
    """List what is wrong with images, and what loaders do.

    Reads headers and bitmaps; with --deep also pages. Exit code 1: findings; 2: unreadable.

    Example: fixedram validate guest.img --loader qemu-10.0 --multifd

    Example: fixedram validate --like good.img --output sarif -o report.sarif *.img -j 0
    """
    from dataclasses import replace

    from fixedram_fmt.validation.selection import Baseline

    keep([*images, *filter(None, [like])], [out, write_baseline])
    question = replace(
        _question(loader, multifd, byte_order),
        property_on=flush,
        deep=deep,
        search=search,
        destination=_destination(destination, like),
    )
    selection = _selection(select, ignore, baseline)
    reports = []
    form = ReportFormat.JSON if json_ else output
    shown = _shown_at_once(form, out, alone=len(images) == 1)
    told: list[Accepted] = []
    for report in _ask_all(images, question, jobs):
        # What was accepted before stays accepted in a baseline that is written now.
        told += Baseline.of([replace(selection, baseline=None).narrowed(report)]).accepted
        reports.append(selection.narrowed(report))
        if shown:
            shown(reports[-1])
    threshold = _threshold(fail_on)
    if shown is None:
        _write(reports, form, out, threshold, force=force)
    elif len(images) > 1:
        _tell_left_open(reports)
    if write_baseline:
        _write_baseline(Baseline.joined(told), write_baseline, force=force)
    raise typer.Exit(_exit_code(reports, threshold))


def _question(loader: str | None, multifd: bool | None, byte_order: ByteOrder | None) -> Question:
    from fixedram_fmt.validation.report import Question

    model = loader_named(loader) if loader else None
    if multifd is None:
        multifd = model is not None and model.is_design
    return Question(model.name if model else None, multifd=multifd, host_long=host_long(byte_order))


def _destination(file: Path | None, like: str | None) -> Destination | None:
    from fixedram_fmt.image import Image
    from fixedram_fmt.validation.destination import Destination, DestinationError, load_destination

    if file and like:
        raise typer.BadParameter("give --destination or --like, not both")
    if like:
        with Image.open(like) as image:
            if not image.complete:
                raise DestinationError(
                    f"{like!r} cannot be read to its end, and tells only a part of the destination",
                    hint="fixedram validate says what is wrong with it",
                )
            return Destination.of_image(image)
    return load_destination(file) if file else None


def _selection(
    select: list[str] | None, ignore: list[str] | None, baseline: Path | None
) -> Selection:
    from fixedram_fmt.validation.selection import Selection, load_baseline, rule_ids

    return Selection(
        rule_ids(select) if select else None,
        rule_ids(ignore or ()),
        load_baseline(baseline) if baseline else None,
    )


def _ask_all(images: Sequence[str], question: Question, jobs: int) -> Iterator[ImageReport]:
    """Reports in the order of images, each as soon as it is there."""
    import os
    from functools import partial

    from fixedram_fmt.validation.report import ask

    workers = min(jobs or os.cpu_count() or 1, len(images))
    if workers == 1 or "-" in images:
        yield from (ask(image, question) for image in images)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        try:
            yield from pool.map(partial(ask, question=question), images)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _threshold(fail_on: FailOn) -> Severity | None:
    from fixedram_fmt.validation.rule import Severity

    return None if fail_on is FailOn.NEVER else Severity(fail_on.value)


def _exit_code(reports: Sequence[ImageReport], threshold: Severity | None) -> int:
    if any(report.error for report in reports):
        return 2
    if threshold is None:
        return 0
    found = (finding for report in reports for finding in report.findings)
    return int(any(finding.severity.rank <= threshold.rank for finding in found))


# -- forms ----------------------------------------------------------------------------------------


def _shown_at_once(form: ReportFormat, out: Path | None, *, alone: bool) -> Any:
    """What prints a report as soon as it is there; None where all are needed first."""
    from functools import partial

    if form is not ReportFormat.TEXT or out:
        return None
    from fixedram_cli.render.findings import print_report, print_summary
    from fixedram_cli.render.terminal import console

    return partial(print_report if alone else print_summary, console())


def _tell_left_open(reports: Sequence[ImageReport]) -> None:
    """A note after one line an image: what the verdicts do not cover, each once."""
    from fixedram_cli.render.findings import left_open
    from fixedram_cli.render.terminal import warn

    parts = dict.fromkeys(part for one in reports for part in one.not_judged if not one.error)
    if parts:
        warn(left_open(parts))


def _write(
    reports: Sequence[ImageReport],
    form: ReportFormat,
    out: Path | None,
    threshold: Severity | None,
    *,
    force: bool,
) -> None:
    """The whole report, on stdout or into a file that is complete or not there."""
    import sys

    text = _rendered(reports, form, threshold)
    if out is None:
        sys.stdout.write(text)
        return
    from fixedram_cli.render.terminal import warn
    from fixedram_fmt.io.output import replacing

    with replacing(out, force=force) as file:
        file.write(0, text.encode())
    # Nobody need open the file to learn that something could not be read.
    for report in reports:
        if report.error:
            warn(f"error: {report.path}: {report.error}")


def _rendered(
    reports: Sequence[ImageReport], form: ReportFormat, threshold: Severity | None
) -> str:
    from fixedram_fmt.results import dumps
    from fixedram_fmt.validation.result import ImageReports

    if form is ReportFormat.JSON:
        return dumps(ImageReports(tuple(reports)), 2) + "\n"
    if form is ReportFormat.SARIF:
        from fixedram_cli.render.sarif import sarif
        from fixedram_fmt import __version__
        from fixedram_fmt.validation.rules import all_rules

        return dumps(sarif(reports, all_rules(), __version__), 1) + "\n"
    if form is ReportFormat.JUNIT:
        from fixedram_cli.render.junit import junit

        return junit(reports, threshold)
    if form is ReportFormat.GITHUB:
        from fixedram_cli.render.github import annotations

        return "".join(f"{line}\n" for line in annotations(reports))
    return _plain_text(reports)


def _plain_text(reports: Sequence[ImageReport]) -> str:
    import io

    from rich.console import Console

    from fixedram_cli.render.findings import print_report

    held = io.StringIO()
    out = Console(file=held, markup=False, emoji=False, highlight=False, width=100)
    for report in reports:
        print_report(out, report)
    return held.getvalue()


def _write_baseline(baseline: Baseline, path: Path, *, force: bool) -> None:
    from fixedram_fmt.io.output import replacing

    with replacing(path, force=force) as file:
        file.write(0, baseline.encoded())
