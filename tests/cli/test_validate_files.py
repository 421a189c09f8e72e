"""`fixedram validate` into files: reports, baselines, and what stands there already."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import run_cli
from support.faulty_images import FORMS, image


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_report_goes_into_a_file(form: str, levels: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "report"
    command = ("validate", levels["error"], levels["sound"], "--output", form)
    written = run_cli(*command, "-o", target)
    assert (written.code, written.out, written.err) == (1, "", "")
    text = target.read_text()
    assert "L01" in text
    if form != "text":
        assert text == run_cli(*command).out
    assert names(tmp_path) == ["report"]


@pytest.mark.parametrize("option", ["-o", "--write-baseline"])
@pytest.mark.parametrize("target", ["missing/report", ".", "file/report"])
def test_target_that_cannot_be_written_is_told(
    option: str, target: str, levels: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    result = run_cli("validate", levels["error"], "--json", option, tmp_path / target)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("fixedram: error: ")
    assert names(tmp_path) == ["file"]


@pytest.mark.slow
def test_disk_that_is_full_leaves_the_old_report(levels: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-m", "fixedram_cli", "validate", levels["error"], "--output", "sarif",
         "--force", "-o", target],
        capture_output=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert b"cannot write" in done.stderr
    assert target.read_text() == "old"
    assert names(tmp_path) == ["report"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", FORMS)
def test_stdout_that_is_full_is_told(form: str, levels: dict[str, Path]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "validate", levels["error"], "--output", form],
            stdout=full, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    device = run_cli("validate", levels["sound"], "-o", "/dev/full")
    assert device.code == 2
    assert len(device.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", ["-o", "--write-baseline"])
def test_report_is_not_written_over_an_image(
    option: str, levels: dict[str, Path], tmp_path: Path
) -> None:
    path = image(tmp_path / "guest.img")
    raw = path.read_bytes()
    link = tmp_path / "link.img"
    link.symlink_to(path)
    for arguments in (
        (path, option, path),
        (f"{path}@0", option, link),
        (levels["sound"], "--like", path, option, path),
    ):
        result = run_cli("validate", *arguments)
        assert result.code == 2
        assert "is an image, and is kept" in result.err
        assert path.read_bytes() == raw
    for target in (path, link):
        result = run_cli("destination", path, "-o", target)
        assert result.code == 2
        assert "is an image, and is kept" in result.err
        assert path.read_bytes() == raw
