"""The table that compares programs is what they answer; those that are here are asked again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import ROOT, absent

FOLDER = ROOT / "bench" / "comparison"


@pytest.fixture(scope="module")
def comparison() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import files
        import programs
        import table
    return SimpleNamespace(
        files=files, programs=programs, table=table, results=json.loads(table.RESULTS.read_text())
    )


def column(comparison: Any, name: str) -> dict[str, dict[str, Any]]:
    (found,) = (one for title, one in comparison.results.items() if title.startswith(name))
    return found


def asked(comparison: Any, program: Any, key: str, folder: Path) -> dict[str, Any]:
    (given,) = (one for one in comparison.files.FILES if one.key == key)
    path = comparison.files.prepare(given, folder, [sys.executable, "-m", "fixedram_cli"])
    out = folder / "out"
    out.mkdir()
    return asdict(program.ask(given, path, out))


def test_the_pages_show_the_answers(comparison: Any) -> None:
    again = "python bench/comparison/compare.py --write"
    assert (FOLDER / "README.md").read_text() == comparison.table.page(comparison.results), again
    assert comparison.table.markdown(comparison.results) in (ROOT / "README.md").read_text(), again


def test_every_file_was_asked_about(comparison: Any) -> None:
    keys = [given.key for given in comparison.files.FILES]
    for answers in comparison.results.values():
        assert list(answers) == keys


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    ["mapped", "live", "offset", "sparse", "no-vmdesc", "cut", "s390x", "stream", "xbzrle", "raw"],
)
def test_fixedram_answers_so(key: str, comparison: Any, tmp_path: Path) -> None:
    program = comparison.programs.fixedram([sys.executable, "-m", "fixedram_cli"])
    answer = asked(comparison, program, key, tmp_path)
    assert answer == column(comparison, "fixedram")[key]
    assert answer["memory"]
    assert answer["devices"]


# An ELF core is asked by hand: LayerWriter makes 4 GiB of it.
@pytest.mark.slow
@pytest.mark.parametrize("key", ["mapped", "stream"])
def test_volatility_answers_so(key: str, comparison: Any, tmp_path: Path) -> None:
    vol = Path(sys.executable).with_name("vol")
    if not vol.exists():
        absent("volatility3")
    program = comparison.programs.volatility([str(vol)], "volatility3")
    assert asked(comparison, program, key, tmp_path) == column(comparison, "volatility3")[key]


@pytest.mark.parametrize("words", [b"", b"other bytes"])
def test_memory_that_differs_does_not_count(words: bytes, comparison: Any, tmp_path: Path) -> None:
    given = comparison.files.FILES[0]
    (tmp_path / "memory").write_bytes(words)
    assert not comparison.programs.holds(tmp_path / "memory", given)
    assert not comparison.programs.holds(tmp_path / "nothing", given)
