"""JUnit and GitHub annotations of validate, and reports of the command."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from conftest import run_cli
from fixedram_cli.render.github import annotations
from fixedram_cli.render.junit import junit
from fixedram_fmt.validation.rule import Severity
from fixedram_fmt.validation.rules import all_rules
from support.reports import HOSTILE_NAMES, image, sarif_validator, told, unreadable

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


# -- JUnit -----------------------------------------------------------------------------------------


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
    report = replace(report, findings=tuple(one for one in report.findings if one.rule in wanted))
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
    (finding,) = (one for one in report.findings if one.rule == "R15")
    milder = replace(finding, severity=Severity.NOTE, offset=7)
    report = replace(report, findings=(milder, finding))
    report = replace(report, unlisted={"R15": 1234, "L01": 5})
    (suite,) = check_structure(junit([report], Severity.ERROR))
    assert failed(suite) == ["verdict:", "R15"], "the worst of them counts"
    text = suite[1][0].text or ""
    assert text.splitlines()[0].endswith("at 0x7)")
    assert text.splitlines()[2] == "... and 1,234 more"
    assert "5 more" not in text


def test_junit_of_good_and_unreadable_images(tmp_path: Path) -> None:
    good = replace(told(image(tmp_path)), findings=(), accepted=3)
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


# -- GitHub ----------------------------------------------------------------------------------------


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
        title = f"{finding.rule} {all_rules()[finding.rule].title}"
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
    report = replace(report, unlisted={"R15": 1234, "L01": 5})
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


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sarif", "junit", "github"])
def test_command_writes_the_same_to_stdout_and_file(form: str, tmp_path: Path) -> None:
    good, bad = image(tmp_path, name="good.img"), image(tmp_path, "escaping-block", name="bad.img")
    arguments = ["validate", good, bad, "--output", form]
    shown = run_cli(*arguments)
    assert (shown.code, shown.err) == (1, "")
    file = tmp_path / "report"
    written = run_cli(*arguments, "-o", file)
    assert (written.code, written.out) == (1, "")
    assert file.read_text() == shown.out
    if form == "sarif":
        sarif_validator().validate(shown.json)
        assert len(shown.json["runs"][0]["artifacts"]) == 2
    elif form == "junit":
        good_suite, bad_suite = check_structure(shown.out)
        assert failed(good_suite) == []
        assert failed(bad_suite) == ["verdict:", "R15"]
    else:
        lines = [parsed(line) for line in shown.out.splitlines()]
        assert {line[1]["file"] for line in lines if line[0] == "error"} == {str(bad)}


def test_what_cannot_be_read_is_told_beside_a_report_in_a_file(tmp_path: Path) -> None:
    result = run_cli("validate", tmp_path / "absent", "-o", tmp_path / "report")
    assert result.code == 2
    assert result.note.startswith("fixedram: error: ")
    assert "No such file" in result.note
    assert "No such file" in (tmp_path / "report").read_text()
