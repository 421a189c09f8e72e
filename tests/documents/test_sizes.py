"""Files and functions stay small, and a module's name says which one is meant."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from conftest import ROOT

FILE_CEILING, FUNCTION_CEILING = 400, 60
TREES = ("fixedram_fmt", "cli", "spec", "samples", "bench", "tests", ".ci")
FILES = [path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py"))]
FOLDERS = sorted({path.parent.relative_to(ROOT).as_posix() for path in FILES})

#: A command's parameters are its options and its docstring is its help: what it does counts.
COMMANDS = "cli/fixedram_cli/commands"
#: Rooms whose modules are called like what they are about.
BY_SUBJECT = (
    "schema", "validation/rules", "write/faults", "vmstate/overview", "commandline",
    "commandline/boards", "commandline/fromxml",
)  # fmt: skip


def test_no_file_is_long() -> None:
    long = [
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if path.read_bytes().count(b"\n") > FILE_CEILING
    ]
    assert long == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_long(folder: str) -> None:
    long = []
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                head = folder == COMMANDS and ast.get_docstring(node, clean=False) is not None
                start = node.body[0].end_lineno if head else node.lineno - 1
                if (node.end_lineno or 0) - (start or 0) > FUNCTION_CEILING:
                    long.append(f"{path.name} {node.name}")
    assert long == []


@pytest.mark.parametrize("package", ["fixedram_fmt", "cli/fixedram_cli"])
def test_no_name_of_a_module_stands_for_two(package: str) -> None:
    root = ROOT / package
    names = Counter(
        path.name
        for path in root.rglob("*.py")
        if path.parent.relative_to(root).as_posix() not in BY_SUBJECT
    )
    del names["__init__.py"]
    assert [name for name, number in names.items() if number > 1] == []


def test_every_room_that_may_repeat_names_does() -> None:
    root = ROOT / "fixedram_fmt"
    modules = [path for path in root.rglob("*.py") if path.name != "__init__.py"]
    for room in BY_SUBJECT:
        own = {path.name for path in modules if path.parent == root / room}
        assert own & {path.name for path in modules if path.parent != root / room}, room
