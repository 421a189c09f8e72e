"""The reference of all commands, as Markdown and as a manual page, made from the application.

python -m fixedram_cli.reference markdown > cli/REFERENCE.md
python -m fixedram_cli.reference man > cli/fixedram.1
python -m fixedram_cli.reference completion bash > cli/completions/fixedram.bash
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixedram_cli.app import COMMANDS, command
from fixedram_cli.helptext import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["completion", "manual", "markdown"]

_EXIT_CODES = (
    ("0", "fine"),
    ("1", "the image has findings, the images differ, the load would fail"),
    ("2", "could not do it: usage, an unreadable file, no such block"),
)


#: What typer calls the types of values, and what people do.
_KINDS = {"str": "TEXT", "int": "N", "integer": "N", "path": "FILE"}


@dataclass(frozen=True, slots=True)
class Option:
    """An option or argument as it is written, and what it means."""

    written: str
    meaning: str


@dataclass(frozen=True, slots=True)
class CommandPage:
    """What is told about one command."""

    name: str
    title: str
    text: list[str]
    examples: list[str]
    usage: str
    arguments: list[Option]
    options: list[Option]


def pages() -> Iterator[CommandPage]:
    """Every command that is shown, in the order of --help."""
    for name in COMMANDS:
        yield _page(name, command(name))


def _page(name: str, command: Any) -> CommandPage:
    text, examples = told(command.help or "")
    arguments, options = [], []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            written = parameter.metavar or parameter.name.upper()
            arguments.append(Option(written, parameter.help or ""))
        elif not parameter.hidden:
            options.append(_option(parameter))
    usage = " ".join(["fixedram", name, "[OPTIONS]", *(one.written for one in arguments)])
    return CommandPage(name, text[0], text[1:], examples, usage, arguments, options)


def _option(parameter: Any) -> Option:
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        names += " / " + ", ".join(parameter.secondary_opts)
    if not parameter.is_flag:
        kind = parameter.type.name.split()[0]
        names += f" {parameter.metavar or _KINDS.get(kind, kind.upper())}"
    meaning = parameter.help or ""
    default = parameter.default
    shown = getattr(default, "value", default)
    if parameter.show_default and shown not in (None, False, True, "") and not parameter.multiple:
        meaning += f" Default: {shown}."
    return Option(names, meaning)


# -- Markdown -------------------------------------------------------------------------------------


def markdown() -> str:
    """The reference as Markdown; the tests compare it with the file."""
    lines = [
        "# Commands",
        "",
        "Made from the application by `make spec`; do not edit.",
        "",
        "| exit code | |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in _EXIT_CODES),
        "",
        "Every command that prints a report takes `--json`, or `--output json`. IMAGE may be a",
        "path, `PATH@OFFSET` where the stream starts at a known offset, `PATH#NAME` for a snapshot",
        "in a qcow2 image, or `-` for standard input.",
        "Sizes and offsets take the suffixes K, M, G, T, P, and `0x`. `fixedram --traceback",
        "COMMAND` shows Python tracebacks.",
        "",
    ]
    for page in pages():
        lines += [f"## {page.name}", "", page.title, "", f"    {page.usage}", ""]
        for paragraph in page.text:
            lines += [_escaped(paragraph), ""]
        rows = [*page.arguments, *page.options]
        if rows:
            lines += ["| | |", "|---|---|"]
            lines += [
                f"| `{_cell(one.written)}` | {_cell(_escaped(one.meaning))} |" for one in rows
            ]
            lines.append("")
        if page.examples:
            lines += ["Examples:", "", *(f"    {example}" for example in page.examples), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>])", r"\\\1", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# -- manual page ----------------------------------------------------------------------------------


def manual() -> str:
    """The manual page fixedram(1), in the macros of man(7)."""
    from fixedram_fmt import __version__

    lines = [
        f'.TH FIXEDRAM 1 "" "fixedram {__version__}" "User Commands"',
        ".SH NAME",
        "fixedram \\- toolkit for QEMU fixed-ram (mapped-ram) migration images",
        ".SH SYNOPSIS",
        ".B fixedram",
        "\\fICOMMAND\\fR [\\fIOPTIONS\\fR] ...",
        ".SH DESCRIPTION",
        "Reads, checks, writes and takes apart the files that",
        "\\fBvirsh save \\-\\-image\\-format sparse\\fR and QEMU's migration to a file with the",
        "capability mapped\\-ram write.",
    ]
    for page in pages():
        lines += [f".SH {page.name.upper()}", f".B {_roff(page.usage)}", ".PP", _roff(page.title)]
        for paragraph in page.text:
            lines += [".PP", _roff(paragraph)]
        for one in [*page.arguments, *page.options]:
            lines += [".TP", f".B {_roff(one.written)}", _roff(one.meaning)]
        for example in page.examples:
            lines += [".PP", ".nf", f".RS\n{_roff(example)}\n.RE", ".fi"]
    lines += [".SH EXIT STATUS"]
    for code, meaning in _EXIT_CODES:
        lines += [".TP", f".B {code}", meaning]
    lines += [".SH SEE ALSO", ".BR virsh (1),", ".BR qemu\\-img (1)"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """text so that nothing in it is a request or an escape."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + safe if safe.startswith((".", "'")) else safe


# -- completion -----------------------------------------------------------------------------------


def completion(shell: str) -> str:
    """The completion script of a shell: bash, zsh or fish."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script: str = get_completion_script(
        prog_name="fixedram", complete_var="_FIXEDRAM_COMPLETE", shell=shell
    )
    return script + "\n"


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    makers: dict[str, Callable[..., str]] = {
        "markdown": markdown,
        "man": manual,
        "completion": completion,
    }
    sys.stdout.write(makers[kind](*rest))
