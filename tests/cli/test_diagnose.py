"""`fixedram diagnose` and `fixedram rules --message`: where words come from, what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import run_cli
from support.faulty_images import MIXED, image

SAID = 'qemu-system-x86_64: Unknown ramblock "mem1", cannot accept migration'
LAST = "qemu-system-x86_64: load of migration failed: Invalid argument"
KEYS = {"message", "rule", "offset", "path", "side", "explanation", "fix"}

pytestmark = pytest.mark.slow


def test_text_a_file_and_stdin_say_the_same(tmp_path: Path) -> None:
    log = tmp_path / "guest.log"
    log.write_text(f"{SAID}\n{LAST}\n")
    results = [
        run_cli("diagnose", "--log", f"{SAID}\n{LAST}", "--json"),
        run_cli("diagnose", "--log", log, "--json"),
        run_cli("diagnose", "--log", "-", "--json", stdin=log.read_bytes()),
    ]
    assert {(result.code, result.err) for result in results} == {(1, "")}
    assert len({result.out for result in results}) == 1
    told = results[0].json
    first, second = told["causes"]
    assert first.keys() >= KEYS
    assert first["message"] == 'Unknown ramblock "mem1", cannot accept migration'
    assert (first["rule"], first["side"], first["offset"]) == ("T04", "receiver", None)
    assert second["message"] == "load of migration failed: Invalid argument"
    assert told["path"] is None


def test_an_empty_log_is_a_log() -> None:
    result = run_cli("diagnose", "--log", "")
    assert (result.code, result.err) == (0, "")
    assert "nothing in the log" in result.out


def test_people_are_told_meaning_side_and_what_to_do() -> None:
    result = run_cli("diagnose", "--log", f"{SAID}\n{LAST}")
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0] == 'Unknown ramblock "mem1", cannot accept migration'
    for label in ("meaning", "change", "do", "source", "more"):
        assert any(line.strip().startswith(f"{label} ") for line in lines), label
    assert "  load of migration failed: Invalid argument" in lines


def test_an_image_gives_the_place(tmp_path: Path) -> None:
    path = image(tmp_path / "guest.img")
    result = run_cli("diagnose", path, "--log", SAID.replace("mem1", "pc.ram"), "--json")
    cause = result.json["causes"][0]
    assert (result.code, result.json["path"]) == (1, str(path))
    assert cause["offset"] > 0
    assert cause["path"].startswith("section[0]/ram/block[")
    text = run_cli("diagnose", path, "--log", SAID.replace("mem1", "pc.ram"))
    assert f"{cause['offset']:#x} in {cause['path']}" in text.out


def test_an_image_alone_is_asked_of_validate(tmp_path: Path) -> None:
    broken = run_cli("diagnose", image(tmp_path / "broken.img", *MIXED), "--json")
    assert (broken.code, broken.json["verdict"]) == (1, "refuses")
    assert broken.json["causes"][0]["rule"] == "L01"
    whole = image(tmp_path / "whole.img")
    sound = run_cli("diagnose", whole)
    assert (sound.code, sound.err) == (0, "")
    assert "loads" in sound.out


def test_a_log_without_a_known_failure_ends_with_0() -> None:
    result = run_cli("diagnose", "--log", "error: something failed")
    assert result.code == 0
    assert "no known message" in result.out
    assert "error: something failed" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give an IMAGE, or --log"),
        (("-", "--log", "-"), "cannot both be stdin"),
        (("--log", "no/such.log"), "there is no file"),
        (("--log", "nosuch.log"), "there is no file"),
        (("no-such-image", "--log", SAID), "No such file"),
        (("--log", "."), "Is a directory"),
    ],
)
def test_what_cannot_be_read_is_an_error(arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("diagnose", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in " ".join(result.err.split())


def test_a_file_that_is_no_image_is_told_beside_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"not an image")
    result = run_cli("diagnose", path, "--log", SAID)
    assert result.code == 1
    assert "Unknown ramblock" in result.out
    assert "no image" in result.out


def test_nothing_of_a_log_acts_on_a_terminal() -> None:
    block = SAID.replace("mem1", "m\x07\u202e")
    log = f"{block}\nerror: failed \x9b31m \u2066"
    result = run_cli("diagnose", "--log", "-", stdin=log.encode())
    assert result.code == 1
    assert all(char.isprintable() or char == "\n" for char in result.out)


def test_rules_of_a_message_are_explained() -> None:
    result = run_cli("rules", "--message", "Missing section footer for ram", "--json")
    assert result.code == 0
    assert [rule["id"] for rule in result.json["rules"]][:2] == ["T12", "T15"]
    text = run_cli("rules", "--message", "Missing section footer for ram")
    assert (text.code, text.out.startswith("T12  ")) == (0, True)
    assert "why" in text.out


def test_a_message_without_a_rule_is_told() -> None:
    result = run_cli("rules", "--message", "all is well")
    assert (result.code, result.err) == (1, "")
    assert "no rule" in result.out
    result = run_cli("rules", "L01", "--message", "all is well")
    assert result.code == 2


def test_a_device_is_no_log() -> None:
    done = run_cli("diagnose", "--log", "/dev/zero")
    assert done.code == 2
    assert "is a device" in done.err
