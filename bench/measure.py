"""A figure: something timed against a yardstick of the same run.

Absolute times mean nothing on shared machines, ratios do.  A figure is the median of several runs,
taken in turn with its yardstick.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
FIXEDRAM = [sys.executable, "-m", "fixedram_cli"]
RUNS = 7
PAGE = 4096
MIB = 1 << 20
BARE = "python -c pass"


@dataclass(frozen=True)
class Figure:
    """Something timed against a yardstick; promise is the ratio that must not be exceeded."""

    name: str
    yardstick: str
    seconds: float
    yardstick_seconds: float
    promise: float | None

    @property
    def ratio(self) -> float:
        """How many times the yardstick it takes."""
        return self.seconds / self.yardstick_seconds

    @property
    def kept(self) -> bool:
        """Whether the promise holds in this run."""
        return self.promise is None or self.ratio <= self.promise


def timed(act: Callable[[], object]) -> float:
    """Seconds that act takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def compare(
    name: str,
    act: Callable[[], object],
    yardstick: str,
    other: Callable[[], object],
    promise: float | None = None,
    fresh: Path | None = None,
) -> Figure:
    """The median of act over that of other; fresh is a file to take away before each run."""

    def cleared(act: Callable[[], object]) -> float:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        return timed(act)

    act(), other()  # page cache and bytecode are warm for both
    pairs = [(cleared(act), cleared(other)) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(name, yardstick, ours, theirs, promise)


def command(*words: str | Path) -> Callable[[], object]:
    """What runs a command, and gives up where it fails."""

    def run() -> None:
        subprocess.run(
            [str(word) for word in words], check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    return run


#: What starting anything costs: the yardstick of commands that read little.
bare = command(sys.executable, "-c", "pass")


def told(
    name: str,
    act: Callable[[], float],
    yardstick: str,
    other: Callable[[], float],
    promise: float | None = None,
) -> Figure:
    """As compare, for acts that take their own time: both return seconds."""
    act(), other()
    pairs = [(act(), other()) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(name, yardstick, ours, theirs, promise)
