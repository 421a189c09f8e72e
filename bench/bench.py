"""What the promises on speed are worth here: each figure beside a yardstick of the same run.

    python bench/bench.py                      everything, as a table of ratios
    python bench/bench.py device_state         one group
    python bench/bench.py --json figures.json  the same, kept

Exit code 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from devicestate import device_state
from loading import loading
from reading import bitmaps, sizes, start_up
from taking import taking
from writing import writing

if TYPE_CHECKING:
    from measure import Figure

GROUPS = {
    group.__name__: group
    for group in (start_up, bitmaps, sizes, writing, device_state, taking, loading)
}


def main() -> int:
    """Run the groups that are asked for, show and keep what they measured."""
    parser = argparse.ArgumentParser(description="Figures beside their yardsticks.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    wanted = parser.parse_args()
    if unknown := set(wanted.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="fixedram-bench-") as name:
        figures = [
            figure for group in wanted.groups or GROUPS for figure in GROUPS[group](Path(name))
        ]
    show(figures)
    if wanted.json:
        wanted.json.write_text(json.dumps(as_dict(figures), indent=1) + "\n")
    return 0 if all(figure.kept for figure in figures) else 1


def show(figures: list[Figure]) -> None:
    """A table; what breaks its promise is red."""
    table = Table("what", "ratio", "promise", "yardstick", box=None, header_style="bold")
    for figure in figures:
        promise = "" if figure.promise is None else f"<= {figure.promise:g}"
        style = "" if figure.kept else "red"
        table.add_row(figure.name, f"{figure.ratio:.3g}", promise, figure.yardstick, style=style)
    Console().print(table)


def as_dict(figures: list[Figure]) -> dict[str, object]:
    """The figures with the machine they are from."""
    return {
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "figures": [
            {
                "name": figure.name,
                "yardstick": figure.yardstick,
                "ratio": round(figure.ratio, 4),
                "promise": figure.promise,
                "seconds": round(figure.seconds, 6),
                "yardstick_seconds": round(figure.yardstick_seconds, 6),
            }
            for figure in figures
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
