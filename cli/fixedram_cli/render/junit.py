"""JUnit XML, as CI servers read it: a suite for each image, a case for each rule with findings.

There is no standard; this keeps to the attributes that all readers know.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from fixedram_cli.render.terminal import visible
from fixedram_cli.render.wording import finding_text, loader_text, verdict_text
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.rules import all_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixedram_fmt.validation.imagereport import ImageReport, ReportedFinding
    from fixedram_fmt.validation.rule import Severity

__all__ = ["junit"]

#: What is counted in a suite, by the tag of the elements that are counted.
_COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def junit(reports: Sequence[ImageReport], fail_on: Severity | None) -> str:
    """The whole document, in ASCII: other characters are written as references.

    fail_on is the severity from which on a rule's case fails; None: nothing fails.
    """
    root = Element("testsuites", name="fixedram validate")
    for report in reports:
        suite = SubElement(root, "testsuite", name=visible(report.path))
        _add_cases(suite, report, fail_on)
    for element in (root, *root):
        for name, tag in _COUNTS.items():
            element.set(name, str(sum(1 for _ in element.iter(tag))))
    indent(root)
    document: bytes = tostring(root, encoding="us-ascii", xml_declaration=True)
    return document.decode("ascii") + "\n"


def _add_cases(suite: Element, report: ImageReport, fail_on: Severity | None) -> None:
    if report.error:
        error = SubElement(_case(suite, "read"), "error", message=visible(report.error))
        error.set("type", "unreadable")
        return
    if report.verdict:
        fails = fail_on is not None and report.verdict_stands
        _add_verdict(suite, report, fails=fails)
    # Severities of one rule's findings may differ: they are sorted by them, rules are not.
    by_rule = sorted(report.findings, key=lambda one: one.rule)
    for rule_id, findings in groupby(by_rule, key=lambda one: one.rule):
        _add_rule(suite, list(findings), report.unlisted.get(rule_id, 0), fail_on)
    if not report.findings:
        accepted = f" ({report.accepted:,} accepted)" if report.accepted else ""
        _case(suite, f"no findings{accepted}")


def _case(suite: Element, name: str) -> Element:
    return SubElement(suite, "testcase", classname=suite.get("name", ""), name=name)


def _add_verdict(suite: Element, report: ImageReport, *, fails: bool) -> None:
    case = _case(suite, f"verdict: {loader_text(report)}")
    told = verdict_text(report)
    if report.verdict not in (None, Outcome.LOADS) and fails:
        SubElement(case, "failure", message=told, type=str(report.verdict)).text = told
    else:
        SubElement(case, "system-out").text = told


def _add_rule(
    suite: Element, findings: Sequence[ReportedFinding], unlisted: int, fail_on: Severity | None
) -> None:
    rule = all_rules()[findings[0].rule]
    worst = min((finding.severity for finding in findings), key=lambda one: one.rank)
    case = _case(suite, f"{rule.id} {rule.title}")
    lines = [f"{finding.severity.value}: {finding_text(finding)}" for finding in findings]
    if unlisted:
        lines.append(f"... and {unlisted:,} more")
    if rule.fix and any(finding.fix == rule.fix for finding in findings):
        lines.append(f"fix: {rule.fix}")
    if fail_on is not None and worst.rank <= fail_on.rank:
        element = SubElement(case, "failure", message=finding_text(findings[0]), type=worst.value)
    else:
        element = SubElement(case, "system-out")
    element.text = "\n".join(lines)
