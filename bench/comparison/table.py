"""The answers as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from files import FILES

__all__ = ["RESULTS", "Results", "markdown", "page"]

RESULTS = Path(__file__).resolve().parent / "results.json"

_NOTHING = "—"

#: Program to key of a file to its answer.
Results = dict[str, dict[str, dict[str, Any]]]

_HEAD = """# Which program reads which file

Made by `compare.py` in this folder, whose first lines say how to repeat it. Each program was given
each file. *memory*: what it writes as the guest's memory has the SHA-256 of what QEMU's monitor
dumped when the file was written (for the two libvirt saves: what other saves of that guest hold, as
QEMU was not asked then). *registers*: it names a register of the CPU with its value. A dash: it
gave neither, or something else. An empty field: not asked.

"""

_TAIL = """
fixedram names registers of images without a description with that of another image
(`--desc-from`). QEMU's analyzer needs the description for anything, and the stream at byte 0; it
reads mapped-ram since QEMU 11.0 (the script asked is that of QEMU's commit 0002b0db1377, which
added it). volatility3's own layer ends at the first command record (SWITCHOVER_START), which
streams of machine types since 10.0 have; where no layer fits it says nothing and takes the file as
it lies for memory. crash needs a kernel that it knows: it was given a Linux guest in the same
wrappings, and *memory* means that `ps` lists its tasks.

[lqs2mem](https://github.com/juergh/lqs2mem) (2016) was read, not run: its loop ends with an error
at the first section footer (type 0x7e), that of
[lqs2mem.py](https://github.com/juergh/lqs2mem.py) at the configuration section. QEMU writes both
for machine types since 2.4 (2015), so neither gets memory out of any file here; neither knows
mapped-ram.

## What they said
"""


def cell(answer: dict[str, Any] | None) -> str:
    """What a program made of a file."""
    if answer is None or (answer["memory"] is None and answer["devices"] is None):
        return ""
    words = {"memory": answer["memory"], "registers": answer["devices"]}
    return ", ".join(word for word, got in words.items() if got) or _NOTHING


def markdown(results: Results) -> str:
    """One row a file, one column a program, and what the source of lqs2mem comes to."""
    rows = [["file", *results, "lqs2mem"], ["---"] * (len(results) + 2)]
    for given in FILES:
        answers = [column.get(given.key) for column in results.values()]
        read = "" if given.core else _NOTHING
        rows.append([given.what, *(cell(one) for one in answers), read])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def page(results: Results) -> str:
    """README.md of this folder."""
    said = [""]
    for program, answers in results.items():
        words = [(given.what, answers[given.key]["said"]) for given in FILES
                 if given.key in answers and answers[given.key]["said"]]  # fmt: skip
        if words:
            said += [f"**{program}**", "", *(f"- {what}: {text}" for what, text in words), ""]
    return _HEAD + markdown(results) + _TAIL + "\n".join(said)
