"""SARIF 2.1.0 (OASIS): findings for viewers and code scanning, with their place in bytes."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fixedram_cli.render.terminal import visible
from fixedram_cli.render.wording import STDIN, file_of, finding_text
from fixedram_fmt.results import builtins
from fixedram_fmt.validation.selection import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fixedram_fmt.validation.imagereport import Bytes, ImageReport, ReportedFinding
    from fixedram_fmt.validation.rule import Rule

__all__ = ["sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
#: A damaged header can name a place that no file has, and that readers cannot count to.
_OFFSET_CEILING = 1 << 63


def sarif(
    reports: Sequence[ImageReport], rules: Mapping[str, Rule], version: str
) -> dict[str, Any]:
    """A log with one run over all reports; rules are those that were asked, by id."""
    artifacts = _artifacts(reports)
    places = {artifact["location"]["uri"]: at for at, artifact in enumerate(artifacts)}
    indices = {rule_id: at for at, rule_id in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "fixedram",
                "version": version,
                "rules": [_descriptor(rule) for rule in rules.values()],
            }
        },
        "invocations": [_invocation(reports, places)],
        "artifacts": artifacts,
        "results": [result for report in reports for result in _results(report, indices, places)],
        "properties": {"images": [_properties(report) for report in reports]},
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


# -- rules ----------------------------------------------------------------------------------------


def _descriptor(rule: Rule) -> dict[str, Any]:
    parts = {"": rule.why, "Fix": rule.fix, "Source": rule.source}
    told = [(name, text) for name, text in parts.items() if text]
    plain = (f"{name}: {text}" if name else text for name, text in told)
    marked = (f"**{name}:** {text}" if name else text for name, text in told)
    return {
        "id": rule.id,
        "name": _pascal_case(rule.title),
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.why or f"{rule.title}."},
        "help": {"text": "\n\n".join(plain), "markdown": "\n\n".join(marked)},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"area": rule.area, "source": rule.source},
    }


def _pascal_case(title: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", title.replace("'", ""))
    return "".join(word[0].upper() + word[1:] for word in words)


# -- images ---------------------------------------------------------------------------------------


def _uri(location: str) -> str:
    """Where the image is: a relative reference, or a file URI where the path is absolute."""
    path = file_of(location)
    quoted = quote(os.fsencode(path), safe="/")
    return f"file://{quoted}" if path.startswith("/") else quoted.removeprefix("./")


def _artifacts(reports: Sequence[ImageReport]) -> list[dict[str, Any]]:
    """Each file once, however often it was looked at (PATH@OFFSET, PATH#NAME)."""
    artifacts = []
    for uri, report in {_uri(report.path): report for report in reports}.items():
        artifact: dict[str, Any] = {
            "location": {"uri": uri},
            "length": -1 if report.size is None else report.size,
            "roles": ["analysisTarget"],
            "mimeType": "application/octet-stream",
        }
        if report.path == STDIN:
            artifact["description"] = {"text": "standard input"}
        artifacts.append(artifact)
    return artifacts


def _artifact_location(report: ImageReport, places: Mapping[str, int]) -> dict[str, Any]:
    uri = _uri(report.path)
    return {"uri": uri, "index": places[uri]}


def _invocation(reports: Sequence[ImageReport], places: Mapping[str, int]) -> dict[str, Any]:
    unreadable = [report for report in reports if report.error]
    return {
        "executionSuccessful": not unreadable,
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": {"text": _plain(visible(report.error or ""))},
                "locations": [
                    {"physicalLocation": {"artifactLocation": _artifact_location(report, places)}}
                ],
            }
            for report in unreadable
        ],
    }


def _properties(report: ImageReport) -> dict[str, Any]:
    """What `validate --json` says of an image, but for the findings: the verdicts above all."""
    document = builtins(report)
    del document["findings"]
    return {**document, "path": visible(report.path), "message": visible(document["message"])}


# -- findings -------------------------------------------------------------------------------------


def _results(
    report: ImageReport, indices: Mapping[str, int], places: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for finding in report.findings:
        identity = fingerprint(finding)
        seen[identity] += 1
        numbered = f"{identity}:{seen[identity]}"
        yield {
            "ruleId": finding.rule,
            "ruleIndex": indices[finding.rule],
            "level": finding.severity.value,
            "message": {"text": _plain(finding_text(finding))},
            "locations": [_location(report, finding, places)],
            # The second name is the only one that GitHub goes by.  Without it, GitHub takes the
            # hash of the line, and all findings of a rule in a binary file for one.
            "partialFingerprints": {
                "fixedram/v1": numbered,
                "primaryLocationLineHash": numbered,
            },
        }


def _plain(text: str) -> str:
    """text without what SARIF takes for a link: names of the file could make one."""
    return text.replace("](", "] (")


def _location(
    report: ImageReport, finding: ReportedFinding, places: Mapping[str, int]
) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact_location(report, places)}
    offset = finding.offset
    # Where the stream is packed, or mapped by tables, no place in the file is that of the finding.
    if offset is not None and 0 <= offset < _OFFSET_CEILING and report.in_place:
        # GitHub shows nothing that has no line; the bytes are independent of it.
        physical["region"] = {"startLine": 1, "byteOffset": offset, "byteLength": 1}
        around = report.bytes.get(offset)
        if around and around.offset <= offset < around.offset + len(around.data):
            physical["region"]["snippet"] = _snippet(
                around.data[offset - around.offset : offset - around.offset + 1]
            )
            physical["contextRegion"] = _context(around)
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.path:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.path}]
    return location


def _context(around: Bytes) -> dict[str, Any]:
    return {
        "startLine": 1,
        "byteOffset": around.offset,
        "byteLength": len(around.data),
        "snippet": _snippet(around.data),
    }


def _snippet(data: bytes) -> dict[str, str]:
    return {"binary": b64encode(data).decode("ascii")}
