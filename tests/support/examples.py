"""Examples in Markdown files, run as a reader would type them, and what they print compared.

A fence of the language `console` (or of none, if it begins with a command) is a shell session:

- `$ ` before a command, `> ` before its further lines; what follows is what it prints, stdout and
  stderr as they come, without spaces at the ends of lines;
- a line `...` stands for any lines, or none; `[...]` inside a line for any text of that line.

A fence of another language is a file if the line before it ends in a name and a colon
(`` `vm.toml`: ``). A file of another place (`/etc/...`, `~/...`) is kept by the last part of its
name. Indented lines that begin with `fixedram` are commands without output.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

__all__ = [
    "Command", "File", "Outcome", "differences", "environment", "excerpt_of", "indented_commands",
    "play", "steps", "unnamed",
]  # fmt: skip

_TIME_LIMIT = 300
_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"`(?P<name>[^`]+)`:\n+\Z")
#: Ends what a command printed; no example prints it.
_MARK = "\x1e"


@dataclass(frozen=True)
class Command:
    """A command of an example, and the lines that it prints; `line` is where it stands."""

    text: str
    printed: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class File:
    """A file that a document shows."""

    name: str
    language: str
    text: str
    line: int

    @property
    def path(self) -> str:
        """Where a reader would put it while trying."""
        return Path(self.name).name if self.name[0] in "~/" else self.name


@dataclass(frozen=True)
class Outcome:
    """What a command printed (both streams) and how it ended; None: it was not run."""

    command: Command
    said: tuple[str, ...]
    code: int | None


def steps(markdown: str) -> list[Command | File]:
    """Commands and files of a document in the order of reading."""
    found: list[Command | File] = []
    for fence in _FENCE.finditer(markdown):
        line = markdown.count("\n", 0, fence.start()) + 2
        language, body = fence["language"], fence["body"]
        name = _NAME.search(markdown[: fence.start()])
        if _is_session(language, body):
            found += _session(body, line)
        elif name:
            found.append(File(name["name"], language, body, line))
    return found


def unnamed(markdown: str) -> list[File]:
    """Fences that are neither shell sessions nor files with a name."""
    return [
        File("", fence["language"], fence["body"], markdown.count("\n", 0, fence.start()) + 2)
        for fence in _FENCE.finditer(markdown)
        if not _is_session(fence["language"], fence["body"])
        and not _NAME.search(markdown[: fence.start()])
    ]


def _is_session(language: str, body: str) -> bool:
    return language == "console" or (not language and body.startswith("$ "))


def _session(body: str, line: int) -> Iterator[Command]:
    text: list[str] = []
    printed: list[str] = []
    begun = line
    for number, row in enumerate(body.splitlines(), line):
        if row.startswith("$ "):
            if text:
                yield Command("\n".join(text), tuple(printed), begun)
            text, printed, begun = [row[2:]], [], number
        elif row.startswith("> ") and not printed:
            text.append(row[2:])
        elif not text:
            raise ValueError(f"line {number}: output before any command")
        else:
            printed.append(row.rstrip())
    yield Command("\n".join(text), tuple(printed), begun)


def indented_commands(markdown: str) -> list[str]:
    """Indented lines that are commands, without their comments."""
    lines = re.findall(r"^    (fixedram [^\n]+)", markdown, re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


def environment(programs: Path) -> dict[str, str]:
    """What the commands run in: fixedram, python and pytest are this installation's."""
    if not programs.exists():
        programs.mkdir()
        names = {"fixedram": "-m fixedram_cli", "python": "", "pytest": "-m pytest -p no:xdist"}
        for name, module in names.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
            program.chmod(0o755)
    beside = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return {
        **kept,
        "PATH": os.pathsep.join([str(programs), str(beside), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
        "PYTEST_DEBUG_TEMPROOT": str(programs),  # else it clears away after others
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }


def play(
    document: Sequence[Command | File], folder: Path, programs: Path, without: Sequence[str] = ()
) -> list[Outcome]:
    """All steps in a folder, one after the other in one shell.

    Commands in which one of the regular expressions `without` is found are not run.
    """
    script = [_lines_for(step, without) for step in document]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder, env=environment(programs), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=_TIME_LIMIT,
    )  # fmt: skip
    commands = [step for step in document if isinstance(step, Command)]
    pieces = done.stdout.decode(errors="replace").split(_MARK)
    if len(pieces) != 2 * len(commands) + 1:
        raise ValueError(f"the shell ended early: {pieces[-1]}")
    return [
        Outcome(
            command,
            tuple(row.rstrip() for row in pieces[2 * number].splitlines()),
            int(code) if (code := pieces[2 * number + 1]) else None,
        )
        for number, command in enumerate(commands)
    ]


def _lines_for(step: Command | File, without: Sequence[str]) -> str:
    if isinstance(step, File):
        path = shlex.quote(step.path)
        return f"mkdir -p \"$(dirname {path})\"\ncat > {path} <<'\x1d'\n{step.text}\x1d"
    if any(re.search(word, step.text) for word in without):
        return f"printf '{_MARK}{_MARK}'"
    # The next command may ask for $?.
    return f"{step.text}\n__code=$?; printf '{_MARK}%s{_MARK}' $__code; (exit $__code)"


def differences(outcome: Outcome) -> str:
    """How what was printed differs from what the document says; empty when it does not."""
    printed, said = _trimmed(outcome.command.printed), _trimmed(outcome.said)
    pattern = "".join("(?:.*\n)*?" if row == "..." else f"{_row_pattern(row)}\n" for row in printed)
    if re.fullmatch(pattern, "".join(f"{row}\n" for row in said)):
        return ""
    lines = difflib.unified_diff(printed, said, "as printed", "as it is now", lineterm="", n=99)
    return "\n".join([f"line {outcome.command.line}: $ {outcome.command.text}", *lines])


def excerpt_of(outcome: Outcome) -> str:
    """The first printed line that does not come, in order, among the others; empty when all do."""
    said = iter(outcome.said)
    for row in _trimmed(outcome.command.printed):
        if row == "...":
            continue
        if not any(re.fullmatch(_row_pattern(row), one) for one in said):
            return row
    return ""


def _row_pattern(row: str) -> str:
    return ".*".join(re.escape(part) for part in row.split("[...]"))


def _trimmed(rows: Sequence[str]) -> list[str]:
    """Without empty lines at the end."""
    kept = list(rows)
    while kept and not kept[-1]:
        kept.pop()
    return kept
