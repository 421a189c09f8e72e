"""`fixedram rules`, and which rules and findings `validate` counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt.validation import all_rules
from support.faulty_images import MIXED, RANKS, image, images_of, rules_of

# -- selection -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"L01", "S09", "G02", "P01"}),
        (("--select", "L01"), {"L01"}),
        (("--select", "l01,G02"), {"L01", "G02"}),
        (("--select", "L01", "--select", "P"), {"L01", "P01"}),
        (("--select", "G,S,B"), {"G02", "S09"}),
        (("--ignore", "L,S"), {"G02", "P01"}),
        (("--select", "L,G", "--ignore", "L01"), {"G02"}),
    ],
)
def test_rules_are_selected_and_ignored_by_id_and_area(
    options: tuple[str, ...], wanted: set[str], tmp_path: Path
) -> None:
    path = image(tmp_path / "guest.img", *MIXED)
    result = run_cli("validate", path, "--deep", "--json", *options)
    assert rules_of(result) == wanted
    assert images_of(result)[0]["verdict"] == "refuses", "whatever one looks at"
    assert result.code == int(bool(wanted & {"L01", "S09"}))


@pytest.mark.parametrize("option", ["--select", "--ignore"])
@pytest.mark.parametrize("name", ["L99", "Q", "layout", "\x1b[2J"])
def test_unknown_rule_is_refused_with_a_hint(option: str, name: str, tmp_path: Path) -> None:
    result = run_cli("validate", image(tmp_path / "sound.img"), option, name)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert "\x1b" not in result.err
    assert "fixedram rules lists them" in result.err


# -- baselines -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_accepted_findings_no_longer_fail_and_new_ones_do(tmp_path: Path) -> None:
    path, baseline = tmp_path / "guest.img", tmp_path / "baseline.json"
    image(path, "header-version-2")
    assert run_cli("validate", path, "--write-baseline", baseline).code == 1
    accepted = json.loads(baseline.read_text())
    assert accepted["version"] == 1
    assert [(one["image"], one["rule"]) for one in accepted["accepted"]] == [("guest.img", "L01")]
    quiet = run_cli("validate", path, "--baseline", baseline, "--json", "--fail-on", "note")
    assert quiet.code == 0
    assert rules_of(quiet) == set()
    assert images_of(quiet)[0]["accepted"] == 1
    assert images_of(quiet)[0]["verdict"] == "refuses"
    assert "1 accepted" in run_cli("validate", path, "--baseline", baseline).out
    image(path, "header-version-2", "footer-missing")
    new = run_cli("validate", path, "--baseline", baseline, "--json")
    assert new.code == 1
    assert rules_of(new) == {"S09"}
    assert images_of(new)[0]["accepted"] == 1


@pytest.mark.slow
def test_baseline_is_for_files_of_that_name(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    first = image(tmp_path / "a" / "guest.img", "header-version-2")
    same = image(tmp_path / "b" / "guest.img", "header-version-2")
    other = image(tmp_path / "b" / "other.img", "header-version-2")
    run_cli("validate", first, "--write-baseline", baseline)
    result = run_cli("validate", same, other, "--baseline", baseline, "--json")
    assert [one["accepted"] for one in images_of(result)] == [1, 0]
    assert result.code == 1


@pytest.mark.slow
def test_baseline_written_anew_keeps_what_was_accepted(tmp_path: Path) -> None:
    path, baseline = image(tmp_path / "guest.img", "header-version-2"), tmp_path / "baseline.json"
    run_cli("validate", path, "--write-baseline", baseline)
    image(path, "header-version-2", "footer-missing")
    run_cli("validate", path, "--baseline", baseline, "--write-baseline", baseline, "--force")
    assert run_cli("validate", path, "--baseline", baseline).code == 0
    # What has gone is not carried on.
    image(path, "footer-missing")
    run_cli("validate", path, "--baseline", baseline, "--write-baseline", baseline, "--force")
    rules = [one["rule"] for one in json.loads(baseline.read_text())["accepted"]]
    assert rules == ["S09"]


@pytest.mark.parametrize("text", [None, "", "[]", '{"accepted": [], "version": 7}'])
def test_what_is_no_baseline_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    if text is not None:
        path.write_text(text)
    result = run_cli("validate", image(tmp_path / "sound.img"), "--baseline", path)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert "--write-baseline makes one" in result.err


# -- rules -----------------------------------------------------------------------------------------


def test_rules_json_has_the_keys_of_the_contract() -> None:
    """DESIGN: rules[{id, severity, title, why, fix, source}]."""
    result = run_cli("rules", "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json.keys() == {"rules"}
    rules = result.json["rules"]
    assert [rule["id"] for rule in rules] == list(all_rules())
    for rule in rules:
        assert {"id", "severity", "title", "why", "fix", "source"} <= rule.keys()
        assert rule["severity"] in RANKS
        for key in ("title", "why", "source"):
            assert rule[key].strip(), rule["id"]
        assert rule["fix"] or rule["severity"] != "error", rule["id"]
        assert not re.search(r"\s{2}|\n", "".join(map(str, rule.values())))
    assert run_cli("rules", "--output", "json") == result


def test_rule_is_explained_by_its_id() -> None:
    rule = all_rules()["L03"]
    result = run_cli("rules", "L03")
    assert result.code == 0
    text = " ".join(result.out.split())
    assert text.startswith(f"L03 {rule.title} (error)")
    for part in (f"why {rule.why}", f"fix {rule.fix}", f"source {rule.source}"):
        assert part in text
    assert "L04" not in text
    assert all(len(line) <= 80 for line in result.out.splitlines())


@pytest.mark.slow
def test_rules_are_listed_by_area() -> None:
    everything = run_cli("rules").out
    for rule in all_rules().values():
        assert f"  {rule.id}  {rule.severity.value:<8}{rule.title}" in everything
    layout = run_cli("rules", "L").out.splitlines()
    assert layout[0] == "layout"
    assert {line.split()[0][0] for line in layout[1:] if line} == {"L"}
    chosen = run_cli("rules", "L", "b01", "--json").json["rules"]
    wanted = [rule_id for rule_id in all_rules() if rule_id[0] == "L" or rule_id == "B01"]
    assert [rule["id"] for rule in chosen] == wanted


def test_unknown_rule_is_told() -> None:
    result = run_cli("rules", "X99")
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert "'X99'" in result.err


def test_every_finding_names_a_rule_that_is_explained(tmp_path: Path) -> None:
    found = rules_of(run_cli("validate", image(tmp_path / "a.img", *MIXED), "--json", "--deep"))
    explained = run_cli("rules", *sorted(found), "--json").json["rules"]
    assert {rule["id"] for rule in explained} == found
