"""Findings for people: worst first, grouped by rule, with the bytes they are about."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.rows import text_of
from fixedram_cli.render.terminal import count, print_line, visible
from fixedram_cli.render.wording import loader_text
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.rule import Severity
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from fixedram_fmt.validation.imagereport import Bytes, ImageReport, ReportedFinding

__all__ = ["left_open", "outcome_text", "print_report", "print_summary", "severity_style"]

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_OUTCOMES = {Outcome.LOADS: "green", Outcome.WRONG_MEMORY: "bold red"}
_PLACES_SHOWN = 5
_ROW = 16
_INDENT = "         "


def severity_style(severity: Severity) -> str:
    """How a severity looks."""
    return _STYLES[severity]


def print_report(out: Console, report: ImageReport, *, path: bool = True) -> None:
    """Everything about one image."""
    if path:
        print_line(out, Text(visible(report.path), style="bold"))
    if report.error:
        print_line(out, Text(f"  {visible(report.error)}", style="bold red"))
        return
    for line in _verdict_lines(report):
        print_line(out, line)
    for _, findings in groupby(report.findings, key=lambda one: (one.severity, one.rule)):
        print_line(out, Text())
        _print_group(out, report, list(findings))
    print_line(out, Text())
    print_line(out, Text(f"  {_totals(report)}"))


def print_summary(out: Console, report: ImageReport) -> None:
    """One line on an image."""
    if report.error or report.verdict is None:
        mark = Text("unreadable", style="bold red")
    else:
        mark = outcome_text(report.verdict)
    line = Text(visible(report.path)).append("  ").append(mark)
    told = visible(report.error) if report.error else _totals(report)
    print_line(out, line.append(f"  {told}", style="dim"))


def outcome_text(outcome: Outcome) -> Text:
    """A verdict in its colour."""
    return Text(outcome.value, style=_OUTCOMES.get(outcome, "red"))


def _verdict_lines(report: ImageReport) -> Iterator[Text]:
    if report.verdict is None:
        return
    line = Text(f"  {loader_text(report)}: ").append(outcome_text(report.verdict))
    yield line.append(_because(report))
    others: dict[str, list[str]] = {}
    for one in report.verdicts:
        if (one.loader, one.multifd) != (report.loader, report.multifd):
            others.setdefault(one.verdict.value, []).append(loader_text(one))
    if others:
        told = "; ".join(f"{', '.join(names)}: {outcome}" for outcome, names in others.items())
        yield Text(f"  {told}", style="dim")
    if report.not_judged:
        yield Text(f"  {left_open(report.not_judged)}", style="dim")


def left_open(parts: Iterable[str]) -> str:
    """What verdicts do not cover, as one line."""
    return visible(f"not judged: {'; '.join(parts)}")


def _because(report: ImageReport) -> str:
    if report.decided_by is None:
        return ""
    told = f' "{visible(report.message)}"' if report.message else ""
    return f" ({report.decided_by.rule}){told}"


def _print_group(out: Console, report: ImageReport, findings: Sequence[ReportedFinding]) -> None:
    first = findings[0]
    head = Text(f"  {first.severity.value:<8}", style=_STYLES[first.severity])
    title = all_rules()[first.rule].title
    print_line(out, head.append(f"{first.rule}  {title}", style="bold not red"))
    for finding in findings[:_PLACES_SHOWN]:
        around = None if finding.offset is None else report.bytes.get(finding.offset)
        for line in _place(finding, around):
            print_line(out, line)
    hidden = len(findings) - _PLACES_SHOWN
    hidden = max(0, hidden) + report.unlisted.get(first.rule, 0)
    if hidden:
        told = f"{_INDENT} ... and {hidden:,} more of these (see --json)"
        print_line(out, Text(told, style="dim"))
    for fix in dict.fromkeys(finding.fix for finding in findings[:_PLACES_SHOWN] if finding.fix):
        print_line(out, Text(f"{_INDENT} fix: {visible(fix)}", style="green"))


def _place(finding: ReportedFinding, around: Bytes | None) -> Iterator[Text]:
    where = f"{finding.offset:#x}" if finding.offset is not None else "-"
    text = Text(f"{_INDENT} {where}", style="dim")
    if finding.path:
        text.append(f" {visible(finding.path)}")
    yield text.append(f": {visible(finding.message)}", style="not dim")
    if finding.found or finding.expected:
        parts = [
            f"{name} {visible(value)}"
            for name, value in (("found", finding.found), ("expected", finding.expected))
            if value
        ]
        yield Text(f"{_INDENT}   {', '.join(parts)}")
    if around is not None and finding.offset is not None:
        yield from _hex(around, finding.offset)


def _hex(around: Bytes, offset: int) -> Iterator[Text]:
    """Rows of 16 bytes; the one the finding is at stands out."""
    for start in range(0, len(around.data), _ROW):
        row = around.data[start : start + _ROW]
        at = around.offset + start
        line = Text(f"{_INDENT}   {at:08x}  ", style="dim")
        for index, byte in enumerate(row):
            here = at + index == offset
            line.append(f"{byte:02x}", style="reverse not dim" if here else "dim")
            line.append(" ")
        yield line.append(f"{'':{3 * (_ROW - len(row))}} {text_of(row)}", style="dim")


def _totals(report: ImageReport) -> str:
    parts = []
    for severity in Severity:
        number = sum(one.severity is severity for one in report.findings)
        if number:
            parts.append(count(number, severity.value))
    if report.accepted:
        parts.append(f"{report.accepted:,} accepted")
    return ", ".join(parts) or "no findings"
