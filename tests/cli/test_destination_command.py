"""`fixedram destination --output command`, and argv in the document of a receiver."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from conftest import run_cli
from support.faulty_images import image, rules_of
from support.synthetic import PAGE

pytestmark = pytest.mark.slow


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    blocks = [{"name": "pc.ram", "size": PAGE, "pattern": "text"}]
    devices = [
        {"name": "0000:00:01.0/PIIX3", "data": "00" * 8},
        {"name": "odd\x1b[31m", "data": "00" * 8},
    ]
    return image(tmp_path / "a guest.img", blocks=blocks, devices=devices, machine="pc")


def test_the_command_is_one_for_a_shell_and_doubts_are_on_stderr(guest: Path) -> None:
    result = run_cli("destination", guest, "--output", "command")
    assert result.code == 0
    argv = shlex.split(result.out.replace("\\\n", ""))
    assert argv[0] == "qemu-system-x86_64"
    assert argv[-2:] == ["-incoming", f"file:{guest}"]
    assert "odd\\x1b[31m" in result.err
    assert "\x1b" not in result.err
    document = json.loads(run_cli("destination", guest, "--output", "command", "--json").out)
    assert [*document] == ["argv", "uncertain"]
    assert document["argv"] == argv
    assert len(document["uncertain"]) == len(result.err.splitlines())


def test_the_command_goes_into_a_file(guest: Path, tmp_path: Path) -> None:
    shown = run_cli("destination", guest, "--output", "command").out
    assert run_cli("destination", guest, "--output", "command", "-o", tmp_path / "run.sh").code == 0
    assert (tmp_path / "run.sh").read_text() == shown


def test_the_document_has_the_command_and_is_a_destination_still(
    guest: Path, tmp_path: Path
) -> None:
    vm = tmp_path / "vm.json"
    assert run_cli("destination", guest, "-o", vm).code == 0
    document = json.loads(vm.read_text())
    command = json.loads(run_cli("destination", guest, "--output", "command", "--json").out)
    assert (document["argv"], document["uncertain"]) == (command["argv"], command["uncertain"])
    judged = run_cli("validate", guest, "--destination", vm, "--json")
    assert not {rule for rule in rules_of(judged) if rule[0] == "T"}
    assert "argv" not in run_cli("destination", guest).out


def test_where_no_command_can_be_derived_the_document_lacks_it(tmp_path: Path) -> None:
    odd = image(tmp_path / "odd.img", machine="no-such-machine")
    document = json.loads(run_cli("destination", odd, "--json").out)
    assert not {"argv", "uncertain"} & {*document}
    result = run_cli("destination", odd, "--output", "command")
    assert (result.code != 0, result.out) == (True, "")
    assert "no-such-machine" in result.err


def test_text_means_toml_and_a_command_is_of_one_image(guest: Path, tmp_path: Path) -> None:
    plain = run_cli("destination", guest).out
    assert run_cli("destination", guest, "--output", "text").out == plain
    assert run_cli("destination", guest, "--output", "toml").out == plain
    result = run_cli("destination", guest, guest, "--output", "command")
    assert result.code == 2
    vm = tmp_path / "vm.toml"
    vm.write_text(plain)
    result = run_cli("destination", vm, "--output", "command")
    assert result.code != 0
    assert "is no image" in result.err
