"""The README's examples work as printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import ROOT
from support.examples import (
    Command,
    Outcome,
    differences,
    excerpt_of,
    indented_commands,
    play,
    steps,
    unnamed,
)
from support.real_files import location_of

README = (ROOT / "README.md").read_text()

#: What the files of the examples are.
FILES = {
    "guest.img": "sample/q35-dimm",
    "good.img": "sample/pc-once",
    "other.img": "sample/pc-once",
    "no-vmdesc.img": "sample/pc-no-vmdesc",
    "before.img": "sample/pc-once",
    "after.img": "sample/pc-live",
    "OLD": "sample/legacy-stream",
}
#: Needs FUSE, a QEMU or a guest with paging on, and is tested with them.
_ELSEWHERE = ("mount", "rehearse", "volatility-path", "--virt")


def sessions() -> list[list[Command]]:
    """The examples with output, those together whose later ones need what earlier ones write."""
    found: list[list[Command]] = []
    for step in steps(README):
        if not isinstance(step, Command):
            continue
        if found and found[-1][-1].text.startswith("fixedram synth"):
            found[-1].append(step)
        else:
            found.append([step])
    return found


def examples_in(language: str) -> list[str]:
    return [one.text for one in unnamed(README) if one.language == language]


def commands() -> list[str]:
    found = indented_commands(README)
    return [line for line in found if not any(word in line for word in _ELSEWHERE)]


@pytest.fixture
def folder(tmp_path: Path, unpacked_dir: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    for name, sample in FILES.items():
        shutil.copyfile(location_of(sample, unpacked_dir), folder / name)
    (folder / "samples").symlink_to(ROOT / "samples")
    (folder / "memory.bin").write_bytes(bytes(4096))
    return folder


def run(document: list[Command], folder: Path) -> list[Outcome]:
    done = play(document, folder, folder.parent / "programs")
    for one in done:
        assert one.code in {0, 1}, "\n".join(one.said)
        assert not any("Traceback" in line for line in one.said)
    return done


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(sessions())))
def test_output_is_as_printed(number: int, folder: Path) -> None:
    for one in run(sessions()[number], folder):
        wrong = differences(one) if "..." in one.command.printed else excerpt_of(one)
        assert not wrong, f"{one.command.text}: {wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_command_works(line: str, folder: Path) -> None:
    before = "fixedram destination good.img -o vm.toml"
    needed = [before] if "vm.toml" in line and line != before else []
    run([Command(text, (), 0) for text in [*needed, line]], folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(examples_in("python"))))
def test_python_works(number: int, folder: Path) -> None:
    text = examples_in("python")[number]
    tests = "def test_" in text
    name = "test_example.py" if tests else "example.py"
    if "import Image" not in text:
        text = f"from fixedram_fmt import Image\n{text}"
    (folder / name).write_text(text)
    command = "pytest -q -p no:cacheprovider" if tests else "python -W error"
    (done,) = run([Command(f"{command} {name}", (), 0)], folder)
    assert done.code == 0, "\n".join(done.said)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(examples_in("toml"))))
def test_spec_makes_an_image(number: int, folder: Path) -> None:
    (folder / "spec.toml").write_text(examples_in("toml")[number])
    run([Command("fixedram synth spec.toml -o made.img", (), 0)], folder)
    (done,) = run([Command("fixedram validate made.img", (), 0)], folder)
    assert done.code == 0, "\n".join(done.said)
