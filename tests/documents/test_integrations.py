"""The pre-commit hook and the GitHub action, run as those two run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT, absent, run_cli
from fixedram_fmt.write.faults import fault_named
from support.synthetic import made

#: Where the command of this installation is; what a hook's or action's own environment would have.
BIN = Path(sys.executable).parent
TIME_LIMIT = 120
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")

(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INSTALL, VALIDATE = ACTION["runs"]["steps"]


def write(path: Path, *faults: str, **spec: Any) -> Path:
    path.write_bytes(made(faults=[fault_named(fault) for fault in faults], **spec))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with images as people and attackers call them: five good ones and a bad one."""
    folder = tmp_path / "a checkout"
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("good.img", "with a space.img", "brackets [1].img", "deep/er/100%, so.img"):
        write(folder / name)
    write(folder / "-o dash.img")
    write(folder / "bad one.img", "escaping-block")
    return folder


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in an environment that has the installed fixedram and nothing else of ours."""
    if not (BIN / "fixedram").exists():
        absent("the installed command fixedram")
    clean = {"PATH": f"{BIN}{os.pathsep}{os.defpath}", "HOME": str(folder), **environment}
    return subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True,
        timeout=TIME_LIMIT, check=False,
    )  # fmt: skip


# -- options --------------------------------------------------------------------------------------


def test_options_of_hook_and_action_are_the_commands() -> None:
    shown = run_cli("validate", "--help", COLUMNS="200")
    assert shown.code == 0
    known = set(OPTION.findall(shown.out))
    hook, action = OPTION.findall(HOOK["entry"]), OPTION.findall(VALIDATE["run"])
    assert hook == ["--fail-on"]
    assert set(action) == {
        "--fail-on", "--loader", "--multifd", "--no-multifd", "--destination", "--select",
        "--ignore", "--baseline", "--output", "--out", "--force",
    }  # fmt: skip
    assert {*hook, *action} <= known


# -- pre-commit -----------------------------------------------------------------------------------


def hook(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """The hook as pre-commit runs it: no shell, the names of the files after the entry."""
    return run([*shlex.split(HOOK["entry"]), *HOOK.get("args", []), *names], folder)


def only_notes(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether stderr has what the verdicts leave open, once, and nothing else."""
    return re.fullmatch(r"fixedram: not judged: [^\n]+\n", done.stderr) is not None


def test_hook_is_one_that_pre_commit_can_install() -> None:
    assert HOOK["id"] == "fixedram-validate"
    assert HOOK["language"] == "python"
    assert {"id", "name", "entry", "language"} <= HOOK.keys()
    assert HOOK["entry"].split()[0] == "fixedram"
    # Before Python 3.14 nothing reads .zst without it.
    (extra,) = HOOK["additional_dependencies"]
    assert extra in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("vm/guest.img", True),
        ("guest.save", True),
        ("guest.mapped-ram", True),
        ("guest.fixed-ram.xz", True),
        ("samples/pc-live.img.xz", True),
        ("guest.save.zst", True),
        ("guest.img.gz", True),
        ("guest.img.bz2", True),
        ("guest.imgs", False),
        ("guestimg", False),
        ("guest.img.txt", False),
        ("disk.qcow2", False),
        ("archive.xz", False),
    ],
)
def test_hook_takes_images_by_their_names(name: str, taken: bool) -> None:
    assert bool(re.search(HOOK["files"], name)) is taken


@pytest.mark.slow
def test_hook_passes_good_images_and_stops_bad_ones(folder: Path) -> None:
    good = hook(folder, "good.img", "with a space.img", "deep/er/100%, so.img")
    assert (good.returncode, only_notes(good)) == (0, True)
    assert "with a space.img" in good.stdout
    bad = hook(folder, "good.img", "bad one.img")
    assert (bad.returncode, only_notes(bad)) == (1, True)
    assert "bad one.img" in bad.stdout
    assert hook(folder, "bad one.img").stdout.count("R15") >= 1, "alone, it is told at length"


