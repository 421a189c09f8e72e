"""The wheel holds the two packages with their type marks, and no `cli`, tests or samples."""

import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
names = zipfile.ZipFile(wheel).namelist()
tops = {name.split("/")[0] for name in names}
tops = {name for name in tops if not name.endswith((".dist-info", ".data"))}
if tops != {"fixedram_fmt", "fixedram_cli"}:
    sys.exit(f"{wheel.name} holds {sorted(tops)}")
for needed in ("fixedram_fmt/py.typed", "fixedram_cli/py.typed"):
    if needed not in names:
        sys.exit(f"{wheel.name} lacks {needed}")
print(f"{wheel.name}: {len(names)} files, {sorted(tops)}")
