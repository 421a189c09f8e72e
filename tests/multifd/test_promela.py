"""The models in spec/promela hold where they should, and fail where they must.

Spin makes a C program of a model, which visits every state that the model can reach.  Of an error
that is required the kind is checked, and of a hang the place: a model that fails for some other
reason shows nothing.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT
from qemu_vm import missing, require_tool

MODELS = ROOT / "spec" / "promela"
PARAMETERS = {"CHANNELS", "JOBS", "SYNCS", "DYING", "NO_SYNC"}

NONE: frozenset[str] = frozenset()
DEADLOCK = frozenset({"invalid end state"})
CYCLE = frozenset({"acceptance cycle"})
READ_AFTER_CLEANUP = frozenset({"assertion violated !(cleanup)"})
JOBS_LOST = frozenset({"assertion violated ((jobs_done==handed_out)||(dead>0))"})

_SPIN = ("spin", "-Pcc -E -xc")  # by itself it asks gcc by name to preprocess
_TIME_LIMIT = 120
_MEMORY_LIMIT = 512  # MiB, the verifier's own bound
_DEPTH_LIMIT = 100_000
_INCOMPLETE = ("max search depth too small", "Search not completed", "reached -DMEMLIM bound")


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Verifier:
    """A model with its parameters, compiled in a folder of its own."""

    folder: Path
    model: str
    defines: tuple[str, ...]

    def errors(self, *options: str) -> frozenset[str]:
        """Every kind of error in all the states."""
        report = self.report(*options)
        count = re.search(r", errors: (\d+)$", report, re.MULTILINE)
        found = re.findall(r"^pan:\d+: (.*) \(at depth \d+\)$", report, re.MULTILINE)
        assert count, report
        assert (count[1] == "0") == (not found), report
        return frozenset(" ".join(error.split()) for error in found)

    def report(self, *options: str) -> str:
        """What the verifier says of a complete search, which does not stop at an error."""
        report = _run(self.folder, "./pan", "-c0", "-w18", f"-m{_DEPTH_LIMIT}", *options)
        assert not any(sign in report for sign in _INCOMPLETE), report
        return report

    def main_stands_at(self) -> str:
        """The line of the model at which the main thread is in the first hang that is found."""
        _run(self.folder, "./pan", "-A", f"-m{_DEPTH_LIMIT}")
        replay = _run(self.folder, *_SPIN, "-t", *self.defines, f"{self.model}.pml")
        last = re.findall(r"^ *\d+:\tproc +0 \(:init::1\) \S+:(\d+) \(", replay, re.MULTILINE)[-1]
        return (self.folder / f"{self.model}.pml").read_text().splitlines()[int(last) - 1].strip()


Compile = Callable[..., Verifier]


@pytest.fixture
def verifier(tmp_path: Path) -> Compile:
    """Makes a verifier: `verifier("one-shot", CHANNELS=2)`, with the text changed if so asked."""
    require_tool("cc")
    if not _run(tmp_path, require_tool("spin"), "-V").startswith("Spin Version"):
        missing("the spin that is installed is not the model checker")

    def compile_model(
        model: str, change: tuple[str, str] = ("", ""), *, ltl: bool = False, **sizes: int
    ) -> Verifier:
        assert PARAMETERS.issuperset(sizes)  # Spin would ignore any other
        for source in MODELS.glob("*.pml"):
            (tmp_path / source.name).write_text(source.read_text())
        if change[0]:
            source = tmp_path / f"{model}.pml"
            text = source.read_text()
            assert text.count(change[0]) == 1, change[0]
            source.write_text(text.replace(*change))
        defines = tuple(f"-D{name}={value}" for name, value in sizes.items())
        _run(tmp_path, *_SPIN, "-a", *defines, f"{model}.pml")
        flags = [] if ltl else ["-DSAFETY", "-DNOCLAIM"]
        # The optimiser would take longer than it saves, even for the largest search.
        _run(tmp_path, "cc", "-w", "-O0", f"-DMEMLIM={_MEMORY_LIMIT}", *flags, "-opan", "pan.c")
        return Verifier(tmp_path, model, defines)

    return compile_model


def sizes(**ranges: range) -> list[dict[str, int]]:
    """All combinations."""
    return [
        dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())
    ]


def name(value: object) -> str | None:
    """A test's id: `CHANNELS1-JOBS2`."""
    return "-".join(f"{k}{v}" for k, v in value.items()) if isinstance(value, dict) else None


