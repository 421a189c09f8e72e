"""Fuzz every command for a given time, or for a given number of runs.

    cd tests
    python -m fuzz.campaign --seconds 600 [--seed N] [--only COMMAND] [--seeds NAME] [--keep FOLDER]
    python -m fuzz.campaign --runs 300

Inputs are seeds with a few mutations; those that are answered in a new way become seeds in turn.
A failure is made smaller, printed, and kept with all it takes to show it: moved to
tests/fuzz/found/ it is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz.entries import COMMANDS, ON_DOCUMENTS, FuzzError, Ran
from fuzz.recipes import Recipe, attempt, kept, smaller
from fuzz.seeds import documents, seeds

if TYPE_CHECKING:
    from collections.abc import Callable

#: Runs in one child: what leaks in it ends with it.
_BATCH = 150
#: Mutants that are mutated further, and how often at most.
_POOL_CEILING = 3000
_STEPS_CEILING = 8
#: One run in so many is disturbed, by a signal or by changes of its file.
_TROUBLES = 40
#: Characters of an answer that are compared with those before.
_ANSWER = 3000


@dataclass(slots=True)
class Tally:
    """What a campaign has seen, by command."""

    runs: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, str]] = field(default_factory=dict)
    kib: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def add(self, recipe: Recipe, told: dict[str, Any]) -> None:
        """Count a run that held."""
        command = recipe.words[0]
        self.codes[told["code"]] += 1
        if recipe.trouble:
            self.troubles[recipe.trouble[0]] += 1
        self.kib[command] = max(self.kib.get(command, 0), told["kib"])
        took = told["seconds"], f"{' '.join(recipe.words)} of {recipe.seed} {list(recipe.steps)}"
        self.slowest[command] = max(self.slowest.get(command, (0.0, "")), took)

    def report(self) -> str:
        """Lines for people."""
        lines = [
            f"{self.runs.total()} runs, exit codes {dict(sorted(self.codes.items()))},"
            f" disturbed {dict(sorted(self.troubles.items()))}"
        ]
        for command, runs in sorted(self.runs.items()):
            seconds, which = self.slowest.get(command, (0.0, ""))
            peak = self.kib.get(command, 0) / 1024
            lines.append(f"  {command:12} {runs:7} {peak:6.0f} MiB {seconds:6.2f} s  {which[:120]}")
        return "\n".join([*lines, *(f"found: {one}" for one in self.found)])


class Campaign:
    """Draws recipes and has children run them."""

    def __init__(self, seed: int, only: str | None, keep: Path | None, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.commands = [words for words in COMMANDS if only in (None, words[0])]
        self.with_documents = only is None
        self.keep = keep
        self.folder = folder
        self.tally = Tally()
        self.pool: list[tuple[str, tuple[int, ...]]] = [(name, ()) for name in seeds()]
        self.answers: set[str] = set()

    def batch(self, size: int) -> None:
        """Run so many recipes in a child."""
        recipes = [self._drawn() for _ in range(size)]
        for told in _in_child(recipes, self.folder):
            recipe = recipes[told["number"]]
            self.tally.runs[recipe.words[0]] += 1
            if "failed" in told:
                self._found(recipe, told["failed"])
                continue
            self.tally.add(recipe, told)
            new = told["answer"] not in self.answers and recipe.steps
            if new and len(self.pool) < _POOL_CEILING:
                self.answers.add(told["answer"])
                self.pool.append((recipe.seed, recipe.steps))

    def _drawn(self) -> Recipe:
        chance = self.chance
        name, steps = chance.choice(self.pool)
        more = tuple(chance.getrandbits(32) for _ in range(chance.choice((0, 1, 1, 1, 2, 3))))
        steps = (steps + more)[:_STEPS_CEILING]
        if self.with_documents and chance.randrange(12) == 0:
            use = chance.choice(sorted(ON_DOCUMENTS))
            kind = use if use in documents() else "destination"
            changes = tuple(chance.getrandbits(32) for _ in range(chance.choice((1, 1, 2, 3))))
            return Recipe(name, steps, tuple(chance.choice(ON_DOCUMENTS[use])), (kind, changes))
        words = tuple(chance.choice(self.commands))
        trouble = None
        if chance.randrange(_TROUBLES) == 0 and not words[0].startswith("@"):
            trouble = chance.choice(("signal", "changing")), chance.getrandbits(32)
        return Recipe(name, steps, words, trouble=trouble)

    def _found(self, recipe: Recipe, why: str) -> None:
        told = f"{recipe.words[0]}: {why[:60]}"
        if told in self.tally.found:
            return
        self.tally.found.append(told)
        if not why.startswith("died"):
            recipe = smaller(recipe, self.folder, why)
        print(f"found: {why}\n  {recipe}", flush=True)
        if self.keep is not None:
            self.keep.mkdir(exist_ok=True)
            path = self.keep / f"{recipe.words[0]}-{len(self.tally.found)}.json"
            path.write_text(kept(recipe, why).as_json())


def _in_child(recipes: list[Recipe], folder: Path) -> list[dict[str, Any]]:
    """What came of each recipe; of one that ends the child, that."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            with os.fdopen(writer, "w", buffering=1) as stream:
                _run_all(recipes, folder, lambda told: print(json.dumps(told), file=stream))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = [json.loads(line) for line in stream]
    _, status = os.waitpid(pid, 0)
    if status:
        told.append({"number": len(told), "failed": f"died with status {status}"})
    return told


def _run_all(recipes: list[Recipe], folder: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    for number, recipe in enumerate(recipes):
        try:
            done = attempt(kept(recipe, ""), folder)
        except FuzzError as error:
            tell({"number": number, "failed": str(error)})
            continue
        answer = f"{recipe.words[0]} {done.code} {_shape(done):x}"
        tell({"number": number, "code": done.code, "seconds": done.seconds, "kib": done.kib,
              "answer": answer})  # fmt: skip


def _shape(done: Ran) -> int:
    """The words of an answer without its numbers and names."""
    text = (done.errors or done.output)[:_ANSWER].decode("utf-8", "replace")
    words = re.sub(r"0x[0-9a-f]+|[0-9,.]+|'[^']*'", "#", text).split()
    return zlib.crc32(" ".join(sorted(set(words))).encode())


def main() -> int:
    """As the module's docstring says; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, help="how long (whole batches)")
    parser.add_argument("--runs", type=int, default=0, help="or how many runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one command")
    parser.add_argument("--seeds", default="", help="only seeds whose names begin so")
    parser.add_argument("--keep", type=Path, help="a folder for what is found")
    given = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        campaign = Campaign(given.seed, given.only, given.keep, Path(folder))
        campaign.pool = [one for one in campaign.pool if one[0].startswith(given.seeds)]
        stop = time.monotonic() + (given.seconds or 0)
        while time.monotonic() < stop or campaign.tally.runs.total() < given.runs:
            campaign.batch(min(_BATCH, given.runs) if given.runs else _BATCH)
    print(campaign.tally.report())
    return int(bool(campaign.tally.found))


if __name__ == "__main__":
    sys.exit(main())