@pytest.mark.slow
def test_hook_stops_what_only_looks_like_an_image(folder: Path) -> None:
    (folder / "text.img").write_text("this is no image at all\n")
    (folder / "empty.img").write_bytes(b"")
    assert hook(folder, "text.img").returncode == 1
    assert hook(folder, "empty.img").returncode == 1
    assert hook(folder, "missing.img").returncode == 2


# -- the action -----------------------------------------------------------------------------------


def test_action_is_one_that_github_can_run() -> None:
    assert ACTION["name"] == "Validate mapped-ram images"
    assert ACTION["runs"]["using"] == "composite"
    assert list(ACTION["inputs"]) == [
        "images", "loader", "multifd", "fail-on", "destination", "select", "ignore", "baseline",
        "sarif", "python",
    ]  # fmt: skip
    for name, about in ACTION["inputs"].items():
        assert about["description"]
        assert about["required"] is (name == "images")
        assert ("default" in about) is (name != "images")
    assert all(step["shell"] == "bash" for step in (INSTALL, VALIDATE))


def test_action_gives_inputs_by_the_environment_only() -> None:
    used = set()
    for step in (INSTALL, VALIDATE):
        assert "${{" not in step["run"]
        for name, value in step["env"].items():
            match = re.fullmatch(r"\$\{\{ (?:inputs\.([a-z-]+)|github\.action_path) \}\}", value)
            assert match, f"{name} is one expression and nothing else"
            assert re.search(rf"\${{?{name}\b", step["run"])
            used.add(match[1])
    assert used == {*ACTION["inputs"], None}


