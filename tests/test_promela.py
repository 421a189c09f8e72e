"""The models of the receive channels hold what they promise, and fail where they must (spec/promela).

Spin makes a C program of a model, which visits every state that the model can reach.  An error that
is required must be of the expected kind and in the expected place: a model that fails for another
reason shows nothing.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT
from qemu_vm import missing, require_tool

MODELS = ROOT / "spec" / "promela"

_TIME_LIMIT = 120
_MEMORY_LIMIT = 512  # MiB, the verifier's own bound
_DEPTH_LIMIT = 100_000
_SMALL = 50  # parameters multiply: the product of JOBS, SYNCS, CHANNELS

NO_DEADLOCK = "invalid end state"
NO_CLEANUP_BEFORE = "assertion violated  !(cleanup)"
NEVER_ENDS = "acceptance cycle"


@dataclass(frozen=True)
class Verdict:
    """What a complete search found: the first error ("" if none), and its whole report."""

    error: str
    report: str
    states: int


@dataclass(frozen=True)
class Verifier:
    """A model with its parameters, compiled in a folder of its own."""

    folder: Path
    model: str
    defines: tuple[str, ...]

    def run(self, *options: str) -> Verdict:
        """Search all states; an incomplete search is a failure of the test."""
        limits = ("-w18", f"-m{_DEPTH_LIMIT}")
        report = _run(self.folder, "./pan", *limits, *options)
        for sign in ("max search depth too small", "Search not completed", "reached -DMEMLIM"):
            assert sign not in report, report
        errors = re.search(r"errors: (\d+)$", report, re.MULTILINE)
        states = re.search(r"^\s*(\d+) states, stored", report, re.MULTILINE)
        assert errors, report
        assert states, report
        error = re.search(r"^pan:1: (.*) \(at depth \d+\)$", report, re.MULTILINE)
        assert (error is not None) == (errors[1] != "0"), report
        return Verdict(error[1] if error else "", report, int(states[1]))

    def main_stands_at(self) -> str:
        """The line of the model at which the main thread is when the error has happened."""
        replay = _run(self.folder, "spin", "-t", *self.defines, f"{self.model}.pml")
        final = re.findall(r"^ *\d+:\tproc +0 \(:init::1\) \w\S*:(\d+) ", replay, re.MULTILINE)
        assert final, replay
        source = (self.folder / f"{self.model}.pml").read_text().splitlines()
        return source[int(final[-1]) - 1].strip()


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def verifier(tmp_path: Path):
    """Makes the verifier of a model: `verifier("one-shot", CHANNELS=2, NO_SYNC=None)`."""
    if not _run(tmp_path, require_tool("spin"), "-V").startswith("Spin Version"):
        missing("the spin that is installed is not the model checker")
    require_tool("cc")

    def make(
        model: str, *, ltl: bool = False, change: tuple[str, str] | None = None, **sizes: int | None
    ) -> Verifier:
        for source in MODELS.glob("*.pml"):
            (tmp_path / source.name).write_text(source.read_text())
        if change:
            source = tmp_path / f"{model}.pml"
            text = source.read_text()
            assert text.count(change[0]) == 1, change[0]
            source.write_text(text.replace(*change))
        defines = tuple(
            f"-D{name}" if value is None else f"-D{name}={value}" for name, value in sizes.items()
        )
        _run(tmp_path, "spin", "-Pcc -E -xc", "-a", *defines, f"{model}.pml")
        # Most searches take less time than an optimiser.
        optimise = "-O2" if sizes.get("JOBS") == 3 and not ltl else "-O0"
        search = () if ltl else ("-DSAFETY", "-DNOCLAIM")
        _run(tmp_path, "cc", optimise, *search, f"-DMEMLIM={_MEMORY_LIMIT}", "-o", "pan", "pan.c")
        return Verifier(tmp_path, model, defines)

    return make
