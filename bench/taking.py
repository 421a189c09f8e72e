"""extract, diff, convert and digest, in a memory file system where there is one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from loading import in_memory
from measure import FIXEDRAM, Figure, command, compare

#: Gibibytes of files that are there at once.
_ROOM = 5


def taking(_: Path) -> list[Figure]:
    """Whole commands on files of gibibytes, against the plain tool that reads or writes as much."""
    with tempfile.TemporaryDirectory(prefix="fixedram-bench-", dir=in_memory(_ROOM)) as name:
        folder = Path(name)
        return [*_extract(folder), *_diff(folder), *_convert(folder)]


def _synth(path: Path, block: str, *more: str) -> Path:
    command(*FIXEDRAM, "synth", "-o", path, "--block", f"pc.ram={block}", *more)()
    return path


def _extract(folder: Path) -> list[Figure]:
    sparse = _synth(folder / "sparse.img", "5G:random:0.01")
    dense = _synth(folder / "dense.img", "1G")
    out = folder / "out"
    extract = [*FIXEDRAM, "extract", "--force", "--block", "pc.ram", "-o", out]
    cp = command("cp", dense, out)
    # What a user would have to do anyway: copy the file, and start the command once.
    both = command("sh", "-c", f"cp --sparse=always {sparse} {out} && {_words('info', sparse)}")
    physical = [*FIXEDRAM, "extract", "--force", "--format", "elf", "-o", out]
    found = [
        compare("extract, 5 GiB guest, 1 % present", command(*extract, sparse),
                "cp --sparse=always, and info", both, 1.1, out),
        compare("extract, dense 1 GiB", command(*extract, dense), "cp", cp, 1.6, out),
        compare("extract --format elf, dense 1 GiB", command(*physical, dense), "cp", cp, None,
                out),
        compare("digest, dense 1 GiB", command(*FIXEDRAM, "digest", dense), "sha256sum",
                command("sha256sum", dense), 1.2),
    ]  # fmt: skip
    sparse.unlink()
    out.unlink()
    return found


def _words(*arguments: str | Path) -> str:
    return " ".join(map(str, [*FIXEDRAM, *arguments])) + " > /dev/null"


def _diff(folder: Path) -> list[Figure]:
    dense, again = folder / "dense.img", folder / "again.img"
    command("cp", dense, again)()
    cmp = command("cmp", dense, again)
    diff = command(*FIXEDRAM, "diff", "--ram-only", dense, again)
    figure = compare("diff, two dense images of 1 GiB", diff, "cmp", cmp, 2)
    again.unlink()
    return [figure]


def _convert(folder: Path) -> list[Figure]:
    dense, old, out = folder / "dense.img", folder / "old", folder / "out"
    convert = [*FIXEDRAM, "convert", "--force", "-o"]
    command(*convert, old, dense, "--to", "stream")()
    to_stream = command(*convert, out, dense, "--to", "stream")
    to_mapped = command(*convert, out, old)
    return [
        compare("convert, dense 1 GiB stream to mapped-ram", to_mapped, "cp",
                command("cp", old, out), 2.5, out),
        compare("convert --to stream, dense 1 GiB", to_stream, "cp",
                command("cp", dense, out), 2.5, out),
    ]  # fmt: skip