def github(step: dict[str, Any], folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """A step of the action as GitHub runs it; inputs have _ for -."""
    if shutil.which("bash") is None:
        absent("bash")
    given = {name: about.get("default", "") for name, about in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    assert given.keys() == ACTION["inputs"].keys()
    values = {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
    values["${{ github.action_path }}"] = str(ROOT)
    script = folder.parent / "step.sh"
    script.write_text(step["run"])
    environment = {name: values[expression] for name, expression in step["env"].items()}
    runner = folder.parent / "runner temp"
    runner.mkdir(exist_ok=True)
    environment |= {"RUNNER_TEMP": str(runner), "GITHUB_PATH": str(runner / "path")}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    return run(command, folder, **environment)


def verdicts(output: str) -> list[str]:
    """The images whose verdicts are told, as the lines write their names."""
    return re.findall(r"^::\w+ file=([^,]*),title=verdict::", output, re.M)


def test_action_installs_its_own_checkout(folder: Path) -> None:
    """With a Python that only says what it was told: there is no network here."""
    python = folder.parent / "some python"
    log = folder.parent / "log"
    python.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" end >>{shlex.quote(str(log))}\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    python.chmod(0o755)
    done = github(INSTALL, folder, python=str(python))
    assert (done.returncode, done.stderr) == (0, "")
    venv = folder.parent / "runner temp" / "fixedram-venv"
    made_venv, pip, rest = log.read_text().split("\nend\n")
    assert made_venv.split("\n") == ["-m", "venv", str(venv)]
    assert pip.split("\n")[:3] == ["-m", "pip", "install"]
    assert pip.split("\n")[-1] == f"{ROOT}[zstd]"
    assert rest == ""
    assert (folder.parent / "runner temp" / "path").read_text() == f"{venv}/bin\n"


@pytest.mark.slow
def test_action_takes_lines_and_globs(folder: Path) -> None:
    images = "\n  with a space.img  \nbrackets [1].img\n\ngood.img@0\n**/*, s?.img"
    done = github(VALIDATE, folder, images=images)
    assert (done.returncode, done.stderr) == (0, "")
    assert verdicts(done.stdout) == [
        "with a space.img", "brackets [1].img", "good.img", "deep/er/100%25%2C so.img",
    ]  # fmt: skip


@pytest.mark.slow
def test_action_takes_what_begins_like_an_option_for_an_image(folder: Path) -> None:
    done = github(VALIDATE, folder, images="*.img", fail_on="never")
    assert (done.returncode, done.stderr) == (0, "")
    names = {"-o dash.img", "bad one.img", "brackets [1].img", "good.img", "with a space.img"}
    assert set(verdicts(done.stdout)) == names
    assert {path.name for path in folder.glob("*.img")} == names, "nothing was written"


@pytest.mark.slow
def test_action_fails_for_findings_and_writes_sarif_all_the_same(folder: Path) -> None:
    done = github(VALIDATE, folder, images="good.img\nbad*", sarif="out file.sarif")
    assert (done.returncode, done.stderr) == (1, "")
    assert "::error file=bad one.img,title=R15 " in done.stdout
    (log,) = json.loads((folder / "out file.sarif").read_text())["runs"]
    assert [one["location"]["uri"] for one in log["artifacts"]] == ["good.img", "bad%20one.img"]
    assert "R15" in {result["ruleId"] for result in log["results"]}


@pytest.mark.slow
def test_action_tells_a_sarif_file_that_cannot_be_written(folder: Path) -> None:
    done = github(VALIDATE, folder, images="good.img", sarif="no such folder/x.sarif")
    assert done.returncode == 2
    assert verdicts(done.stdout) == ["good.img"]
    assert "no such folder" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("missing.img", "the image cannot be read"),
        ("no-*-such.img", "no image matches no-*-such.img"),
        ("100%*none", "no image matches 100%25*none"),
        ("\n  \n", "no images are given"),
    ],
)
def test_action_fails_where_there_is_no_image(images: str, said: str, folder: Path) -> None:
    done = github(VALIDATE, folder, images=images)
    assert done.returncode == 2
    assert done.stdout.startswith("::error ")
    assert said in done.stdout


@pytest.mark.slow
def test_action_runs_no_input_as_a_command(folder: Path) -> None:
    evil = '"; touch owned; $(touch owned) `touch owned` #'
    before = sorted(folder.rglob("*"))
    inputs = ("images", "loader", "multifd", "fail_on", "destination", "select", "ignore",
              "baseline")  # fmt: skip
    for name in inputs:
        done = github(VALIDATE, folder, **{"images": "good.img", name: evil})
        assert done.returncode == 2, name
    assert sorted(folder.rglob("*")) == before
    write(folder / "$(touch owned).img")
    done = github(VALIDATE, folder, images="$(touch owned)*", sarif="$(touch owned).sarif")
    assert done.returncode == 0
    assert (folder / "$(touch owned).sarif").exists()
    assert not (folder / "owned").exists()


@pytest.mark.slow
def test_action_hands_on_loader_and_multifd(folder: Path) -> None:
    def verdict(**inputs: str) -> str:
        done = github(VALIDATE, folder, images="good.img", fail_on="never", **inputs)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()[0].split("::")[2].split(":")[0]

    assert verdict() == "qemu-11.1"
    assert verdict(loader="qemu-10.0") == "qemu-10.0"
    assert verdict(multifd="true") == "qemu-11.1 with multifd"
    assert verdict(loader="reentrant") == "reentrant with multifd"
    assert verdict(loader="reentrant", multifd="false") == "reentrant"


@pytest.mark.slow
def test_action_hands_on_what_is_wanted_and_accepted(folder: Path) -> None:
    def code(**inputs: str) -> int:
        done = github(VALIDATE, folder, images="bad one.img", **inputs)
        assert done.stderr == ""
        return done.returncode

    assert code() == 1
    assert code(fail_on="never") == 0
    assert code(ignore="R15, P") == 0
    assert code(select="C,P") == 0
    assert code(select="R15") == 1
    accept = ("--write-baseline", folder / "known bad.json", "--fail-on", "never")
    assert run_cli("validate", folder / "bad one.img", *accept).code == 0
    assert code(baseline="known bad.json") == 0


@pytest.mark.slow
def test_action_hands_on_the_destination(folder: Path) -> None:
    other = write(folder / "other machine.img", machine="q35")
    assert run_cli("destination", other, "-o", folder / "the vm.toml").code == 0
    done = github(VALIDATE, folder, images="good.img", destination="the vm.toml")
    assert done.returncode == 1
    assert "::error file=good.img,title=T01 " in done.stdout
    done = github(VALIDATE, folder, images="other*", destination="the vm.toml")
    assert (done.returncode, done.stderr) == (0, "")
