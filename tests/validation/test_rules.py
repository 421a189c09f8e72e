"""Every rule has an image that trips exactly it, and a twin that does not: cases/*.toml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fixedram_fmt.image import Image
from fixedram_fmt.validation import Receiver, all_rules
from fixedram_fmt.validation.report import ImageReport, Question, ask
from fixedram_fmt.write.faults import Outcome, catalogue, fault_named
from support.rule_cases import Made, cases

CASES = cases()


def findings(made: Made, path: Path, fitting: Receiver) -> ImageReport:
    made.write(path)
    destination = made.destination_from(fitting)
    report = ask(
        made.location(path), Question("qemu-10.0", deep=made.deep, destination=destination)
    )
    assert not report.error
    return report


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    with Image.open(Made().write(tmp_path_factory.mktemp("fitting") / "image")) as image:
        return Receiver.of_image(image)


def rules_of(report: ImageReport) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_each_rule_has_a_case() -> None:
    assert set(CASES) == set(all_rules())


@pytest.mark.slow
@pytest.mark.parametrize("rule_id", all_rules())
def test_rule_is_tripped_by_exactly_what_it_is_about(
    rule_id: str, tmp_path: Path, fitting: Receiver
) -> None:
    case = CASES[rule_id]
    twin = rules_of(findings(case.twin, tmp_path / "twin", fitting))
    assert rule_id not in twin
    bad = findings(case.bad, tmp_path / "bad", fitting)
    assert rules_of(bad) - twin - case.also == {rule_id}
    found = [finding for finding in bad.findings if finding.rule == rule_id]
    assert all(finding.message for finding in found)
    assert any(finding.found or finding.expected for finding in found) or rule_id in {"S20", "C07"}


def test_twins_have_nothing_else(tmp_path: Path, fitting: Receiver) -> None:
    assert rules_of(findings(Made(), tmp_path / "image", fitting)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue())
def test_fault_trips_a_rule_and_gets_the_verdict_qemu_gives_it(name: str, tmp_path: Path) -> None:
    spec = {
        "blocks": [
            {"name": "pc.ram", "size": "16M", "pattern": "counter", "density": 0.2},
            {"name": "mem1", "size": "8M", "pattern": "text", "density": 0.2},
        ],
        "devices": [],
    }
    good = Made(spec).write(tmp_path / "good")
    with Image.open(good) as image:
        destination = Receiver.of_image(image)
    question = Question("qemu-10.0", deep=True, destination=destination)
    before = ask(str(good), question)
    path = str(Made(spec, (name,)).write(tmp_path / "image"))
    for multifd in (False, True):
        report = ask(path, replace(question, multifd=multifd))
        assert report.verdict is not None
        fault = fault_named(name)
        assert report.verdict is (fault.multifd if multifd else fault.plain)
    new = rules_of(report) - rules_of(before)
    assert new or name in {"unasked-uuid"}
    assert (report.decided_by is None) == (report.verdict is Outcome.LOADS)
