"""Which program reads which file: every program that is here is asked for memory and devices.

    python bench/comparison/compare.py                     fixedram, and volatility3 if it is there
    python bench/comparison/compare.py --analyzer QEMU-10.0/scripts/analyze-migration.py \\
        --analyzer QEMU-11.1/scripts/analyze-migration.py
    python bench/comparison/compare.py --vmlinux vmlinux --guest linux.img     crash too
    python bench/comparison/compare.py --only stream --only mapped

Memory counts when it has the SHA-256 of what QEMU's monitor dumped (samples/MANIFEST.json), devices
when a register of the CPU is named. --write keeps the answers in results.json and README.md beside
this file; columns that were not asked keep their old answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "samples")]

import programs as ask  # noqa: E402
from files import FILES, prepare  # noqa: E402
from table import RESULTS, Results, markdown, page  # noqa: E402

FIXEDRAM = [sys.executable, "-m", "fixedram_cli"]


def main() -> None:
    wanted = arguments()
    results: Results = {}
    with TemporaryDirectory(prefix="fixedram-comparison-") as name:
        files = [(one, prepare(one, Path(name), FIXEDRAM)) for one in FILES
                 if not wanted.only or one.key in wanted.only]  # fmt: skip
        for program in found(wanted):
            for given, path in files:
                with ask.empty_folder() as folder:
                    answer = program.ask(given, path, Path(folder))
                results.setdefault(program.name, {})[given.key] = asdict(answer)
                print(f"{program.name:34} {given.key:10} {answer}", file=sys.stderr)
    if wanted.write:
        results = {**json.loads(RESULTS.read_text()), **results} if RESULTS.exists() else results
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "README.md").write_text(page(results))
    print(markdown(results))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Which program reads which file.")
    parser.add_argument("--analyzer", type=Path, action="append", default=[], metavar="SCRIPT",
                        help="QEMU's analyze-migration.py, as [VERSION=]PATH")  # fmt: skip
    parser.add_argument(
        "--vol", default=ask.which("vol") or str(Path(sys.executable).parent / "vol")
    )
    parser.add_argument("--vmlinux", type=Path, help="of the guest, with debug information")
    parser.add_argument("--guest", type=Path, help="a mapped-ram image of a Linux guest")
    parser.add_argument("--older", type=Path, help="an ordinary stream of it, machine type <= 9.2")
    parser.add_argument("--only", action="append", choices=[one.key for one in FILES])
    parser.add_argument("--write", action="store_true", help="keep the answers")
    return parser.parse_args()


def found(wanted: argparse.Namespace) -> list[ask.Program]:
    """Those that are here."""
    here = [ask.fixedram(FIXEDRAM)]
    for given in wanted.analyzer:
        version, _, script = str(given).rpartition("=")
        name = f"analyze-migration.py {version}".strip()
        here.append(ask.analyzer(Path(script).resolve(), sys.executable, name))
    if Path(wanted.vol).exists():
        here.append(ask.volatility([wanted.vol], f"volatility3 {version_of(wanted.vol, '--help')}"))
    if wanted.vmlinux and wanted.guest and (command := ask.which("crash")):
        kernel = ask.Kernel(wanted.vmlinux.resolve(), wanted.guest.resolve(), wanted.older)
        here.append(ask.crash(command, kernel, FIXEDRAM, f"crash {version_of(command, '-v')}"))
    return here


def version_of(command: str, option: str) -> str:
    """The first number with dots that it prints."""
    import re

    done = subprocess.run([command, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else ""


if __name__ == "__main__":
    main()