LARGEST = {"CHANNELS": 3, "JOBS": 3, "SYNCS": 3}
ONE_SHOT = [*sizes(CHANNELS=range(1, 3), JOBS=range(3)), {"CHANNELS": 3, "JOBS": 3}]
REENTRANT = [*sizes(CHANNELS=range(1, 3), JOBS=range(3), SYNCS=range(3)), LARGEST]


# ---------------------------------------------------------------- version 4: one shot


@pytest.mark.slow
@pytest.mark.parametrize("size", ONE_SHOT, ids=name)
def test_one_shot_syncs_once(verifier: Compile, size: dict[str, int]) -> None:
    assert verifier("one-shot", **size).errors() == NONE


@pytest.mark.slow
@pytest.mark.parametrize("size", ONE_SHOT, ids=name)
def test_one_shot_hangs_at_its_second_sync(verifier: Compile, size: dict[str, int]) -> None:
    found = verifier("one-shot", **size, SYNCS=2)
    assert found.errors() == DEADLOCK
    assert found.main_stands_at() == "sem_wait(params[i].sem_sync)"


@pytest.mark.slow
@pytest.mark.parametrize("size", ONE_SHOT, ids=name)
def test_one_shot_without_a_sync_reads_after_cleanup(
    verifier: Compile, size: dict[str, int]
) -> None:
    expected = READ_AFTER_CLEANUP | JOBS_LOST if size["JOBS"] else NONE
    assert verifier("one-shot", **size, NO_SYNC=1).errors() == expected


@pytest.mark.slow
def test_one_shot_does_not_hang_but_overlooks_that_a_channel_died(verifier: Compile) -> None:
    overlooked = {"assertion violated ((jobs_done==handed_out)||exiting)"}
    assert verifier("one-shot", CHANNELS=2, JOBS=2, DYING=1).errors() == overlooked


# ---------------------------------------------------------------- the review: re-entrant


@pytest.mark.slow
@pytest.mark.parametrize("size", REENTRANT, ids=name)
def test_reentrant_syncs_as_often_as_one_likes(verifier: Compile, size: dict[str, int]) -> None:
    never_synced = size["JOBS"] and not size["SYNCS"]
    expected = READ_AFTER_CLEANUP | JOBS_LOST if never_synced else NONE
    assert verifier("reentrant", **size).errors() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "size",
    [*sizes(CHANNELS=range(1, 3), JOBS=range(1, 3), SYNCS=range(1, 3)), LARGEST],
    ids=name,
)
def test_reentrant_hangs_when_a_channel_dies(verifier: Compile, size: dict[str, int]) -> None:
    found = verifier("reentrant", **size, DYING=1)
    assert found.errors() == DEADLOCK
    assert found.main_stands_at() == "sem_wait(sem_sync)"


@pytest.mark.slow
def test_reentrant_hangs_even_if_main_looks_at_exiting_before_it_waits(verifier: Compile) -> None:
    looks = "if :: exiting -> failed = true; break :: else fi; "
    change = ("sem_wait(sem_sync)\n", looks + "sem_wait(sem_sync)\n")
    found = verifier("reentrant", change, CHANNELS=1, JOBS=1, DYING=1)
    assert found.errors() >= DEADLOCK
    assert found.main_stands_at().endswith("sem_wait(sem_sync)")


# ---------------------------------------------------------------- this project: with errors


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
@pytest.mark.parametrize("size", REENTRANT, ids=name)
def test_with_a_last_will_nothing_hangs_or_is_lost(
    verifier: Compile, size: dict[str, int], dying: int
) -> None:
    assert verifier("reentrant-errors", **size, DYING=dying).errors() == NONE


