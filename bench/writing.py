"""synth and copy against dd and cp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure import BARE, FIXEDRAM, Figure, bare, command, compare

if TYPE_CHECKING:
    from pathlib import Path


def writing(folder: Path) -> list[Figure]:
    """synth and copy against dd and cp of as many bytes, on the same file system."""
    dense, out, content = folder / "dense.img", folder / "out.img", folder / "content"
    synth = [*FIXEDRAM, "synth", "--force", "-o"]
    command(*synth, dense, "--block", "pc.ram=2G")()
    command("dd", f"if={dense}", f"of={content}", "bs=1M", "skip=1", "count=2048")()
    sparse = folder / "sparse.img"
    command(*synth, sparse, "--block", "pc.ram=64G:random:0.001", "--rounds", "3")()
    cp = {path: command("cp", "--sparse=auto", path, out) for path in (dense, sparse)}
    copy = [*FIXEDRAM, "copy", "--force", "-o", out]
    tebibyte = command(*synth, out, "--block", "pc.ram=1T:random:0.00001")
    dd = command("dd", f"if={content}", f"of={out}", "bs=1M")
    return [
        compare("synth, dense 2 GiB", command(*synth, out, "--block", "pc.ram=2G"), "dd bs=1M", dd,
                1.5, out),
        compare("synth, 1 TiB, 0.001 % present", tebibyte, BARE, bare, None, out),
        compare("copy, dense 2 GiB", command(*copy, dense), "cp", cp[dense], 1.3, out),
        compare("copy, sparse 64 GiB", command(*copy, sparse), "cp", cp[sparse], None, out),
        compare("copy --drop-stale, sparse", command(*copy, sparse, "--drop-stale"), "cp",
                cp[sparse], None, out),
    ]  # fmt: skip
