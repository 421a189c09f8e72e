"""`fixedram validate`, as a user runs it."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt.validation import all_rules
from support.faulty_images import FORMS, LEVELS, MIXED, RANKS, image, images_of, rules_of
from support.synthetic import PAGE

# -- text ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_text_of_one_image_is_grouped_worst_first_with_bytes_and_fixes(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", *MIXED)
    raw = path.read_bytes()
    result = run_cli("validate", path, "--deep")
    assert (result.code, result.err) == (1, "")
    lines = result.out.splitlines()
    assert lines[0] == str(path)
    assert lines[1].startswith('  qemu-11.1: refuses (L01) "Migration mapped-ram capability')
    assert "qemu-10.0, qemu-10.0 with multifd, qemu-11.1 with multifd: refuses" in lines[2]
    heads = [line.split() for line in lines if re.match(r"  (error|warning|note) ", line)]
    assert [RANKS.index(head[0]) for head in heads] == sorted(RANKS.index(h[0]) for h in heads)
    assert [head[1] for head in heads] == ["L01", "S09", "G02", "P01"]
    for head in heads:
        rule = all_rules()[head[1]]
        assert " ".join(head[2:]) == rule.title
        assert f"fix: {rule.fix}" in " ".join(result.out.split())
    report = run_cli("validate", path, "--deep", "--json").json["images"][0]
    for finding in report["findings"]:
        offset, row = finding["offset"], finding["offset"] // 16 * 16
        assert f"{offset:#x} {finding['path']}: {finding['message']}" in result.out
        held = raw[row : row + 16].hex(" ")
        assert f" {row:08x}  {held}" in result.out
    assert lines[-1] == "  2 errors, 1 warning, 1 note"


def test_row_of_bytes_shows_the_start_of_the_file_too(tmp_path: Path) -> None:
    spec = {"container": {"kind": "libvirt", "partial": True}}
    result = run_cli("validate", image(tmp_path / "guest.save", **spec))
    assert "C01" in result.out
    assert "00000000  " + b"LibvirtQemudPart".hex(" ") + "  LibvirtQemudPart" in result.out


def test_text_of_a_sound_image_says_that_it_loads(levels: dict[str, Path]) -> None:
    result = run_cli("validate", levels["sound"])
    assert result.code == 0
    assert result.out.splitlines() == [
        str(levels["sound"]),
        "  qemu-11.1: loads",
        "  qemu-10.0, qemu-10.0 with multifd, qemu-11.1 with multifd: loads",
        "  not judged: the bytes of the pages (--deep reads them); whether the receiver's machine,"
        " memory and devices match (give --destination or --like)",
        "",
        "  no findings",
    ]


def test_many_places_of_one_rule_are_counted(tmp_path: Path) -> None:
    blocks = [{"name": f"m\x1b{number}", "size": PAGE, "pattern": "text"} for number in range(8)]
    result = run_cli("validate", image(tmp_path / "guest.img", blocks=blocks))
    assert result.out.count("no block is called so") == 5
    assert "... and 3 more of these (see --json)" in result.out


def test_many_images_get_a_line_each(levels: dict[str, Path], tmp_path: Path) -> None:
    paths = [*levels.values(), tmp_path / "gone.img"]
    result = run_cli("validate", *paths)
    assert result.code == 2
    assert result.err.startswith("fixedram: not judged: ")
    assert result.err.count("\n") == 1
    assert [line.removeprefix(str(path)) for line, path in
            zip(result.out.splitlines(), paths, strict=True)] == [
        "  loads  no findings",
        "  loads  1 note",
        "  loads  1 warning",
        "  refuses  1 error",
        f"  unreadable  cannot open {str(paths[-1])!r}: No such file or directory",
    ]  # fmt: skip


@pytest.mark.slow
def test_text_is_plain_in_a_pipe_and_coloured_where_that_is_asked_for(
    levels: dict[str, Path],
) -> None:
    assert "\x1b" not in run_cli("validate", levels["error"]).out
    coloured = run_cli("validate", levels["error"], FORCE_COLOR="1").out
    assert "\x1b[" in coloured
    assert "\x1b[" not in run_cli("validate", levels["error"], NO_COLOR="1").out


@pytest.mark.slow
def test_every_form_tells_every_rule_of_every_image(levels: dict[str, Path]) -> None:
    """No form leaves a finding out that another one has."""
    for level, form in product(("note", "warning", "error"), FORMS):
        out = run_cli("validate", levels[level], "--output", form).out
        assert LEVELS[level][2] <= set(re.findall(r"\b[A-Z]\d\d\b", out))


# -- JSON ------------------------------------------------------------------------------------------


def test_json_has_the_keys_of_the_contract(levels: dict[str, Path]) -> None:
    """DESIGN: images[{path, loader, verdict, findings[{rule, severity, offset, message}]}]."""
    result = run_cli("validate", levels["sound"], levels["error"], "--json")
    assert result.err == ""
    assert result.json.keys() == {"images"}
    sound, error = images_of(result)
    assert [one["path"] for one in (sound, error)] == [
        str(levels["sound"]), str(levels["error"]),
    ]  # fmt: skip
    assert [one["loader"] for one in (sound, error)] == ["qemu-11.1"] * 2
    assert [one["verdict"] for one in (sound, error)] == ["loads", "refuses"]
    assert sound["findings"] == []
    (finding,) = error["findings"]
    assert {"rule", "severity", "offset", "message"} <= finding.keys()
    assert (finding["rule"], finding["severity"]) == ("L01", "error")
    raw = levels["error"].read_bytes()
    assert raw[finding["offset"] :][:4] == b"\0\0\0\2"
    assert error["decided_by"] == finding
    assert "got 2" in error["message"]
    assert error["messages"][0] == error["message"]


@pytest.mark.parametrize(
    "arguments",
    [("validate", "--output", "json"), ("validate", "--format", "json"), ("check", "--json"),
     ("check", "--output", "json")],
)  # fmt: skip
def test_other_ways_to_ask_for_the_same(
    arguments: tuple[str, ...], levels: dict[str, Path]
) -> None:
    command, *options = arguments
    wanted = run_cli("validate", levels["warning"], levels["error"], "--json")
    assert run_cli(command, levels["warning"], levels["error"], *options) == wanted
    assert wanted.code == 1


@pytest.mark.parametrize(
    ("options", "loader", "multifd", "verdict"),
    [
        ((), "qemu-11.1", False, "refuses"),
        (("--loader", "qemu-10.0"), "qemu-10.0", False, "crashes"),
        (("--loader", "qemu-11.1", "--multifd"), "qemu-11.1", True, "refuses"),
        # A design is about channels.
        (("--loader", "mapped-ram"), "mapped-ram", True, "crashes"),
        (("--loader", "reentrant", "--no-multifd"), "reentrant", False, "crashes"),
    ],
)
def test_loader_is_the_one_that_is_asked_for(
    options: tuple[str, ...], loader: str, multifd: bool, verdict: str, tmp_path: Path
) -> None:
    """FORMAT 7: a page_size of 0 kills 10.x; 11 refuses what is not its own."""
    result = run_cli("validate", image(tmp_path / "a.img", "page-size-zero"), "--json", *options)
    (report,) = images_of(result)
    assert (report["loader"], report["multifd"], report["verdict"]) == (loader, multifd, verdict)
    verdicts = {(one["loader"], one["multifd"]): one["verdict"] for one in report["verdicts"]}
    assert verdicts == {
        ("qemu-10.0", False): "crashes", ("qemu-10.0", True): "crashes",
        ("qemu-11.1", False): "refuses", ("qemu-11.1", True): "refuses",
    }  # fmt: skip


@pytest.mark.slow
def test_property_of_the_receiver_is_a_part_of_the_question(tmp_path: Path) -> None:
    """FORMAT 6: re-entrant receivers sync at EOS when the property is on."""
    path = image(tmp_path / "a.img", dialect="fixed-ram-v4", multifd=True,
                 multifd_flush_after_each_section=True)  # fmt: skip
    command = ("validate", path, "--json", "--loader", "reentrant")
    off, on = run_cli(*command), run_cli(*command, "--multifd-flush-after-each-section")
    assert [images_of(one)[0]["verdict"] for one in (off, on)] == ["wrong-memory", "loads"]
    assert [one.code for one in (off, on)] == [1, 0]


@pytest.mark.slow
def test_deep_reads_pages(tmp_path: Path) -> None:
    path = image(tmp_path / "a.img", "stale-page")
    assert "P01" not in rules_of(run_cli("validate", path, "--json"))
    assert "P01" in rules_of(run_cli("validate", path, "--json", "--deep"))


# -- exit codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_on", [None, *RANKS, "never"])
@pytest.mark.parametrize("level", LEVELS)
def test_exit_code_is_1_from_the_asked_severity_on(
    level: str, fail_on: str | None, levels: dict[str, Path]
) -> None:
    options = ("--fail-on", fail_on) if fail_on else ()
    result = run_cli("validate", levels[level], "--json", *options)
    assert rules_of(result) == LEVELS[level][2]
    threshold = fail_on or "error"
    fails = (
        level != "sound" and threshold != "never" and RANKS.index(level) <= RANKS.index(threshold)
    )
    assert result.code == int(fails)


@pytest.mark.parametrize("form", FORMS)
def test_unreadable_broken_and_good_images_are_all_told(
    form: str, levels: dict[str, Path], tmp_path: Path
) -> None:
    gone = tmp_path / "gone.img"
    result = run_cli("validate", gone, levels["error"], levels["sound"], tmp_path,
                     "--output", form, "--fail-on", "never")  # fmt: skip
    assert result.code == 2
    assert ("not judged" in result.err) is (form == "text")
    for path in (gone, levels["error"], levels["sound"]):
        assert path.name in result.out
    assert "No such file" in result.out
    assert "it is a directory" in result.out
    if form != "text":
        assert "L01" in result.out
    if form == "json":
        told = [(one["verdict"], bool(one["error"])) for one in images_of(result)]
        assert told == [(None, True), ("refuses", False), ("loads", False), (None, True)]


@pytest.mark.slow
def test_what_is_no_image_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no image at all")
    result = run_cli("validate", path, "--json")
    assert result.code == 1
    assert rules_of(result) == {"S01"}
    assert images_of(result)[0]["verdict"] == "refuses"
    path.write_bytes(b"")
    assert rules_of(run_cli("validate", path, "--json")) == {"S01"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("IMAGE", "--loader", "qemu-9.0"),
        ("IMAGE", "--fail-on", "sometimes"),
        ("IMAGE", "--output", "yaml"),
        ("IMAGE", "--jobs", "-1"),
        ("IMAGE", "--byte-order", "middle"),
        ("IMAGE", "--nonsense"),
        ("IMAGE@1Z",),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...], levels: dict[str, Path]) -> None:
    told = [one.replace("IMAGE", str(levels["sound"])) for one in arguments]
    result = run_cli("validate", *told)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.err or "write PATH@OFFSET" in result.out


# -- several at once -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "jobs"),
    [*zip((*FORMS, "json"), ("2", "0", "64", "2", "0", "64"), strict=True)],
)
def test_jobs_make_no_difference_but_in_time(
    form: str, jobs: str, levels: dict[str, Path], tmp_path: Path
) -> None:
    paths = [*levels.values(), tmp_path / "gone.img", *reversed(levels.values())]
    command = ("validate", *paths, "--deep", "--output", form)
    assert run_cli(*command, "-j", jobs) == run_cli(*command, "-j", "1")


# -- where images come from ------------------------------------------------------------------------


@pytest.mark.slow
def test_image_comes_through_a_pipe(levels: dict[str, Path]) -> None:
    raw = levels["error"].read_bytes()
    piped = run_cli("validate", "-", "--json", stdin=raw)
    assert images_of(piped)[0]["path"] == "-"
    named = images_of(run_cli("validate", levels["error"], "--json"))[0]
    assert images_of(piped)[0]["findings"] == named["findings"]
    both = run_cli("validate", levels["sound"], "-", "-j", "2", "--json", stdin=raw)
    assert [one["verdict"] for one in images_of(both)] == ["loads", "refuses"]


@pytest.mark.slow
def test_stream_that_starts_further_in(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", "header-version-2", offset=70_001)
    assert rules_of(run_cli("validate", path, "--json")) == {"S01"}
    for arguments in ((f"{path}@70001",), (f"{path}@0x11171",), (path, "--search")):
        result = run_cli("validate", *arguments, "--json")
        assert rules_of(result) == {"L01"}
        assert images_of(result)[0]["findings"][0]["offset"] > 70_001
    beyond = run_cli("validate", f"{path}@1T", "--json")
    assert rules_of(beyond) == {"S01"}


@pytest.mark.slow
def test_byte_order_may_be_told(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img", byte_order="big", machine="s390-ccw-virtio")
    told = [
        rules_of(run_cli("validate", path, "--json", "--byte-order", order))
        for order in ("big", "little")
    ]
    assert ["B02" in rules for rules in told] == [True, False]


# -- names of an attacker --------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_names_cannot_act_on_a_terminal(form: str, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\x00\r[bold red]"
    blocks = [{"name": evil, "size": 4 * PAGE, "pattern": "text"},
              {"name": f"{evil}2", "size": PAGE, "pattern": "text"}]  # fmt: skip
    devices = [{"name": "\x1b[5m", "data": "00" * 8}]
    path = image(tmp_path / "\x1b[2J\r\n.img", "duplicate-block", "hostile-machine",
                 machine=evil, blocks=blocks, devices=devices, capabilities=[evil])  # fmt: skip
    vm = tmp_path / "vm.json"
    vm.write_text(json.dumps({"machine": evil, "blocks": {f"{evil}3": 1}, "sections": {evil: 1}}))
    result = run_cli("validate", path, "--output", form, "--destination", vm)
    assert (result.code, result.err) == (1, "")
    assert "G03" in result.out
    assert "R15" in result.out
    raw = [char for char in result.out if not char.isprintable() and char != "\n"]
    assert raw == []
    assert "T05" in result.out
