"""The programs, and how each is asked for the guest's memory and for a register of its CPU."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from files import Given, Span, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Answer", "Program", "analyzer", "crash", "fixedram", "volatility"]

_PIECE = 1 << 20
_PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program made of a file; None where it is not for that."""

    memory: bool | None
    devices: bool | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A column: its name with the version, and the act of asking it in an empty folder."""

    name: str
    ask: Callable[[Given, Path, Path], Answer]


def run(*command: str | Path, folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a program in folder, for a minute at most."""
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True,
                          errors="replace", check=False, timeout=_PATIENCE)  # fmt: skip


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """The last line it printed, in short."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:100] if lines else f"exit code {done.returncode}"


def pieces(path: Path, span: Span) -> Iterator[bytes]:
    """The span's bytes of a file in which guest-physical 0 is byte 0."""
    with path.open("rb") as stream:
        stream.seek(span.start)
        left = span.end - span.start
        while left and (piece := stream.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece


def holds(path: Path, given: Given) -> bool:
    """Whether that file is the guest's memory."""
    return path.exists() and all(span.is_in(pieces(path, span)) for span in spans(given))


# -- fixedram --------------------------------------------------------------------------------------


def fixedram(command: list[str]) -> Program:
    """This project, as its users run it."""

    def ask(given: Given, path: Path, folder: Path) -> Answer:
        if given.core:
            return Answer(None, None, "not a stream any more")
        place = f"{path}@{given.offset}" if given.offset else str(path)
        out = folder / "memory"
        done = run(*command, "extract", place, "--format", "physical", "-o", out, folder=folder)
        question = [*command, "state", place, f"cpu*/{given.register}"]
        registers = run(*question, folder=folder)
        said = ""
        if not registers.stdout.strip():
            registers = run(*question, "--desc-from", given.donor, folder=folder)
            said = "registers with `--desc-from`, another image's description"
        found = given.register in registers.stdout
        memory = holds(out, given)
        return Answer(memory, found, said if memory and found else last_words(done))

    return Program("fixedram", ask)


# -- QEMU's analyze-migration.py -------------------------------------------------------------------


def analyzer(script: Path, python: str, name: str) -> Program:
    """QEMU's scripts/analyze-migration.py; -x writes blocks and the state into files."""

    def ask(given: Given, path: Path, folder: Path) -> Answer:
        done = run(python, script, "-f", path, "-x", folder=folder)
        state = folder / "state.json"
        devices = json.loads(state.read_text()) if done.returncode == 0 and state.exists() else {}
        found = any(given.register in device for device in devices.values())
        memory = done.returncode == 0 and holds(folder / given.block, given)
        return Answer(memory, found, "" if done.returncode == 0 else cause(done.stderr))

    return Program(name, ask)


def cause(text: str) -> str:
    """The error a traceback begins with; the analyzer puts its whole JSON after it."""
    lines = [line.strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b", line)]
    return errors[0][:100] if errors else "an error"


# -- volatility3 -----------------------------------------------------------------------------------


def volatility(command: list[str], name: str) -> Program:
    """volatility3 with its own layers; LayerWriter writes what it takes for the guest's memory."""

    def ask(given: Given, path: Path, folder: Path) -> Answer:
        done = run(*command, "-q", "-f", path, "-o", folder, "layerwriter", folder=folder)
        written = next(iter(sorted(folder.glob("*.raw"))), None)
        if written is None:
            return Answer(False, None, last_words(done))
        if holds(written, given):
            return Answer(True, None)
        as_it_lies = written.stat().st_size == path.stat().st_size
        said = "takes the file as it lies for memory" if as_it_lies else "writes other bytes"
        return Answer(False, None, said)

    return Program(name, ask)


# -- crash -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kernel:
    """A mapped-ram image of a Linux guest and its vmlinux with debug information."""

    vmlinux: Path
    guest: Path
    older: Path | None = None  # an ordinary stream of such a guest, machine type 9.2 or older


def crash(command: str, kernel: Kernel, ours: list[str], name: str) -> Program:
    """crash needs a kernel it knows: it is given that guest in the same wrappings."""

    def ask(given: Given, path: Path, folder: Path) -> Answer:
        older = given.key == "older"
        made = kernel.older if older else wrapped(given, kernel.guest, folder, ours)
        if made is None:
            return Answer(None, None, "not tried: needs a guest of its own")
        script = folder / "commands"
        script.write_text("ps\nquit\n")
        try:
            done = run(command, "-s", "-i", script, kernel.vmlinux, made, folder=folder)
        except subprocess.TimeoutExpired:
            return Answer(False, None, f"does not end in {_PATIENCE} seconds")
        tasks = re.search(r"swapper/0", done.stdout) is not None
        words = re.search(r"^crash: (.*)$", done.stdout + done.stderr, re.MULTILINE)
        said = words[1].replace(str(made), "the file") if words else ""
        return Answer(tasks, None, "" if tasks else said or "usage is printed: no dump it knows")

    return Program(name, ask)


def wrapped(given: Given, guest: Path, folder: Path, ours: list[str]) -> Path | None:
    """The Linux guest in the form that the sample has."""
    made = folder / "guest"
    options = {
        "mapped": ["copy", guest, "-o", made],
        "offset": ["copy", guest, "--rebase", str(given.offset), "-o", made],
        "sparse": ["copy", guest, "--container", "libvirt", "-o", made],
        "stream": ["convert", guest, "--to", "stream", "-o", made],
        "core": ["extract", guest, "--format", "elf", "-o", made],
    }.get(given.key)
    if options is None:
        return None
    done = run(*ours, *[str(one) for one in options], folder=folder)
    if done.returncode:
        raise SystemExit(f"{given.key}: {done.stderr}")
    return made


def which(name: str) -> str | None:
    """Where a command is, if it is."""
    return shutil.which(name)


def empty_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one question."""
    return tempfile.TemporaryDirectory(prefix="fixedram-comparison-")
