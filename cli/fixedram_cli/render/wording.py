"""Sentences on findings and verdicts, for the forms that machines pass on to people.

Everything in them is visible: no control character of a file or of its name gets through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.terminal import visible
from fixedram_fmt.container.locate import split_location
from fixedram_fmt.errors import FixedRamError

if TYPE_CHECKING:
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.validator import Verdict

__all__ = ["STDIN", "file_of", "finding_text", "loader_text", "verdict_text"]

#: What stands for standard input where a path is expected.
STDIN = "-"


def file_of(location: str) -> str:
    """The file of `PATH@OFFSET`: what a viewer has to open, since offsets are the file's."""
    try:
        return split_location(location)[0]
    except FixedRamError:
        return location


def finding_text(finding: Finding) -> str:
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
    return visible(f"{text}; fix: {finding.fix}" if finding.fix != finding.rule.fix else text)


def loader_text(verdict: Verdict) -> str:
    """Who would load it, and how."""
    return verdict.loader + (" with multifd" if verdict.multifd else "")


def verdict_text(verdict: Verdict) -> str:
    """What a loader does, why, and by which rule that is known."""
    text = f"{loader_text(verdict)}: {verdict.outcome.value}"
    if verdict.decided_by is None:
        return text
    told = f": {verdict.message}" if verdict.message else ""
    return visible(f"{text}{told} ({verdict.decided_by.rule.id})")
