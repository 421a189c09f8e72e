"""Run the tests and ask which branches of fixedram_fmt they took; fails below the gate.

`FIXEDRAM_COVERAGE=1 make check` is `make check` with this; arguments go to pytest.  What runs in
the tests' own processes is measured.  What they start is not, which would take minutes and 2 % more
of the branches: a library is tested by its own calls.  Nor are tests marked `untraced`: they hold
time or memory to a limit, or do the same thing hundreds of times (tests/conftest.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "coverage"
PACKAGE = "fixedram_fmt"
#: Branches taken, in percent; what is done in processes of their own is not measured.
GATE = 88.0
LISTED = 25


def tests(arguments: list[str]) -> int:
    """Exit code of the tests; what was measured lies in FOLDER."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", *(arguments or ["-n", "auto"])]
    environment = {
        **os.environ,
        "COVERAGE_FILE": str(FOLDER / ".coverage"),
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
    }
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def measured() -> dict[str, Any]:
    """What coverage tells of the package, as its JSON report."""
    report = FOLDER / "report.json"
    environment = {**os.environ, "COVERAGE_FILE": str(FOLDER / ".coverage")}
    for words in (
        ["combine", "--quiet"],
        ["json", "--quiet", f"--include={PACKAGE}/*", "-o", str(report)],
    ):
        command = [sys.executable, "-m", "coverage", *words]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def shown(name: str, summary: dict[str, Any], lines: list[int]) -> str:
    """One line about a module: how much is missing, and where."""
    where = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
    missing, branches = summary["missing_branches"], summary["num_branches"]
    return (
        f"{summary['percent_branches_covered']:6.1f} %  {missing:3}/{branches:<3} {name}: {where}"
    )


def judge(told: dict[str, Any]) -> int:
    """Print where branches are missing; 1 below the gate."""
    modules = [
        (name, one["summary"], sorted({start for start, _ in one["missing_branches"]}))
        for name, one in told["files"].items()
    ]
    modules.sort(key=lambda module: -module[1]["missing_branches"])
    print("Branches of", PACKAGE, "not taken, by module and line:")
    for module in modules[:LISTED]:
        print(shown(*module))
    totals = told["totals"]
    branches, statements = totals["percent_branches_covered"], totals["percent_statements_covered"]
    print(
        f"{branches:.1f} % of {totals['num_branches']} branches, {statements:.1f} % of statements"
    )
    if branches < GATE:
        print(f"That is less than {GATE:.0f} % of the branches.")
    return int(branches < GATE)


def main() -> int:
    """Test, then judge; the exit code is the worse of the two."""
    code = tests(sys.argv[1:])
    return judge(measured()) or code


if __name__ == "__main__":
    sys.exit(main())
