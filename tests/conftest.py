"""Fixtures: real images, unpacked once a session, and the command as a user runs it.

What is absent skips with its reason; where CI says that it must be there (FIXEDRAM_REQUIRE_SHARED)
it fails.
"""

from __future__ import annotations

import gc
import json
import lzma
import os
import resource
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from support.forked import run

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
SHARED = ROOT.parent / "shared" / "images"

_STEP = 1 << 20
_TIME_LIMIT = 120

# A deadline of 200 ms an example says how busy the machine is, not whether the code is right.
settings.register_profile("fixedram", deadline=None)
settings.load_profile("fixedram")


def absent(what: str) -> None:
    """Skip because something is absent, or fail where it must not be."""
    if os.environ.get("FIXEDRAM_REQUIRE_SHARED"):
        pytest.fail(f"{what} is absent, and FIXEDRAM_REQUIRE_SHARED is set")
    pytest.skip(f"{what} is absent")


def zstd_module() -> Any:
    """Zstandard: Python's own from 3.14 on, before that the extra's."""
    if sys.version_info >= (3, 14):
        return import_module("compression.zstd")
    return pytest.importorskip("backports.zstd")


def unpack(packed: Path, target: Path) -> Path:
    """Decompress an .xz or .zst file, zeros as holes; done once for all workers of a session."""
    if target.exists():
        return target
    opener = zstd_module().open if packed.suffix == ".zst" else lzma.open
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    with opener(packed) as stream, unfinished.open("wb") as file:
        while chunk := stream.read(_STEP):
            for start in range(0, len(chunk), 65536):
                piece = chunk[start : start + 65536]
                if piece.count(0) == len(piece):
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
        file.truncate()
    unfinished.rename(target)
    return target


def sample_entries() -> list[dict[str, Any]]:
    manifest = SAMPLES / "MANIFEST.json"
    return json.loads(manifest.read_text()) if manifest.exists() else []


def shared_entries() -> list[dict[str, Any]]:
    manifest = SHARED / "MANIFEST.json"
    return json.loads(manifest.read_text()) if manifest.exists() else []


@pytest.fixture(scope="session")
def unpacked_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers, so that an image is unpacked once."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    folder = base / "unpacked"
    folder.mkdir(exist_ok=True)
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Coverage looks at what runs in the tests' own processes, not in those that they start."""
    starts_workers = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not starts_workers:
        os.environ.pop("COVERAGE_PROCESS_START", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage looks away from tests that are marked `untraced`."""
    tracer = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    if tracer is None or item.get_closest_marker("untraced") is None:
        return (yield)
    tracer.stop()
    try:
        return (yield)
    finally:
        tracer.start()


#: Seconds of CPU that a test may take which is not marked as slow (`make test` has to stay quick),
#: on a machine that takes so long for a loop; a slower one gets more. Quick tests take a third of
#: this at most, so that only a test that is slow fails, not one that a busy machine made slow.
_BUDGET, _LOOP = 0.6, 0.008


def _budget() -> float:
    """As fast as the machine is now, not as it was at the start."""
    return _BUDGET * max(1.0, sorted(_loop() for _ in range(5))[2] / _LOOP)


def _loop() -> float:
    start = time.process_time()
    sum(number * number for number in range(200_000))
    return time.process_time() - start


def _cpu() -> float:
    """Of this process and of those that it has waited for: a busy machine does not count."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What all the tests before have left is not collected at the cost of this one."""
    if os.environ.get("FIXEDRAM_BUDGET"):
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """With FIXEDRAM_BUDGET set, hold tests that are not marked to what they may take."""
    before = _cpu()
    result = yield
    taken = _cpu() - before
    if log := os.environ.get("FIXEDRAM_BUDGET_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{taken:.3f} {item.nodeid}\n")
    marked = any(item.get_closest_marker(name) for name in ("slow", "qemu"))
    if os.environ.get("FIXEDRAM_BUDGET") and not marked and taken > _BUDGET:
        budget = _budget()
        if taken > budget:
            pytest.fail(f"takes {taken:.2f} s of CPU, more than {budget:.2f}: mark it as slow")
    return result


@dataclass(frozen=True)
class Result:
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def note(self) -> str:
        """What stderr says, which is a single line of ours."""
        (line,) = self.err.splitlines()
        assert line.startswith("fixedram: ")
        return line


def run_cli(*arguments: str | Path, stdin: bytes | None = None, **environment: str) -> Result:
    """`fixedram ARGUMENTS` in a process of its own, with a time limit."""
    words = [str(argument) for argument in arguments]
    code, out, err = run(words, stdin, {"COLUMNS": "80", **environment}, _TIME_LIMIT)
    return Result(code, out.decode(), err.decode())
