"""Sentences on findings and verdicts, for the forms that machines pass on to people.

Everything in them is visible: no control character of a file or of its name gets through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import visible
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from fixedram_fmt.validation.imagereport import ImageReport, LoaderVerdict, ReportedFinding
    from fixedram_fmt.validation.validator import Verdict

__all__ = ["STDIN", "file_of", "finding_text", "loader_name", "loader_text", "verdict_text"]

#: What stands for standard input where a path is expected.
STDIN = "-"


def file_of(location: str) -> str:
    """The file of `PATH@OFFSET`: what a viewer has to open, since offsets are the file's."""
    try:
        return split_location(location).path
    except FixedRamError:
        return location


def finding_text(finding: ReportedFinding) -> str:
    """What was found and expected, and where; what to do, where that is not the rule's fix."""
    text = finding.message
    values = (("found", finding.found), ("expected", finding.expected))
    told = ", ".join(f"{name} {value}" for name, value in values if value)
    if told:
        text += f"; {told}"
    where = [finding.path] if finding.path else []
    if finding.offset is not None:
        where.append(f"at {finding.offset:#x}")
    if where:
        text += f" ({' '.join(where)})"
    usual = all_rules()[finding.rule].fix
    return visible(f"{text}; fix: {finding.fix}" if finding.fix != usual else text)


def loader_text(verdict: ImageReport | LoaderVerdict | Verdict) -> str:
    """Who would load it, and how."""
    return loader_name(verdict.loader, multifd=verdict.multifd)


def loader_name(loader: str, *, multifd: bool) -> str:
    """The same of a loader by its name."""
    return loader + (" with multifd" if multifd else "")


def verdict_text(report: ImageReport) -> str:
    """What the loader does, why, and by which rule that is known."""
    text = f"{loader_text(report)}: {report.verdict}"
    if report.decided_by is None:
        return text
    told = f": {report.message}" if report.message else ""
    return visible(f"{text}{told} ({report.decided_by.rule})")
