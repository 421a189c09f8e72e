"""`fixedram destination`, and images that do not fit one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from conftest import run_cli
from support.faulty_images import image, images_of, rules_of
from support.synthetic import PAGE

NAMES = ["pc.ram", "/rom@etc/acpi/tables", 'quo"te', "back\\slash", "\U0001f4be", "\x7f", "tab\t"]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    blocks = [{"name": name, "size": PAGE, "pattern": "text"} for name in NAMES]
    devices = [{"name": f"0000:00/{name}", "version": 3, "data": "00" * 8} for name in NAMES[:5]]
    return image(tmp_path / "guest.img", blocks=blocks, devices=devices, target_page_bits=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["toml", "json", ""])
def test_destination_of_an_image_fits_it(suffix: str, named: Path, tmp_path: Path) -> None:
    vm = tmp_path / f"vm.{suffix}"
    written = run_cli("destination", named, "-o", vm)
    assert (written.code, written.out, written.err) == (0, "", "")
    result = run_cli("validate", named, "--destination", vm, "--json")
    assert not {rule for rule in rules_of(result) if rule[0] == "T"}
    text = vm.read_text()
    assert text.isascii()
    document = json.loads(text) if suffix == "json" else tomllib.loads(text)
    assert document["blocks"] == dict.fromkeys(NAMES, PAGE)
    assert document["machine"] == "pc"
    assert document["target_page_size"] == PAGE
    assert document["capabilities"] == ["mapped-ram"]
    assert document["sections"]["ram"] == 4
    assert document["instances"]["ram"] == [0]


@pytest.mark.slow
def test_destination_on_stdout_is_the_one_in_a_file(named: Path, tmp_path: Path) -> None:
    for options, suffix in (((), "toml"), (("--json",), "json"), (("--output", "json"), "json")):
        shown = run_cli("destination", named, *options)
        assert shown.code == 0
        vm = tmp_path / f"vm.{suffix}"
        run_cli("destination", named, "-o", vm)
        assert vm.read_text() == shown.out


def test_what_does_not_fit_is_found(named: Path, tmp_path: Path) -> None:
    vm = tmp_path / "vm.toml"
    vm.write_text('machine = "q35"\n[blocks]\n"pc.ram" = "4K"\nmore = "1M"\n')
    result = run_cli("validate", named, "--destination", vm, "--json")
    assert {rule for rule in rules_of(result) if rule[0] == "T"} == {"T01", "T04", "T05"}
    (report,) = images_of(result)
    assert report["verdict"] == "refuses"
    assert result.code == 1


@pytest.mark.slow
def test_destination_is_taken_from_a_good_image(named: Path, tmp_path: Path) -> None:
    other = image(tmp_path / "other.img", machine="q35")
    assert not {rule for rule in rules_of(run_cli("validate", named, "--like", named, "--json"))
                if rule[0] == "T"}  # fmt: skip
    result = run_cli("validate", named, other, "--like", other, "--json")
    # Names of blocks and devices; pc is no prefix of q35.
    assert {rule for rule in rules_of(result) if rule[0] == "T"} == {
        "T01", "T04", "T05", "T07", "T08", "T11",
    }  # fmt: skip
    assert rules_of(result, 1) == set()
    moved = image(tmp_path / "moved.img", machine="q35", offset=4096)
    like = run_cli("validate", other, "--like", f"{moved}@4K", "--json")
    assert rules_of(like) == set()


@pytest.mark.slow
def test_image_that_is_no_example_is_refused(named: Path, tmp_path: Path) -> None:
    broken = image(tmp_path / "broken.img", "cut-before-eof")
    for like in (broken, tmp_path / "gone.img", tmp_path):
        result = run_cli("validate", named, "--like", like)
        assert (result.code, result.out) == (2, "")
        assert len(result.err.splitlines()) == 1
    written = run_cli("destination", broken)
    assert written.code == 0
    assert tomllib.loads(written.out)["machine"] == "pc"
    assert "missing here" in written.err


def test_descriptions_add_up_and_contradictions_are_told(named: Path, tmp_path: Path) -> None:
    vm, other = tmp_path / "vm.toml", tmp_path / "other.toml"
    run_cli("destination", named, "-o", vm)
    result = run_cli("validate", named, "--destination", vm, "--like", named)
    assert result.err == ""
    other.write_text('machine = "pc-q35-9.2"\n')
    result = run_cli("validate", named, "--destination", other, "--like", named)
    assert "told in two ways: machine" in result.err
    assert "pc-q35-9.2" in result.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vm.toml", "machine = pc"),
        ("vm.toml", 'machin = "pc"'),
        ("vm.toml", "[blocks]\nram = -1"),
        ("vm.toml", '[blocks]\nram = "much"'),
        ("vm.toml", "target_page_size = 4095"),
        ("vm.toml", "\udcff"),
        ("vm.json", "{"),
        ("vm.json", '{"sections": []}'),
        ("vm.json", '{"blocks": {"\\ud800": 1}}'),
        ("vm.json", "[" * 100_000),
        ("gone/vm.json", None),
    ],
)
def test_broken_destination_is_told_in_a_line(name: str, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    result = run_cli("validate", image(tmp_path / "sound.img"), "--destination", path)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert str(path) in result.err
    assert "fixedram destination IMAGE -o FILE makes one" in result.err
