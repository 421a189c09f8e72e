"""Annotations of a GitHub workflow: commands on stdout, one a line.

What they look like: `::error file=PATH,title=TITLE::MESSAGE`, escaped as actions/toolkit
packages/core/src/command.ts does, or a name could end the command and start another.
"""

# No `from __future__ import annotations` here: it would take the name of the function.
from collections.abc import Iterator, Mapping, Sequence

from fixedram_cli.render.terminal import visible
from fixedram_cli.render.wording import STDIN, file_of, finding_text, verdict_text
from fixedram_fmt.validation.imagereport import ImageReport
from fixedram_fmt.validation.rule import Severity
from fixedram_fmt.validation.rules import all_rules

__all__ = ["annotations"]

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_IN_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = {**_IN_MESSAGE, ":": "%3A", ",": "%2C"}


def annotations(reports: Sequence[ImageReport]) -> Iterator[str]:
    """Lines without their ends.

    The verdict comes first: GitHub shows ten annotations of a kind and drops the rest.
    """
    for report in reports:
        if report.error:
            yield _command("error", report.path, "the image cannot be read", report.error)
            continue
        if report.verdict:
            told = verdict_text(report)
            yield _command(
                "error" if report.verdict_stands else "notice", report.path, "verdict", told
            )
        for finding in report.findings:
            title = f"{finding.rule} {all_rules()[finding.rule].title}"
            command = _COMMANDS[finding.severity]
            yield _command(command, report.path, title, finding_text(finding))
        yield from _unlisted(report)


def _unlisted(report: ImageReport) -> Iterator[str]:
    """How many more there are of what is told; of rules that are not wanted nothing is said."""
    for rule_id in dict.fromkeys(finding.rule for finding in report.findings):
        more = report.unlisted.get(rule_id)
        if more:
            yield _command("notice", report.path, rule_id, f"and {more:,} more findings of it")


def _command(command: str, location: str, title: str, message: str) -> str:
    properties = {"file": file_of(location)} if location != STDIN else {}
    properties["title"] = title
    told = ",".join(f"{name}={_escaped(text, _IN_PROPERTY)}" for name, text in properties.items())
    return f"::{command} {told}::{_escaped(message, _IN_MESSAGE)}"


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(char) or visible(char) for char in text)