@pytest.mark.slow
@pytest.mark.parametrize("channels", [2, 3])
def test_all_channels_may_die(verifier: Compile, channels: int) -> None:
    size = {"CHANNELS": channels, "JOBS": 3, "SYNCS": 1, "DYING": channels}
    assert verifier("reentrant-errors", **size).errors() == NONE


_WILL = "record_error();\n        sem_post(idle);\n        sem_post(sem_sync)\n"
_DONE = "params[id].pending_job = false;\n            sem_post(idle)\n"
_SYNC_LOOKS = "sem_wait(sem_sync);\n        if\n        :: error != 0 ->"
_JOBS_UNDONE = frozenset({"assertion violated (failed||(jobs_done==handed_out))"})

#: What is changed, into what, and the error that it then must make.
NEEDED = {
    "error-before-its-posts": (
        (_WILL, "sem_post(idle); sem_post(sem_sync); record_error()\n"),
        _JOBS_UNDONE,
    ),
    "last-post-of-sem_sync": ((_WILL, "record_error(); sem_post(idle)\n"), DEADLOCK),
    "last-post-of-idle": ((_WILL, "record_error(); sem_post(sem_sync)\n"), DEADLOCK),
    "idle-after-pending_job": (
        (_DONE, "sem_post(idle); params[id].pending_job = false\n"),
        frozenset({"assertion violated (i<2)"}),
    ),
    "pending_job-after-the-job": (
        (":: recv(params[id].data)", ":: params[id].pending_job = false; recv(params[id].data)"),
        frozenset({"assertion violated (params[i].data==0)"}),
    ),
    "sync_main-looks-at-the-error": (
        (_SYNC_LOOKS, _SYNC_LOOKS.replace("error != 0", "false")),
        _JOBS_UNDONE,
    ),
    "channel-looks-at-exiting": ((":: exiting -> break", ":: false -> break"), DEADLOCK),
    "close-wakes-the-channels": (
        ("exiting = true;\n    for (i : 0 .. CHANNELS - 1) {\n        sem_post(params[i].sem)",
         "exiting = true;\n    for (i : 0 .. CHANNELS - 1) {\n        skip"),
        DEADLOCK,
    ),
    "close-joins": (("        params[i].ended\n", "        skip\n"), READ_AFTER_CLEANUP),
    "caller-stops-at-an-error": (
        (":: failed -> break\n", ":: failed -> failed = false\n"),
        DEADLOCK,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("change", "expected"), NEEDED.values(), ids=NEEDED)
def test_every_part_of_the_protocol_is_needed(
    verifier: Compile, change: tuple[str, str], expected: frozenset[str]
) -> None:
    found = verifier("reentrant-errors", change, CHANNELS=2, JOBS=3, SYNCS=2, DYING=2)
    assert expected <= found.errors()


# ---------------------------------------------------------------- all


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("one-shot", {"SYNCS": 1}, NONE),
        ("one-shot", {"SYNCS": 2}, CYCLE),
        ("reentrant", {"SYNCS": 2}, NONE),
        ("reentrant", {"SYNCS": 2, "DYING": 1}, CYCLE),
        ("reentrant-errors", {"SYNCS": 2}, NONE),
        ("reentrant-errors", {"SYNCS": 2, "DYING": 1}, NONE),
        ("reentrant-errors", {"SYNCS": 2, "DYING": 2}, NONE),
    ],
    ids=name,
)
def test_main_always_comes_to_its_end(
    verifier: Compile, model: str, size: dict[str, int], expected: frozenset[str]
) -> None:
    found = verifier(model, ltl=True, CHANNELS=2, JOBS=3, **size)
    assert found.errors("-a", "-f") == expected


@pytest.mark.slow
@pytest.mark.parametrize("model", ["one-shot", "reentrant", "reentrant-errors"])
def test_no_statement_of_a_model_is_dead(verifier: Compile, model: str) -> None:
    report = verifier(model, CHANNELS=2, JOBS=3, SYNCS=1, DYING=1).report()
    assert re.search(r"unreached in init\n\t\(0 of \d+ states\)", report), report
    assert not re.findall(r"\.pml:\d+, state \d+", report), report
