"""fixedram rescue and extract --without-bitmaps: exit codes, JSON, what is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from support.unfinished import PAUSED, RUNNING, saved, without_bitmaps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """A whole save of a paused guest without its bitmaps."""
    path = tmp_path / "lost.img"
    path.write_bytes(without_bitmaps(saved(PAUSED)))
    path.chmod(0o640)
    return path


@pytest.mark.slow
def test_whole_rescue_is_exit_0_and_json_has_info_and_rescued(lost: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.img"
    done = run_cli("rescue", lost, "-o", out, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["info"]["complete"] is True
    assert [block["pages_present"] for block in found["info"]["blocks"]] == [6, 2]
    assert found["rescued"]["purpose"] == "restore"
    assert [block["bitmap"] for block in found["rescued"]["blocks"]] == ["empty", "empty"]
    assert out.read_bytes() == saved(PAUSED)
    assert out.stat().st_mode & 0o777 == 0o640
    again = run_cli("rescue", lost, "-o", out)
    assert again.code == 2
    assert "--force" in again.err


@pytest.mark.slow
def test_part_is_exit_1_and_says_what_is_lost(lost: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.img"
    cut.write_bytes(saved(RUNNING)[:-700])
    done = run_cli("rescue", cut, "-o", tmp_path / "out.img")
    assert done.code == 1
    assert "forensics: not for a restore" in done.out
    assert "lost: the state of all devices" in done.out
    assert "after a reset" in done.err


@pytest.mark.slow
def test_plan_writes_nothing_but_the_map(lost: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    done = run_cli("rescue", lost, "--plan", "--map", pages)
    assert done.code == 0, done.err
    assert "nothing is written" in done.out
    assert sorted(tmp_path.iterdir()) == [lost, pages]
    runs = [json.loads(line) for line in pages.read_text().splitlines()]
    assert sum(run["pages"] for run in runs) == 8
    assert {run["state"] for run in runs} == {"rebuilt"}


@pytest.mark.slow
def test_image_itself_is_never_written_to(lost: Path) -> None:
    before = lost.read_bytes()
    for more in (["-o", lost], ["-o", lost, "--force"], ["--plan", "--map", lost, "--force"]):
        assert run_cli("rescue", lost, *more).code == 2
    assert lost.read_bytes() == before


@pytest.mark.slow
def test_nothing_to_save_is_exit_2(lost: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.img"
    cut.write_bytes(lost.read_bytes()[:60])
    done = run_cli("rescue", cut, "-o", tmp_path / "out.img")
    assert done.code == 2
    assert "no memory to rescue" in done.err
    assert not (tmp_path / "out.img").exists()


@pytest.mark.slow
def test_names_of_blocks_do_not_act_on_a_terminal(tmp_path: Path) -> None:
    block = {"name": "a\x1b[2Jb", "size": 8192, "pattern": "text"}
    path = tmp_path / "in.img"
    path.write_bytes(without_bitmaps(saved(blocks=[block])))
    done = run_cli("rescue", path, "--plan")
    assert "\x1b" not in done.out + done.err
    assert r"a\x1b[2Jb" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--block", "pc.ram"], ["--format", "physical"]])
def test_memory_is_extracted_without_bitmaps(words: list[str], lost: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.img"
    whole.write_bytes(saved(PAUSED))
    done = run_cli("extract", lost, *words, "--without-bitmaps", "-o", tmp_path / "found")
    assert done.code == 0, done.err
    assert "stale" in done.err
    assert run_cli("extract", whole, *words, "-o", tmp_path / "wanted").code == 0
    assert (tmp_path / "found").read_bytes() == (tmp_path / "wanted").read_bytes()
    assert any((tmp_path / "found").read_bytes())


def test_map_never_replaces_the_image_that_was_made(lost: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli("rescue", lost, "-o", out, "--map", tmp_path / "." / "out", "--force")
    assert (done.code, out.exists()) == (2, False)
