"""What the campaigns found stays mended, and a short one finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.recipes import Kept, attempt
from fuzz.seeds import seeds

HERE = Path(__file__).parent
FOUND = sorted((HERE / "found").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("path", FOUND, ids=[path.stem for path in FOUND])
def test_found_input_is_no_trouble_any_more(path: Path, tmp_path: Path) -> None:
    attempt(Kept.from_file(path), tmp_path)


@pytest.mark.slow
def test_seeds_come_from_every_sample() -> None:
    samples = {path.name for path in (HERE.parent.parent / "samples").glob("*.xz")}
    assert samples == {name.partition(":")[0] for name in seeds()} & samples


@pytest.mark.slow
@pytest.mark.untraced
def test_short_campaign_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "campaign.py"), "--runs", "300", "--seed", "8"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("300 runs")
