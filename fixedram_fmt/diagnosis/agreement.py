"""Which finding of validate a message is about: the one whose rule and values agree with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.validation.ctext import c_text

if TYPE_CHECKING:
    from fixedram_fmt.diagnosis.cause import Cause
    from fixedram_fmt.stream.records import Record
    from fixedram_fmt.validation.rule import Finding
    from fixedram_fmt.validation.validator import Report

__all__ = ["best_finding", "decider", "section_name"]

#: Values of findings that are no holes of a message.
_OWN = frozenset({"says", "knows"})
#: What values of messages are called in findings, where they name the section.
_SECTION = ("section", "name")


def decider(cause: Cause, report: Report) -> Finding | None:
    """The finding that makes a loader write this very message, where one does."""
    for loader in LOADERS.values():
        verdict = report.verdict(loader, multifd=False)
        if cause.message in verdict.messages:
            return verdict.decided_by
    return None


def best_finding(cause: Cause, report: Report) -> Finding | None:
    """The finding of a rule that the message may be about, which contradicts it in nothing.

    Of several the one with the most values in common, then that of the likeliest rule.
    """
    found = []
    for order, finding in enumerate((*report.findings, *report.conditional)):
        if finding.rule.id not in cause.rules:
            continue
        agreement = _agreement(cause, finding, report)
        if agreement is not None:
            found.append((-agreement, cause.rules.index(finding.rule.id), order, finding))
    return min(found, default=(0, 0, 0, None), key=lambda one: one[:3])[3]


def section_name(header: Record[Any] | None) -> str | None:
    """The section that a record is in."""
    return c_text(header.section) if header is not None and header.section else None


def _agreement(cause: Cause, finding: Finding, report: Report) -> int | None:
    """How many values agree; None where one does not."""
    agreed = 0
    for name, value in finding.holes.items():
        if name in _OWN or name not in cause.values:
            continue
        if cause.values[name] not in _forms(value):
            return None
        agreed += 1
    for held, told in _places(cause, finding, report):
        if held is None or told is None:
            continue
        if held != told:
            return None
        agreed += 2
    return agreed


def _places(
    cause: Cause, finding: Finding, report: Report
) -> tuple[tuple[str | None, str | None], ...]:
    """Section and block, as the image and as the message has them."""
    survey = report.survey
    if survey is None:
        return ()
    section = section_name(survey.header_of(finding.path))
    told = next((cause.values[one] for one in _SECTION if one in cause.values), None)
    if cause.key in ("machine", "no-machine"):
        told = None
    block = survey.listed_by_path.get("/".join(finding.path.split("/")[:3]))
    return (section, told), (c_text(block.idstr) if block else None, cause.values.get("block"))


def _forms(value: int | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else (str(value), f"{value:x}")
