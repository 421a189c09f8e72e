"""`fixedram validate`: every finding, and what a loader would do."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fixedram_cli.command import Reading
from fixedram_cli.options import (
    DestinationOption,
    FlushOption,
    Force,
    Json,
    OutputFile,
    WouldLoadOption,
    image_argument,
    loader_named,
    option,
)
from fixedram_cli.receiver import destination_of
from fixedram_cli.target import keep
from fixedram_fmt.io.output import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.validation.report import ImageReport, Question
    from fixedram_fmt.validation.rule import Severity
    from fixedram_fmt.validation.selection import Accepted, Selection


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


@dataclass(frozen=True, slots=True)
class Asked:
    """Who would load the images, and where."""

    loader: WouldLoadOption = None
    multifd: Annotated[
        bool | None,
        option(
            "--multifd/--no-multifd",
            "Whether it would load with channels (default: designs do, QEMU does not).",
        ),
    ] = None
    flush: FlushOption = False
    deep: Annotated[bool, option("--deep", "Read the pages too: stale and zero ones.")] = False
    destination: DestinationOption = None
    no_xml: Annotated[
        bool, option("--no-xml", "Leave out the domain XML that a libvirt save carries.")
    ] = False


@dataclass(frozen=True, slots=True)
class Judged:
    """Which findings count."""

    select: Annotated[
        list[str] | None, option("--select", "Only these rules or areas, like L03,B.", "IDS")
    ] = None
    ignore: Annotated[list[str] | None, option("--ignore", "Not these rules or areas.", "IDS")] = (
        None
    )
    baseline: Annotated[
        Path | None, option("--baseline", "Accept the findings listed there.", "FILE")
    ] = None
    write_baseline: Annotated[
        Path | None, option("--write-baseline", "Write all findings as accepted.", "FILE")
    ] = None
    fail_on: Annotated[
        FailOn,
        option(
            "--fail-on", "From which severity on the exit code is 1.", "error|warning|note|never"
        ),
    ] = FailOn.ERROR


@dataclass(frozen=True, slots=True)
class Report:
    """How the findings are reported."""

    output: Annotated[
        ReportFormat,
        option("--output --format", "Form of the report.", "text|json|sarif|junit|github"),
    ] = ReportFormat.TEXT
    force: Force = False
    json_: Json = False
    out: OutputFile = None

    @property
    def form(self) -> ReportFormat:
        """What --output says, or --json."""
        return ReportFormat.JSON if self.json_ else self.output


def validate(
    images: Annotated[list[str], image_argument("IMAGE...", "Image files")],
    asked: Asked,
    judged: Judged,
    report: Report,
    jobs: Annotated[int, option("-j --jobs", "Images at once; 0: a CPU each.", "N", min=0)] = 1,
    *,
    reading: Reading,
) -> None:
    """Reads headers and bitmaps; with --deep also pages. Exit code 1: findings; 2: unreadable.

    Example: fixedram validate guest.img --loader qemu-10.0 --multifd

    Example: fixedram validate --like good.img --output sarif -o report.sarif *.img -j 0
    """
    from fixedram_cli.render import reports as render
    from fixedram_fmt.validation.selection import Baseline

    keep([*images, *(asked.destination or ())], [report.out, judged.write_baseline])
    question = _question(asked, reading)
    selection = _selection(judged)
    threshold = _threshold(judged.fail_on)
    at_once = report.form is ReportFormat.TEXT and report.out is None
    reports: list[ImageReport] = []
    accepted: list[Accepted] = []
    for one in _ask_all(images, question, jobs):
        # What was accepted before stays accepted in a baseline that is written now.
        accepted += Baseline.of([replace(selection, baseline=None).narrowed(one)]).accepted
        reports.append(selection.narrowed(one))
        if at_once:
            render.print_now(reports[-1], alone=len(images) == 1)
    if not at_once:
        text = render.rendered(reports, report.form, threshold)
        render.write(text, reports, report.out, force=report.force)
    elif len(images) > 1:
        render.tell_left_open(reports)
    if judged.write_baseline:
        with replacing(judged.write_baseline, force=report.force) as file:
            file.write(0, Baseline.joined(accepted).encoded())
    raise typer.Exit(_exit_code(reports, threshold))


def _question(asked: Asked, reading: Reading) -> Question:
    from fixedram_fmt.validation.report import Question

    model = loader_named(asked.loader) if asked.loader else None
    multifd = asked.multifd
    if multifd is None:
        multifd = model is not None and model.is_design
    return Question(
        model.name if model else None,
        multifd=multifd,
        host_long=reading.host_long,
        property_on=asked.flush,
        deep=asked.deep,
        search=reading.search,
        destination=destination_of(asked.destination),
        own_xml=not asked.no_xml,
    )


def _selection(judged: Judged) -> Selection:
    from fixedram_fmt.validation.selection import Selection, load_baseline, rule_ids

    return Selection(
        rule_ids(judged.select) if judged.select else None,
        rule_ids(judged.ignore or ()),
        load_baseline(judged.baseline) if judged.baseline else None,
    )


def _ask_all(images: Sequence[str], question: Question, jobs: int) -> Iterator[ImageReport]:
    """Reports in the order of images, each as soon as it is there."""
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
