"""`fixedram sync` as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conftest import SAMPLES, SHARED, absent, run_cli, shared_entries, unpack
from fixedram_fmt.stream.records import Kind
from support.synthetic import image_of, made

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
  fixed-ram-v4: review version 4: syncs at MULTIFD_FLUSH, once
  2 channels, multifd_flush_after_each_section off

  ram_load()  offset  record        main                              ch0  ch1
  start         0x4e  MEM_SIZE      hands out 3 jobs ---------------> #    #
  start       0xc000  EOS                                             #    #
  3 parts     0xc012  EOS                                             #    #
  end         0xc048  MULTIFD_FLUSH sync_main(): 3 jobs, 2 ch ======= #====#
  end         0xc050  EOS                                             |    |

  5 calls of ram_load(), 3 jobs, 1 sync
  - sync-depends-on-later-section at 0xc048: the jobs of START are only waited for in END: \
sections that carry nothing decide whether memory is complete
  all jobs are done before the load is
"""
REFUSED = """\
  end         0xc048  MULTIFD_FLUSH                                   │    │
                                    ✗ the load is refused
  end         0xc050  EOS           (not reached)                     │    │
"""
DONE_EARLY = """\
  end         0xc048  EOS                                             #    #
                                    x declared done, nobody waited    #    #
"""
COMPARED = """\
  the receiver's multifd_flush_after_each_section is on

  ram_load()  record         fixed-ram-v4  per-ram-load  reentrant  mapped-ram
  start       MEM_SIZE       .             .             .          sync 3
  start       EOS            .             sync 3        sync 3     .
  3 parts     EOS            .             sync          sync       .
  end         MULTIFD_FLUSH  sync 3        .             sync       x refused
  end         EOS            .             sync          sync

  syncs                      1             5             6          1
  the load                   safe          safe          safe       refused

  fixed-ram-v4: sync-depends-on-later-section: the jobs of START are only waited for in END: \
sections that carry nothing decide whether memory is complete
  mapped-ram: capability-refused: this loader has no capability 'fixed-ram': it refuses the image
  mapped-ram: flush-refused: MULTIFD_FLUSH is an invalid flag with mapped-ram: the load is refused
"""


def behind_path(text: str) -> str:
    path, _, rest = text.partition("\n")
    assert path.endswith("v4.img")
    return rest


def test_chart_shows_main_the_channels_and_where_main_waits(v4: Any) -> None:
    result = run_cli("sync", v4(), "--loader", "fixed-ram-v4", PYTHONIOENCODING="ascii")
    assert result.code == 0
    assert behind_path(result.out) == CHART
    assert max(len(line) for line in CHART.splitlines() if "#" in line) < 80


@pytest.mark.slow
def test_chart_draws_where_it_can_and_shows_what_is_not_reached(v4: Any) -> None:
    result = run_cli("sync", v4(), "--channels", "16", PYTHONIOENCODING="utf-8")
    assert result.code == 1
    for word in (
        "─► █    █    █    █\n",
        "sync_main(): 3 jobs, 16 ch ══",
        "█════█════█════█",
        "+12\n",
    ):
        assert word in result.out
    assert "✗ flush-refused at 0xc048: " in result.out
    two = run_cli("sync", v4(), PYTHONIOENCODING="utf-8").out
    assert REFUSED in two
    assert "\x1b" not in two


def test_design_that_never_waits_exits_1_and_says_what_would_happen(v4: Any) -> None:
    path = v4(multifd_flush_after_each_section=True)
    result = run_cli("sync", path, "--loader", "fixed-ram-v4", PYTHONIOENCODING="ascii")
    assert result.code == 1
    assert DONE_EARLY in result.out
    assert "cleanup-before-io: nobody waits for 3 jobs" in result.out
    assert "0 syncs" in result.out


def test_compare_has_a_column_for_each_design(v4: Any) -> None:
    on = "--multifd-flush-after-each-section"
    result = run_cli("sync", v4(), "--compare", on, PYTHONIOENCODING="ascii")
    assert result.code == 0
    assert behind_path(result.out) == COMPARED


def test_compare_takes_one_loader_more_and_cuts_nothing(v4: Any) -> None:
    path = v4(multifd_flush_after_each_section=True)
    result = run_cli("sync", path, "--compare", "--loader", "qemu-11.1", COLUMNS="40")
    head = next(line for line in result.out.splitlines() if "ram_load()" in line)
    models = ["fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram", "qemu-11.1"]
    assert head.split()[2:] == models
    verdict = next(line for line in result.out.splitlines() if line.startswith("  the load"))
    words = [word.strip() for word in verdict.split("  ") if word.strip()]
    assert words[1:] == ["done too early", "safe", "done too early", "refused", "refused"]


def test_cut_off_section_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.img"
    raw = made(rounds=1)
    records = image_of(raw).records()
    end = next(record for record in records if record.kind is Kind.SECTION_END)
    path.write_bytes(raw[: end.stop])
    result = run_cli("sync", path, PYTHONIOENCODING="ascii")
    assert result.code == 1
    assert "x the stream stops\n" in result.out
    assert "incomplete" in result.out


@pytest.mark.slow
def test_name_of_the_file_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31m[red].img"
    path.write_bytes(made())
    for more in ([], ["--compare"]):
        out = run_cli("sync", path, *more).out
        assert "\x1b" not in out
        assert "\\x1b[31m[red].img" in out


@pytest.mark.slow
def test_explain_needs_no_image() -> None:
    result = run_cli("sync", "--explain")
    assert result.code == 0
    for word in ("The question", "fixed-ram-v4", "per-ram-load", "reentrant", "mapped-ram"):
        assert word in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert run_cli("sync").code == 2
    paragraphs = run_cli("sync", "--explain", "--json").json["explanation"]
    assert paragraphs[0]["title"] == "The question"


@pytest.mark.slow
def test_explanation_goes_before_the_chart_or_into_the_document(v4: Any) -> None:
    out = run_cli("sync", v4(), "--explain", "--loader", "reentrant").out
    assert out.index("The question") < out.index("ram_load()  offset")
    document = run_cli("sync", v4(), "--explain", "--loader", "reentrant", "--json").json
    assert {"explanation", "loader", "events"} <= document.keys()


@pytest.mark.slow
def test_json_has_the_keys_of_the_contract(v4: Any) -> None:
    path = v4()
    document = run_cli("sync", path, "--loader", "reentrant", "--json").json
    assert document["loader"] == "reentrant"
    assert document["syncs"] == 1
    assert (document["channels"], document["property"]) == (2, False)
    assert [call["section"] for call in document["calls"]] == [
        "start", "part[0]", "part[1]", "part[2]", "end",
    ]  # fmt: skip
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


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.xz")))
def test_every_sample_has_a_timeline(name: str, unpacked_dir: Path) -> None:
    path = unpack(SAMPLES / name, unpacked_dir / f"sample-{name.removesuffix('.xz')}")
    offset = "--search" if "offset" in name else None
    if offset:
        line = run_cli("sync", path, "--search", "--json").json
        assert line["syncs"] == 1
    else:
        check(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("entry", shared_entries() or [None], ids=lambda one: one and one["name"])
def test_every_shared_image_has_a_timeline(entry: dict[str, Any], unpacked_dir: Path) -> None:
    if entry is None:
        absent("the folder of shared images")
    path = unpack(SHARED / entry["file"], unpacked_dir / f"shared-{entry['name']}")
    offset = entry.get("stream_offset", 0)
    check(f"{path}@{offset}" if offset else str(path))
