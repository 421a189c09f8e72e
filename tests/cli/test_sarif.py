"""SARIF of validate: as the official schema says, with places that viewers find."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import jsonschema
import pytest
from msgspec.structs import replace

from conftest import run_cli
from fixedram_cli.render.sarif import sarif
from fixedram_fmt.validation.report import ImageReport
from fixedram_fmt.validation.rules import all_rules
from support.qcow2 import DiskBuilder, State
from support.reports import HOSTILE_NAMES, image, sarif_validator, told, unreadable
from support.synthetic import PAGE

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


def run_of(*reports: ImageReport) -> dict[str, Any]:
    (run,) = sarif(reports, all_rules(), "1.2.3")["runs"]
    return run


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_sarif_is_as_the_schema_says(fault: str, tmp_path: Path) -> None:
    report = told(image(tmp_path, fault))
    log = json.loads(json.dumps(sarif([report], all_rules(), "1.2.3")))
    sarif_validator().validate(log)
    found = [result["ruleId"] for result in log["runs"][0]["results"]]
    assert found == [finding.rule for finding in report.findings]
    assert FAULTS[fault] in found


@pytest.mark.slow
def test_sarif_schema_is_a_check_at_all(tmp_path: Path) -> None:
    log = sarif([told(image(tmp_path, "escaping-block")), unreadable()], all_rules(), "1.2.3")
    sarif_validator().validate(log)
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        sarif_validator().validate(log)


@pytest.mark.parametrize("fault", FAULTS)
def test_sarif_results_refer_to_their_rules_and_bytes(fault: str, tmp_path: Path) -> None:
    path = image(tmp_path, fault)
    report, raw = told(path), path.read_bytes()
    run = run_of(report)
    rules = run["tool"]["driver"]["rules"]
    regions = 0
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
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
    report = replace(report, findings=tuple(replace(finding, offset=offset) for offset in offsets))
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
    (finding,) = (one for one in report.findings if one.rule == "R15")
    twins = (replace(finding, offset=1), replace(finding, path="elsewhere"))
    report = replace(report, findings=(finding, *twins))
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


def test_sarif_of_a_snapshot_names_no_place_in_the_disk(tmp_path: Path) -> None:
    stream = image(tmp_path, "header-version-2").read_bytes()
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(DiskBuilder(states=[State(stream, "a"), State(stream, "b", "2")]).build())
    run = run_of(told(f"{disk}#b"))
    assert [one["length"] for one in run["artifacts"]] == [disk.stat().st_size]
    assert run["results"]
    for result in run["results"]:
        assert "region" not in result["locations"][0]["physicalLocation"]


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
