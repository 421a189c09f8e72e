"""Writes the generated parts of the folder spec/, or with --check says which are out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from specification.files import made_files


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all is as it should be; 1 with --check: something is out of date."""
    parser = argparse.ArgumentParser(prog="specification", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder spec/")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    stale = 0
    for path, text in made_files(options.folder):
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{path}: {'out of date' if options.check else 'written'}", file=sys.stderr)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
