"""Who may import whom: the rooms in CONTRIBUTING.md stand in an order, and no import leads up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "fixedram_fmt"
#: A file for another program, which is no module of the package.
APART = "volatility3-plugins"


def _written_order() -> list[str]:
    """The rooms from the bottom up: the first words of the block that says so."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    match = re.search(r"<!-- rooms, bottom up -->\n\n```text\n(.*?)```", text, re.S)
    assert match is not None
    return [line.split()[0].rstrip("/") for line in match[1].splitlines()]


def _modules() -> dict[str, Path]:
    paths = (path for path in PACKAGE.rglob("*.py") if APART not in path.parts)
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def _imports(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, wherever in it, for type checks too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@cache
def _graph() -> dict[str, set[str]]:
    modules = _modules()
    return {
        name: {other for other in _imports(path, modules) if other in modules} - {name}
        for name, path in modules.items()
    }


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PACKAGE.exists(), reason="this is the installed package, tested without its source tree"
    ),
]


def test_no_import_leads_up() -> None:
    rank = {room: number for number, room in enumerate(_written_order())}
    graph = _graph()
    assert {_room(name) for name in graph} == set(rank), "rooms and the page that lists them"
    up = [
        f"{name} -> {other}"
        for name, others in graph.items()
        for other in others
        if rank[_room(other)] > rank[_room(name)]
    ]
    assert up == []
    assert sum(map(len, graph.values())) > 500, "imports are found at all"


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(_graph()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
