"""What the campaigns found stays mended, and a short one finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from fuzz.mutations import SIZE_CEILING
from fuzz.recipes import Kept, attempt
from fuzz.seeds import of_sample

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("path", FOUND, ids=[path.stem for path in FOUND])
def test_found_input_is_no_trouble_any_more(path: Path, tmp_path: Path) -> None:
    attempt(Kept.from_file(path), tmp_path)


@pytest.mark.slow
def test_every_sample_gives_a_seed() -> None:
    for path in (ROOT / "samples").glob("*.xz"):
        _, raw = next(of_sample(path))
        assert 0 < len(raw) <= SIZE_CEILING, path


@pytest.mark.slow
@pytest.mark.untraced
def test_short_campaign_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.campaign", "--runs", "300", "--seed", "8"],
        cwd=ROOT / "tests", capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("300 runs")
