"""The reports of `fixedram validate` in their forms, printed or written."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from fixedram_cli.render.findings import left_open, print_report, print_summary
from fixedram_cli.render.jsonout import dumps
from fixedram_cli.render.terminal import console, warn
from fixedram_cli.target import write_text
from fixedram_fmt.validation.imagereport import ImageReports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fixedram_fmt.validation.report import ImageReport
    from fixedram_fmt.validation.rule import Severity

__all__ = ["print_now", "rendered", "tell_left_open", "write"]


def print_now(report: ImageReport, *, alone: bool) -> None:
    """A report as soon as it is there: whole, or on one line where there are others."""
    (print_report if alone else print_summary)(console(), report)


def tell_left_open(reports: Sequence[ImageReport]) -> None:
    """A note after one line an image: what the verdicts do not cover, each once."""
    parts = dict.fromkeys(part for one in reports for part in one.not_judged if not one.error)
    if parts:
        warn(left_open(parts))


def write(text: str, reports: Sequence[ImageReport], out: Path | None, *, force: bool) -> None:
    """The whole report, on stdout or into a file that is complete or not there."""
    write_text(text, out, force=force)
    if out is None:
        return
    # Nobody need open the file to learn that something could not be read.
    for report in reports:
        if report.error:
            warn(f"error: {report.path}: {report.error}")


def rendered(reports: Sequence[ImageReport], form: str, threshold: Severity | None) -> str:
    """All reports in a form of --output; threshold is what --fail-on says."""
    match form:
        case "json":
            return dumps(ImageReports(tuple(reports)), 2) + "\n"
        case "sarif":
            from fixedram_cli.render.sarif import sarif
            from fixedram_fmt import __version__
            from fixedram_fmt.validation.rules import all_rules

            return dumps(sarif(reports, all_rules(), __version__), 1) + "\n"
        case "junit":
            from fixedram_cli.render.junit import junit

            return junit(reports, threshold)
        case "github":
            from fixedram_cli.render.github import annotations

            return "".join(f"{line}\n" for line in annotations(reports))
    return _plain_text(reports)


def _plain_text(reports: Sequence[ImageReport]) -> str:
    held = io.StringIO()
    out = Console(file=held, markup=False, emoji=False, highlight=False, width=100)
    for report in reports:
        print_report(out, report)
    return held.getvalue()
