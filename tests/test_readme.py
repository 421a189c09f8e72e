"""The README's examples work as printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from real_files import location_of

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
#: Needs FUSE or a guest with paging on, and is tested with them.
_ELSEWHERE = ("mount", "volatility-path", "--virt")


def blocks() -> list[str]:
    """Examples with their output: a fence that begins with a command."""
    return [one for one in re.findall(r"```\n(.*?)```", README, re.DOTALL) if one.startswith("$ ")]


def commands() -> list[str]:
    """Indented lines that are commands."""
    lines = re.findall(r"^    (fixedram [^\n]+)", README, re.MULTILINE)
    found = [line.split("  #")[0].strip() for line in lines]
    return [line for line in found if not any(word in line for word in _ELSEWHERE)]


@pytest.fixture
def folder(tmp_path: Path, unpacked_dir: Path) -> Path:
    for name, sample in FILES.items():
        shutil.copyfile(location_of(sample, unpacked_dir), tmp_path / name)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / "memory.bin").write_bytes(bytes(4096))
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    fixedram = f"{shlex.quote(sys.executable)} -m fixedram_cli"
    return subprocess.run(
        ["bash", "-c", re.sub(r"\bfixedram (?=[a-z-])", f"{fixedram} ", line)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.mark.parametrize("number", range(len(blocks())))
def test_output_is_as_printed(number: int, folder: Path) -> None:
    parts = re.split(r"^\$ ", blocks()[number], flags=re.MULTILINE)[1:]
    for part in parts:
        line, _, printed = part.partition("\n")
        done = run(line, folder)
        assert done.returncode in {0, 1}, done.stderr
        if "synth" in line:
            continue
        said = [one.rstrip() for one in done.stdout.splitlines()]
        for row in printed.rstrip().splitlines():
            assert row.rstrip() in said, f"{line}: {row}"


@pytest.mark.parametrize("line", commands())
def test_command_works(line: str, folder: Path) -> None:
    if "vm.toml" in line and "destination good" not in line:
        run("fixedram destination good.img -o vm.toml", folder)
    done = run(line, folder)
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
