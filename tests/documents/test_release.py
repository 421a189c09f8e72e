"""What a release promises: no warnings, cheap imports, one version, all notices, true documents."""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import fixedram_fmt
from conftest import ROOT, SAMPLES, Result
from fixedram_cli.reference import pages

#: Every warning is an error, and -X dev shows files and sockets that nobody closed.
_STRICT = ("-X", "dev", "-W", "error")

_LIVE = SAMPLES / "pc-live.img.xz"
_ONCE = SAMPLES / "pc-once.img.xz"
_STREAM = SAMPLES / "legacy-stream.img.xz"

#: A run of each command that does its work; {out} is a file or folder that is not there yet.
_RUNS: dict[str, list[list[str | Path]]] = {
    "info": [["info", _LIVE], ["info", _STREAM, "--json"]],
    "dump": [["dump", _LIVE, "--depth", "2"], ["dump", _LIVE, "--json"]],
    "copy": [["copy", _LIVE, "-o", "{out}", "--drop-stale"]],
    "convert": [["convert", _STREAM, "-o", "{out}"]],
    "rescue": [["rescue", _ONCE, "-o", "{out}"], ["rescue", _ONCE, "--plan", "--json"]],
    "synth": [["synth", "-o", "{out}", "--block", "pc.ram=1M:text:0.5", "--rounds", "2"]],
    "validate": [["validate", _LIVE], ["validate", _LIVE, "--output", "sarif"]],
    "state": [["state", _LIVE], ["state", _LIVE, "--summary"], ["state", _LIVE, "--json"]],
    "read": [["read", _LIVE, "--phys", "0xfffffff0", "16"], ["read", _LIVE]],
    "extract": [
        ["extract", _LIVE, "-o", "{out}"],
        ["extract", _LIVE, "--format", "elf", "-o", "{out}"],
    ],
    "map": [["map", _LIVE], ["map", _LIVE, "-o", "{out}.png"]],
    "report": [["report", _LIVE, "-o", "{out}.html"]],
    "load": [["load", _LIVE], ["load", _LIVE, "-o", "{out}", "--json"]],
    "volatility-path": [["volatility-path"]],
    "sync": [["sync", _LIVE], ["sync", _LIVE, "--compare"]],
    "diff": [["diff", _LIVE, _ONCE]],
    "digest": [["digest", _LIVE]],
    "diagnose": [["diagnose", _LIVE], ["diagnose", "--log", "char device redirected to x"]],
    "rules": [["rules"], ["rules", "L04"]],
    "destination": [["destination", _LIVE]],
}

_BARE_STARTS = 5


