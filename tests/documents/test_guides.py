"""The guides: what they show is what happens, and every file in them does what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import make
from conftest import ROOT, absent
from fixedram_fmt import UnsupportedError
from fixedram_fmt.mount.fuse import require_fuse
from qemu_vm import QemuVM, require_qemu
from support.examples import Command, File, Outcome, differences, environment, play, steps, unnamed

#: Plays a guide; the folder it was played in, and what each command did.
Player = Callable[[str], tuple[Path, list[Outcome]]]

GUIDES = sorted((ROOT / "cli" / "guides").glob("*.md"))
NAMES = [guide.stem for guide in GUIDES]

_TIME_LIMIT = 120


def _fuse() -> bool:
    try:
        require_fuse()
    except UnsupportedError:
        return False
    return True


#: Programs that a reader may not have: how its commands are known, and whether it is there.
TOOLS: dict[str, tuple[str, Callable[[], bool]]] = {
    "gdb": (r"\bgdb ", lambda: shutil.which("gdb") is not None),
    "drgn": (r"\bdrgn ", lambda: find_spec("drgn") is not None),
    "volatility3": (r"\bvol ", lambda: find_spec("volatility3") is not None),
    "FUSE": (r"\bmnt\b", _fuse),
    "QEMU": (
        r"\bqemu-system|\brehearse\b|\breceiver\.(img|json)|\bdisk\.qcow2|save-into-disk",
        lambda: bool(shutil.which("qemu-system-x86_64") and shutil.which("qemu-img")),
    ),
}


@cache
def text_of(name: str) -> str:
    return (ROOT / "cli" / "guides" / f"{name}.md").read_text()


def tools_in(command: Command) -> list[str]:
    return [tool for tool, (pattern, _) in TOOLS.items() if re.search(pattern, command.text)]


def commands_of(name: str) -> list[Command]:
    return [step for step in steps(text_of(name)) if isinstance(step, Command)]


def tools_of(name: str) -> list[str]:
    used = [tool for command in commands_of(name) for tool in tools_in(command)]
    return sorted(set(used))


USES = [(name, tool) for name in NAMES for tool in tools_of(name)]
#: Files that no command of a guide uses, and tests here do.
ELSEWHERE = {".github/workflows/images.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml"}


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Player:
    """Plays each guide to its end, once."""

    @cache
    def play_guide(name: str) -> tuple[Path, list[Outcome]]:
        base = tmp_path_factory.mktemp(f"guide-{name}")
        folder = base / "here"
        folder.mkdir()
        (folder / "samples").symlink_to(ROOT / "samples")
        missing = [pattern for pattern, there in TOOLS.values() if not there()]
        return folder, play(steps(text_of(name)), folder, base / "programs", missing)

    return play_guide


def files_of(name: str) -> dict[str, str]:
    return {step.name: step.text for step in steps(text_of(name)) if isinstance(step, File)}


def run(
    command: list[str], folder: Path, programs: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**environment(programs), **variables}, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIME_LIMIT,
    )  # fmt: skip


# -- as printed -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_guide_works_as_printed(name: str, played: Player) -> None:
    _, outcomes = played(name)
    wrong = [differences(one) for one in outcomes if not tools_in(one.command)]
    assert not any(wrong), "\n\n".join(filter(None, wrong))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tool"), USES)
def test_guide_works_with(name: str, tool: str, played: Player) -> None:
    if not TOOLS[tool][1]():
        absent(tool)
    _, outcomes = played(name)
    wrong = [differences(one) for one in outcomes if tool in tools_in(one.command)]
    assert not any(wrong), "\n\n".join(filter(None, wrong))


@pytest.mark.parametrize("name", NAMES)
def test_guide_shows_nothing_that_is_not_tried(name: str) -> None:
    assert not unnamed(text_of(name)), "neither a session nor a file with a name"
    for step in steps(text_of(name)):
        if isinstance(step, File):
            used = any(step.path in command.text for command in commands_of(name))
            assert used or step.name in ELSEWHERE, step.name


def test_index_lists_every_guide() -> None:
    linked = set(re.findall(r"\]\((\S+?)\.md\)", text_of("README")))
    assert {name for name in NAMES if name != "README"} <= linked


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(name)):
        if "://" not in target:
            assert (ROOT / "cli" / "guides" / target).exists(), target


# -- how examples are compared --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "said", "same"),
    [
        ("one\ntwo", "one\ntwo", True),
        ("one\ntwo", "one\ntwo\nthree", False),
        ("two", "one\ntwo", False),
        ("one\n...\nthree", "one\ntwo\ntwo\nthree", True),
        ("one\n...\nthree", "one\nthree", True),
        ("...\nthree", "one\nthree\nfour", False),
        ("took [...] s", "took 0.3 s", True),
        ("took [...] s", "took 0.3 ms", False),
        ("a.c", "abc", False),
        ("one ...", "one two", False),
        ("", "one", False),
        ("...", "", True),
    ],
)
def test_what_is_elided_and_only_that_may_differ(printed: str, said: str, same: bool) -> None:
    command = Command("x", tuple(printed.splitlines()), 1)
    assert (not differences(Outcome(command, tuple(said.splitlines()), 0))) is same


def test_commands_of_a_session_share_a_shell(tmp_path: Path) -> None:
    session = (
        "```console\n$ cd /; word=here; false\n$ echo $? $word $PWD\n$ cat <<E\n> two\n> E\n```\n"
    )
    outcomes = play(steps(session), tmp_path, tmp_path / "programs")
    assert [one.said for one in outcomes] == [(), ("1 here /",), ("two",)]
    assert [one.code for one in outcomes] == [1, 0, 0]


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hook_lets_good_images_pass_and_stops_others(played: Player, tmp_path: Path) -> None:
    folder, _ = played("restore-safely")
    programs = folder.parent / "programs"
    saves = tmp_path / "saves"
    saves.mkdir()
    shutil.copyfile(folder / "save" / "web.save", saves / "a guest; $(x).save")
    shutil.copyfile(folder / "broken.img", saves / "db.save")
    (saves / "text.save").write_text("no image at all")
    (saves / "empty.save").touch()

    def hook(guest: str, operation: str = "restore") -> int:
        command = ["sh", str(folder / "qemu"), guest, operation, "begin", "-"]
        done = run(command, folder, programs, SAVE_DIR=str(saves))
        assert not done.stdout, "libvirt would take it for the domain's XML"
        return done.returncode

    assert hook("a guest; $(x)") == 0
    assert hook("not saved by libvirt") == 0
    assert hook("db", "prepare") == 0
    assert [hook(guest) for guest in ("db", "text", "empty")] == [1, 1, 1]


@pytest.mark.slow
def test_workflow_does_what_github_would(played: Player) -> None:
    folder, _ = played("validate-in-ci")
    workflow = yaml.safe_load(files_of("validate-in-ci")[".github/workflows/images.yml"])
    # YAML 1.1 takes the key `on` for true.
    assert workflow.keys() == {"name", True, "permissions", "jobs"}
    (job,) = workflow["jobs"].values()
    inputs: dict[str, str] = {}
    for step in job["steps"]:
        if step.get("uses") == "./tools/fixedram":
            inputs = step["with"]
            done = github(inputs, folder)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "::notice file=images/pc.img" in done.stdout
        elif "run" in step:
            done = run(["bash", "-e", "-c", step["run"]], folder, folder.parent / "programs")
            assert done.returncode == 0, done.stdout + done.stderr
        elif "upload-sarif" in step["uses"]:
            assert step["with"]["sarif_file"] == inputs["sarif"]
            assert (folder / inputs["sarif"]).exists()
        else:
            assert step["uses"].startswith("actions/checkout@")


def github(inputs: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The action's second step with these inputs; the first installs what is here already."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert inputs.keys() <= action["inputs"].keys()
    given = {name: about.get("default", "") for name, about in action["inputs"].items()} | inputs
    assert all(isinstance(value, str) for value in given.values())
    step = action["runs"]["steps"][1]
    variables = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], text)
        for name, text in step["env"].items()
    }
    command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
    return run(command, folder, folder.parent / "programs", **variables)


@pytest.mark.slow
def test_gitlab_job_does_what_gitlab_would(played: Player) -> None:
    folder, _ = played("validate-in-ci")
    (job,) = yaml.safe_load(files_of("validate-in-ci")[".gitlab-ci.yml"]).values()
    install, *script = job["script"]
    assert install == "pip install ./tools/fixedram"
    for line in script:
        done = run(["bash", "-e", "-c", line], folder, folder.parent / "programs")
        assert done.returncode == 0, done.stdout + done.stderr
    report = ElementTree.parse(folder / job["artifacts"]["reports"]["junit"])
    assert len(list(report.iter("testsuite"))) == 3


@pytest.mark.slow
def test_pre_commit_configuration_names_the_hook_of_this_repository(played: Player) -> None:
    folder, _ = played("validate-in-ci")
    (repository,) = yaml.safe_load(files_of("validate-in-ci")[".pre-commit-config.yaml"])["repos"]
    (used,) = repository["hooks"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert used["id"] == hook["id"]
    images = sorted(path.name for path in (folder / "images").iterdir())
    assert all(re.search(hook["files"], f"images/{name}") for name in images)

    def code(name: str) -> int:
        command = [*shlex.split(hook["entry"]), *used["args"], f"images/{name}"]
        return run(command, folder, folder.parent / "programs").returncode

    assert {name: code(name) for name in images} == {"guest.save": 0, "new.img": 1, "pc.img": 0}


# -- what they say about QEMU ---------------------------------------------------------------------


def loaded(image: Path, argv: Sequence[str], folder: Path) -> tuple[str, str]:
    """How a real QEMU's load of an image ends, and what memory from 1 to 16 MiB is after it."""
    make.write_guests(folder)
    with QemuVM(require_qemu("x86_64"), cwd=folder) as vm:
        vm.start((*argv, "-incoming", "defer"))
        vm.set_capabilities("mapped-ram")
        status = vm.incoming_from_file(image)
        return status, vm.pmemsave_sha256(1 << 20, 16 << 20)


@pytest.mark.qemu
def test_qemu_takes_the_image_that_the_guide_says_it_takes(played: Player, tmp_path: Path) -> None:
    require_qemu("x86_64")
    folder, _ = played("make-fixtures")
    image = folder / "whole.img"
    status, theirs = loaded(image, make.SAMPLES["pc-once"].argv, tmp_path)
    ours = run(
        ["fixedram", "read", str(image), "--phys", "1M", "15M", "-o", "ram.bin"],
        folder, folder.parent / "programs",
    )  # fmt: skip
    assert ours.returncode == 0, ours.stderr
    assert (status, theirs) == ("completed", sha256((folder / "ram.bin").read_bytes()).hexdigest())


@pytest.mark.qemu
def test_qemu_says_nothing_about_the_memory_that_the_guide_calls_wrong(
    played: Player, tmp_path: Path
) -> None:
    require_qemu("x86_64")
    folder, _ = played("restore-safely")
    bare = ("-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-machine", "pc", "-m", "16")
    status, memory = loaded(folder / "broken.img", bare, tmp_path)
    assert (status, memory) == ("completed", sha256(bytes(15 << 20)).hexdigest())
