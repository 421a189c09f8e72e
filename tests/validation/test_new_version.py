"""A new version of QEMU is one entry of LOADERS: verdicts, help and schemas take it from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from fixedram_fmt.loaders import LOADERS, Loader, Outcome, known_qemus
from fixedram_fmt.validation import validate
from fixedram_fmt.validation.catalogue import markdown
from fixedram_fmt.validation.effects import refuses
from fixedram_fmt.validation.messages import MESSAGES
from fixedram_fmt.validation.rules import all_rules
from fixedram_fmt.write.faults import fault_named
from support.synthetic import image_of, made

#: What a program does before it imports anything else: loaders.py with one entry more.
PROGRAM = """
import importlib.util, pathlib, sys, types

origin = importlib.util.find_spec("fixedram_fmt.loaders").origin
source = pathlib.Path(origin).read_text()
newest = '    _merged("qemu-11.1", "QEMU 11.1", 11),\\n'
assert newest in source
entry = '    _merged("qemu-12.0", "QEMU 12.0", 12),\\n'
module = sys.modules["fixedram_fmt.loaders"] = types.ModuleType("fixedram_fmt.loaders")
exec(compile(source.replace(newest, newest + entry), origin, "exec"), module.__dict__)
"""
HELP = PROGRAM + "from fixedram_cli.main import main; main()"
SCHEMAS = PROGRAM + "from specification.schemas import schemas; print(schemas())"


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loader = replace(LOADERS["qemu-11.1"], name="qemu-12.0", text="QEMU 12.0", major=12)
    monkeypatch.setitem(LOADERS, loader.name, loader)
    return loader


@pytest.mark.parametrize("fault", ["page-size-zero", "page-size-huge", "capability-count-huge"])
def test_a_new_version_does_what_the_one_before_does(newest: Loader, fault: str) -> None:
    report = validate(image_of(made(faults=[fault_named(fault)])))
    for multifd in (False, True):
        before = report.verdict(LOADERS["qemu-11.1"], multifd=multifd)
        assert report.verdict(newest, multifd=multifd) == replace(before, loader="qemu-12.0")
    asked = {(one.loader, one.multifd) for one in report.verdicts()}
    assert {("qemu-12.0", False), ("qemu-12.0", True)} <= asked


def test_what_a_version_changes_is_said_at_the_rule_and_at_the_message(
    newest: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = all_rules()["L02"]
    report = validate(image_of(made(faults=[fault_named("header-version-0")])))
    (finding,) = (one for one in report.findings if one.rule is rule)
    changed = replace(rule, since={12: refuses("alignment")})
    report.findings = [replace(finding, rule=changed)]
    text = replace(MESSAGES["alignment"], since={12: "{block} is not aligned"})
    monkeypatch.setitem(MESSAGES, "alignment", text)
    assert report.verdict(LOADERS["qemu-11.1"], multifd=False).outcome is Outcome.LOADS
    verdict = report.verdict(newest, multifd=False)
    assert (verdict.outcome, verdict.message) == (Outcome.REFUSES, "pc.ram is not aligned")


def test_texts_name_the_new_version(newest: Loader) -> None:
    assert known_qemus() == f"QEMU 10, 11 or {newest.major}"
    assert "what QEMU 10 does (11, 12, with multifd" in markdown()


def run(program: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "load", "sync"])
def test_help_lists_the_new_version(command: str) -> None:
    assert "qemu-12.0" in run(HELP, command, "--help")


@pytest.mark.slow
def test_json_and_its_schemas_have_the_new_version(tmp_path) -> None:
    path = tmp_path / "image"
    path.write_bytes(made())
    (image,) = json.loads(run(HELP, "validate", str(path), "--loader", "qemu-12.0", "--json"))[
        "images"
    ]
    assert image["loader"] == "qemu-12.0"
    assert "qemu-12.0" in {one["loader"] for one in image["verdicts"]}
    assert "qemu-12.0" in run(SCHEMAS)
