"""References, manual page and completions are those of the application as it is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, run_cli
from fixedram_cli.app import command
from fixedram_cli.reference import completion, manual, markdown, pages


def command_words(example: str) -> list[str]:
    """The words after the first `fixedram` of a line of a shell, up to the next command."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    start = words.index("fixedram") + 1 if "fixedram" in words else len(words)
    ends = (at for at, word in enumerate(words) if at >= start and set(word) <= set("|&;<>()"))
    return words[start : next(ends, None)]


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("cli/REFERENCE.md", markdown),
        ("cli/fixedram.1", manual),
        *(
            (f"cli/completions/fixedram.{shell}", lambda shell=shell: completion(shell))
            for shell in ("bash", "zsh", "fish")
        ),
    ],
)
def test_the_file_is_what_make_spec_makes(path: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / path).read_text() == made(), "run make spec"


@pytest.mark.slow
def test_the_library_reference_is_what_make_spec_makes() -> None:
    done = subprocess.run(
        [sys.executable, "spec/api.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "spec" / "API.md").read_text() == done.stdout, "run make spec"


def test_every_command_has_an_example_of_itself() -> None:
    for page in pages():
        assert page.examples, page.name
        assert page.title.endswith("."), page.name


def test_examples_have_arguments_and_options_that_are_understood() -> None:
    checked = 0
    for page in pages():
        for example in page.examples:
            if words := command_words(example):
                assert words[0] == page.name
                command(page.name).make_context(page.name, words[1:])
                checked += 1
    assert checked > 40


def test_the_list_of_commands_has_whole_sentences() -> None:
    for line in run_cli("--help").out.partition("Commands:")[2].splitlines():
        assert not line.endswith("..."), line


@pytest.mark.slow
def test_examples_stand_in_the_help_as_they_are_typed() -> None:
    for page in pages():
        lines = run_cli(page.name, "--help").out.splitlines()
        for example in page.examples:
            assert f"  {example}" in lines


@pytest.mark.slow
def test_the_manual_page_is_sound() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-l", "cli/fixedram.1"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "MANWIDTH": "90"},
    )  # fmt: skip
    assert done.stderr == ""
    assert "FIXEDRAM(1)" in done.stdout
    for page in pages():
        assert page.name.upper() in done.stdout


@pytest.mark.slow
def test_bash_completes_commands_and_options() -> None:
    for words, wanted in (("fixedram val", "validate"), ("fixedram state --sum", "--summary")):
        done = run_cli(
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
            _FIXEDRAM_COMPLETE="complete_bash",
        )
        assert wanted in done.out.split()
