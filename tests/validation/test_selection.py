"""What is asked for and what was accepted: ids, fingerprints that last, baselines by file name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from conftest import run_cli
from fixedram_fmt.validation import AREAS, all_rules
from fixedram_fmt.validation.report import ImageReport, Question, ask
from fixedram_fmt.validation.selection import (
    Baseline,
    Selection,
    SelectionError,
    fingerprint,
    load_baseline,
    rule_ids,
)
from fixedram_fmt.write.faults import fault_named
from support.synthetic import PAGE, made

#: Faults with findings in a header, a bitmap, a page, a section and the configuration.
FAULTS = ("escaping-block", "header-version-2", "stale-page", "footer-missing", "empty-machine")


def image(path: Path, *faults: str, **spec: Any) -> Path:
    path.write_bytes(made(faults=[fault_named(fault) for fault in faults], **spec))
    return path


def told(path: Path | str, **question: Any) -> ImageReport:
    report = ask(str(path), Question(**{"loader": "qemu-11.1", "deep": True, **question}))
    assert not report.error
    return report


def prints(report: ImageReport) -> dict[str, str]:
    return {fingerprint(finding): finding.rule for finding in report.findings}


def blocks(*pages: int) -> list[dict[str, Any]]:
    return [
        {"name": f"mem{number}", "size": count * PAGE, "pattern": "counter", "density": 0.5}
        for number, count in enumerate(pages)
    ]


# -- ids ------------------------------------------------------------------------------------------


def test_rules_are_chosen_by_id_and_by_area() -> None:
    assert rule_ids(["L03"]) == {"L03"}
    assert rule_ids(["l03, b01"]) == rule_ids(["L03", "B01"]) == {"L03", "B01"}
    layout = {rule_id for rule_id in all_rules() if rule_id[0] == "L"}
    assert rule_ids(["L"]) == layout > {"L03"}
    assert rule_ids(["L,L03"]) == layout
    assert rule_ids([",".join(AREAS)]) == set(all_rules())
    assert rule_ids([]) == set()


@pytest.mark.parametrize(
    "name", ["L99", "X", "", "L0", "L033", "layout", "L03;B01", "*", "\x1b[2J"]
)
def test_what_is_no_rule_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(SelectionError) as refused:
        rule_ids(["B01", name])
    assert repr(name.upper()) in str(refused.value)
    assert refused.value.hint == "fixedram rules lists them"


def test_selection_leaves_what_is_selected_and_not_ignored(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", *FAULTS)
    everything = {finding.rule for finding in told(path).findings}
    assert {"R15", "L01", "P01", "S09", "G02"} <= everything
    for select, ignore, wanted in (
        (None, [], everything),
        (["L,S09"], [], {one for one in everything if one[0] == "L"} | {"S09"}),
        (["L"], ["L01"], {one for one in everything if one[0] == "L"} - {"L01"}),
        (None, ["L", "P"], {one for one in everything if one[0] not in "LP"}),
        (["D04"], [], set()),
    ):
        report = told(path)
        before = report.verdict
        report = Selection(rule_ids(select) if select else None, rule_ids(ignore)).narrowed(report)
        assert {finding.rule for finding in report.findings} == wanted
        assert report.verdict == before, "the loader does what it does, whatever one looks at"
        assert report.accepted == 0


# -- fingerprints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_fingerprints_survive_a_move(fault: str, tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", fault)
    moved = tmp_path / "moved.img"
    # At the same alignment: otherwise L14 goes away.
    done = run_cli("copy", path, "-o", moved, "--rebase", "3M", "--align", "4K")
    assert (done.code, done.err) == (0, "")
    before, after = told(path), told(f"{moved}@3M")
    assert prints(before) == prints(after)
    offsets = {fingerprint(one): one.offset for one in before.findings}
    shifted = [(one.offset or 0) - (offsets[fingerprint(one)] or 0) for one in after.findings]
    assert shifted
    assert all(shift >= 3 << 20 for shift in shifted)


@pytest.mark.parametrize("fault", FAULTS)
def test_fingerprints_survive_the_growth_of_other_blocks(fault: str, tmp_path: Path) -> None:
    # Faults break the first block; the one before it cannot grow, those after it can.
    small = told(image(tmp_path / "small.img", fault, blocks=blocks(8, 2)))
    large = told(image(tmp_path / "large.img", fault, blocks=blocks(8, 64)))
    assert prints(small)
    assert prints(small) == prints(large)


def test_fingerprints_survive_the_growth_of_a_block_before(tmp_path: Path) -> None:
    def live(first: int) -> ImageReport:
        spec = {"blocks": blocks(first, 64), "rounds": 4}
        return told(image(tmp_path / f"{first}.img", "no-end", **spec))

    small, large = live(16), live(80)
    assert {"S16", "P01"} <= set(prints(small).values())
    assert "section[0]/ram/block[1]/pages" in {finding.path for finding in small.findings}
    assert [one.offset for one in small.findings] != [one.offset for one in large.findings]
    assert prints(small) == prints(large)


def test_fingerprints_tell_rules_places_and_kinds_apart(tmp_path: Path) -> None:
    report = told(image(tmp_path / "guest.img", *FAULTS, blocks=blocks(8, 8, 8), align=2 * PAGE))
    assert len(prints(report)) == len(report.findings) > len(FAULTS)


# -- baselines ------------------------------------------------------------------------------------


def accepted(tmp_path: Path, *reports: ImageReport) -> Baseline:
    path = tmp_path / "baseline.json"
    path.write_bytes(Baseline.of(reports).encoded())
    return load_baseline(path)


def test_baseline_is_matched_by_the_name_of_the_file(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    path = image(folders[0] / "guest.img", *FAULTS)
    baseline = accepted(tmp_path, told(path))
    for other, known in (
        (folders[1] / "guest.img", True),
        (folders[0] / "other.img", False),
        (folders[1] / "GUEST.img", False),
        (folders[1] / "guest.img.bak", False),
    ):
        report = told(image(other, *FAULTS))
        number = len(report.findings)
        report = Selection(baseline=baseline).narrowed(report)
        assert (len(report.findings), report.accepted) == ((0, number) if known else (number, 0))


def test_offset_is_no_part_of_the_name(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", "header-version-2")
    baseline = accepted(tmp_path, told(path))
    for location in (f"{path}@0", f"{path}@0x0"):
        report = told(location)
        report = Selection(baseline=baseline).narrowed(report)
        assert report.findings == ()


def test_finding_that_was_not_accepted_stays(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", "header-version-2")
    baseline = accepted(tmp_path, told(path))
    number = len(told(path).findings)
    report = told(image(path, "header-version-2", "footer-missing"))
    report = Selection(baseline=baseline).narrowed(report)
    assert {finding.rule for finding in report.findings} == {"S09"}
    assert report.accepted == number


def test_baseline_keeps_the_same_finding_once_and_in_order(tmp_path: Path) -> None:
    reports = [told(image(tmp_path / name, *FAULTS)) for name in ("b.img", "a.img")]
    baseline = accepted(tmp_path, *reports, *reversed(reports))
    assert baseline.version == 1
    rows = [(one.image, one.rule, one.path, one.fingerprint) for one in baseline.accepted]
    assert rows == sorted(set(rows))
    assert len(rows) == sum(len(report.findings) for report in reports)
    assert {row[0] for row in rows} == {"a.img", "b.img"}


def test_baseline_takes_images_whose_names_are_no_text(tmp_path: Path) -> None:
    path = image(tmp_path / os.fsdecode(b"\xff\xfe.img"), "header-version-2")
    baseline = accepted(tmp_path, told(path))
    report = told(path)
    report = Selection(baseline=baseline).narrowed(report)
    assert report.findings == ()
    assert report.accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"accepted": 1}',
        '{"accepted": [{}]}',
        '{"accepted": [{"image": 1}]}',
        "\xff",
    ],
)
def test_what_is_no_baseline_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SelectionError, match="no baseline") as refused:
        load_baseline(path)
    assert "--write-baseline" in refused.value.hint


def test_baseline_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"accepted": [], "version": 2}))
    with pytest.raises(SelectionError, match="version"):
        load_baseline(path)
