"""`fixedram sync` as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conftest import SAMPLES, SHARED, absent, run_cli, shared_entries, unpack
from synthetic import made

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


@pytest.fixture
def v4(tmp_path: Path) -> Any:
    def make(**more: Any) -> Path:
        path = tmp_path / "v4.img"
        path.write_bytes(made(dialect="fixed-ram-v4", multifd=True, rounds=3, **more))
        return path

    return make


CHART = """\
  fixed-ram-v4, 2 channels, multifd_flush_after_each_section off: review version 4: syncs at \
MULTIFD_FLUSH, once

  ram_load()         offset  record         main                              ch0  ch1
  start                0x4e  MEM_SIZE       hands out 3 jobs ---------------> #    #
  start              0xc000  EOS                                              #    #
  3 parts            0xc012  EOS                                              #    #
  end                0xc048  MULTIFD_FLUSH  sync_main(): 3 pending ========== #====#
  end                0xc050  EOS                                              |    |

  5 calls of ram_load(), 3 jobs, 1 sync
  - sync-depends-on-later-section at 0xc048: the jobs of START are only waited for in END: \
sections that carry nothing decide whether memory is complete
  all jobs are done before the load is
"""


def test_chart_shows_main_the_channels_and_where_main_waits(v4: Any) -> None:
    result = run_cli("sync", v4(), "--loader", "fixed-ram-v4", PYTHONIOENCODING="ascii")
    assert result.code == 0
    path, _, chart = result.out.partition("\n")
    assert path.endswith("v4.img")
    assert chart == CHART


def test_design_that_never_waits_exits_1_and_says_what_would_happen(v4: Any) -> None:
    path = v4(multifd_flush_after_each_section=True)
    result = run_cli("sync", path, "--loader", "fixed-ram-v4")
    assert result.code == 1
    assert "cleanup-before-io" in result.out
    assert "0 syncs" in result.out


def test_compare_has_a_column_for_each_design(v4: Any) -> None:
    result = run_cli("sync", v4(multifd_flush_after_each_section=True), "--compare", COLUMNS="120")
    assert result.code == 0
    head = next(line for line in result.out.splitlines() if "ram_load()" in line)
    assert head.split()[2:] == ["fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram"]
    verdict = next(line for line in result.out.splitlines() if line.startswith("  the load"))
    assert verdict.split("  ")[1:] != []
    assert "done too early" in verdict
    assert "safe" in verdict
    assert "refused" in verdict


def test_explain_needs_no_image() -> None:
    result = run_cli("sync", "--explain")
    assert result.code == 0
    for word in ("The question", "fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram"):
        assert word in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert run_cli("sync").code == 2


def test_json_has_the_keys_of_the_contract(v4: Any) -> None:
    path = v4()
    document = run_cli("sync", path, "--loader", "reentrant", "--json").json
    assert document["loader"] == "reentrant"
    assert document["syncs"] == 1
    assert {"kind", "message"} <= set(document["hazards"][0])
    for event in document["events"]:
        assert {"offset", "section", "flag", "action", "pending"} <= set(event)
        assert event["action"] in ("sync", "none")
    assert document == run_cli("sync", path, "--loader", "reentrant", "--output", "json").json
    compared = run_cli("sync", path, "--compare", "--json").json
    assert [line["loader"] for line in compared["loaders"]] == [
        "fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram",
    ]  # fmt: skip


def test_unknown_loader_and_unreadable_image_exit_2(tmp_path: Path) -> None:
    assert run_cli("sync", tmp_path / "absent").code == 2
    result = run_cli("sync", SAMPLES / "pc-once.img.xz", "--loader", "imagined")
    assert result.code == 2
    assert "mapped-ram" in result.err


def calls_of(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return run_cli("sync", path, "--json").json, run_cli("info", path, "--json").json


def check(path: str) -> None:
    line, info = calls_of(path)
    parts = sum(section["parts"] for section in info["sections"] if section["name"] == "ram")
    if info["complete"]:
        assert len(line["calls"]) == 1 + parts
        assert [event["flag"] for event in line["events"]].count("EOS") == 1 + parts
    if info["complete"] and info["dialect"] == "mapped-ram":
        assert line["syncs"] == 1
        assert line["hazards"] == []
        present = sum(block["pages_present"] or 0 for block in info["blocks"])
        assert (line["jobs"] > 0) == (present > 0)


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.xz")))
def test_every_sample_has_a_timeline(name: str, unpacked_dir: Path) -> None:
    path = unpack(SAMPLES / name, unpacked_dir / f"sample-{name.removesuffix('.xz')}")
    offset = "--search" if "offset" in name else None
    if offset:
        line = run_cli("sync", path, "--search", "--json").json
        assert line["syncs"] == 1
    else:
        check(str(path))


@pytest.mark.parametrize("entry", shared_entries() or [None], ids=lambda one: one and one["name"])
def test_every_shared_image_has_a_timeline(entry: dict[str, Any], unpacked_dir: Path) -> None:
    if entry is None:
        absent("the folder of shared images")
    path = unpack(SHARED / entry["file"], unpacked_dir / f"shared-{entry['name']}")
    offset = entry.get("stream_offset", 0)
    check(f"{path}@{offset}" if offset else str(path))