def strictly(*arguments: str | Path) -> Result:
    """`fixedram ARGUMENTS` with every warning an error."""
    done = subprocess.run(
        [sys.executable, *_STRICT, "-m", "fixedram_cli", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_no_warning(done: Result) -> None:
    assert "Warning" not in done.err, done.err
    assert "Exception ignored" not in done.err, done.err
    assert "Traceback" not in done.err, done.err


@pytest.mark.slow
@pytest.mark.parametrize("command", [page.name for page in pages()])
def test_no_commands_help_warns(command: str) -> None:
    done = strictly(command, "--help")
    assert done.code == 0, done.err
    assert done.err == ""


def test_every_command_has_a_run() -> None:
    # mount needs FUSE, rehearse a QEMU, snapshots a disk, guest a kernel: tests of their own do it.
    others = {"guest", "mount", "rehearse", "snapshots"}
    assert {page.name for page in pages()} - set(_RUNS) == others


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(_RUNS))
def test_no_command_at_work_warns(command: str, tmp_path: Path) -> None:
    for number, run in enumerate(_RUNS[command]):
        out = tmp_path / f"out-{number}"
        done = strictly(*(str(one).replace("{out}", str(out)) for one in run))
        assert done.code == (1 if command == "diff" else 0), done.err
        assert_no_warning(done)


@pytest.mark.slow
def test_an_error_warns_no_more_than_success(tmp_path: Path) -> None:
    cut = tmp_path / "cut.img"
    cut.write_bytes(b"QEVM\0\0\0\3\7")
    for run in (
        ["validate", cut],
        ["load", cut],
        ["info", tmp_path / "absent.img"],
    ):
        done = strictly(*run)
        assert done.code in (1, 2)
        assert_no_warning(done)


def _seconds(code: str) -> float:
    """Processor time of a fresh interpreter that runs the code; waiting does not count."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    return spent() - before


def _starts(code: str, pairs: int = 7) -> float:
    """What the code costs in bare interpreter starts: the median over pairs run in turn."""
    return statistics.median(_seconds(code) / _seconds("pass") for _ in range(pairs))


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import fixedram_fmt", "from fixedram_fmt import FixedRamError"])
def test_the_package_imports_in_less_than_five_bare_starts(code: str) -> None:
    # The best of three medians: other work on the machine only ever adds.
    least = min(_starts(code) for _ in range(3))
    assert least < _BARE_STARTS, f"{least:.1f} bare starts"


def test_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, fixedram_fmt; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"numpy", "construct", "msgspec", "rich", "typer"} & set(done.stdout.split())


def project() -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return document


@pytest.mark.slow
def test_the_version_is_written_in_one_place() -> None:
    version = fixedram_fmt.__version__
    settings = project()
    assert "version" in settings["project"]["dynamic"]
    assert settings["tool"]["hatch"]["version"]["path"] == "fixedram_fmt/__init__.py"
    for arguments in (["--version"], ["--version", "--traceback"]):
        done = strictly(*arguments)
        assert (done.code, done.out) == (0, f"fixedram {version}\n")


def test_the_changelog_begins_with_what_is_not_released_or_this_version_and_its_day() -> None:
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    title = titles[titles[0] == "Unreleased"]
    assert re.fullmatch(re.escape(fixedram_fmt.__version__) + r" \(\d{4}-\d\d-\d\d\)", title), title


def test_every_python_that_is_named_is_one_that_ci_tries() -> None:
    settings = project()["project"]
    classifiers = " ".join(settings["classifiers"])
    named = set(re.findall(r"Python :: (3\.\d+)", classifiers))
    script = (ROOT / ".ci" / "install-pythons").read_text()
    (others,) = re.findall(r"^versions=\((.*)\)$", script, re.MULTILINE)
    assert named == {settings["requires-python"].removeprefix(">="), *others.split()}


def test_every_lower_bound_is_a_version_that_is_tested() -> None:
    pinned = dict(
        line.split("==")
        for line in (ROOT / ".ci" / "minimal.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    settings = project()["project"]
    extras = [one for group in settings["optional-dependencies"].values() for one in group]
    bounds = {}
    for requirement in settings["dependencies"] + extras:
        name, bound = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()  # type: ignore[union-attr]
        bounds[name] = bound
    assert bounds == pinned


def test_all_of_the_specification_is_installed() -> None:
    shipped = [
        one
        for one in project()["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
        if one.startswith("spec/")
    ]
    for path in sorted((ROOT / "spec").rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert any(name == one or name.startswith(f"{one}/") for one in shipped), name


def needs_the_tree() -> None:
    if not (ROOT / "fixedram_fmt").exists():
        pytest.skip("this is the installed package, tested without its source tree")


def test_licences_lie_beside_what_they_cover() -> None:
    needs_the_tree()
    files = project()["project"]["license-files"]
    assert all((ROOT / one).is_file() for one in files)
    package = Path(fixedram_fmt.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if "Volatility Software License" in path.read_text().partition('"""')[0]:
            licence = path.with_name("LICENSE.txt")
            assert licence.read_text().startswith("Volatility Software License\nVersion 1.0")


@pytest.mark.parametrize("document", ["SECURITY.md", "CONTRIBUTING.md"])
def test_files_that_a_document_names_are_there(document: str) -> None:
    needs_the_tree()
    named = re.findall(r"`([\w./-]+/[\w./-]*)`", (ROOT / document).read_text())
    assert len(named) > 5
    for name in named:
        if not name.startswith("/"):
            assert (ROOT / name).exists(), f"{document} names {name}"
