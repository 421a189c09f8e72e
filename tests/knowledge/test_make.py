"""The data is made of what QEMU answers: the same bytes each time, from files and from programs."""

from __future__ import annotations

import json
import lzma
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED, absent
from fixedram_fmt.knowledge import known_in, known_versions, read_dump
from fixedram_fmt.knowledge.machinelist import family_of, read_machines
from fixedram_fmt.knowledge.make import main
from fixedram_fmt.knowledge.packed import (
    DATA,
    devices_path,
    machines_path,
    read_devices,
    read_machine_lists,
)
from qemu_vm import find_qemu, missing, require_qemu

#: What QEMU 10.0 and 11.1 have answered.
ANSWERS = SHARED.parent / "qemu"

LIST = """\
Supported machines are:
pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-10.0)
pc-i440fx-10.0       Standard PC (i440FX + PIIX, 1996) (default)
pc-i440fx-2.4        Standard PC (i440FX + PIIX, 1996) (deprecated)
a-very-long-name-for-a-machine A board
none                 empty machine
"""


def answers() -> Path:
    if not ANSWERS.exists():
        absent("../shared/qemu")
    return ANSWERS


def unpacked(folder: Path, version: str) -> dict[str, Any]:
    """What is in the two files, whatever lzma made of it."""
    paths = (machines_path(version, folder), devices_path(version, folder))
    return {path.name: json.loads(lzma.decompress(path.read_bytes())) for path in paths}


def device(number: int) -> dict[str, Any]:
    version = {"version_id": number, "minimum_version_id": 0}
    common = {"name": "common", **version, "Fields": [], "Subsections": []}
    row = {"field": "base", "version_id": 0, "field_exists": False, "size": number}
    rows = [{**row, "Description": common}, {**row, "num": 2, "field_exists": True}]
    description = {"name": f"dev{number % 3}", **version, "Fields": rows}
    return {"Name": f"class{number}", **version, "Description": description}


def write_answers(folder: Path, numbers: list[int]) -> None:
    folder.mkdir()
    (folder / "machines-9.9-x86_64.txt").write_text(LIST)
    for machine in ("pc", "q35"):
        devices = {f"class{number}": device(number) for number in numbers}
        document = {"vmschkmachine": {"Name": machine}, **devices}
        path = folder / f"vmstate-9.9-x86_64-{machine}.json"
        path.write_text(json.dumps(document))


def test_lines_of_a_list_of_machines() -> None:
    found = read_machines(LIST)
    assert list(found) == sorted(found)
    assert found["pc"].alias_of == "pc-i440fx-10.0"
    assert {one.name for one in found.values() if one.deprecated} == {"pc-i440fx-2.4"}
    assert {one.name for one in found.values() if one.alias_of} == {"pc"}
    assert len(found) == 5


@pytest.mark.parametrize("text", ["", "Supported machines are:\n", "none\n", "pc  a PC\n"])
def test_what_is_no_list_of_machines_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (line|list)"):
        read_machines(text)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("pc-q35-4.0.1", "pc-q35"),
        ("pseries-2.12-sxxm", "pseries"),
        ("s390-ccw-virtio-2.9", "s390-ccw-virtio"),
        ("virt", None),
        ("mps2-an385", None),
    ],
)
def test_families_of_machines(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_making_is_the_same_whatever_the_order(tmp_path: Path) -> None:
    made = []
    for name, numbers in (("a", [1, 2, 3, 4, 5]), ("b", [5, 3, 1, 4, 2])):
        write_answers(tmp_path / name, numbers)
        out = tmp_path / f"out-{name}"
        out.mkdir()
        main(["--from", str(tmp_path / name), "--version", "9.9", "-o", str(out)])
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert sorted(made[0]) == ["qemu-9.9.devices.xz", "qemu-9.9.machines.xz"]


def test_what_was_made_is_what_was_answered(tmp_path: Path) -> None:
    write_answers(tmp_path / "a", [1, 2, 3, 4, 5])
    main(["--from", str(tmp_path / "a"), "--version", "9.9", "-o", str(tmp_path)])
    devices = read_devices(devices_path("9.9", tmp_path).read_bytes())
    dump = read_dump((tmp_path / "a" / "vmstate-9.9-x86_64-pc.json").read_bytes())
    (one,) = devices.dumps
    assert one.machines == ("pc", "q35")
    have = {devices.structures[number] for number in one.structures}
    assert have == {vmstate for same in dump.vmstates.values() for vmstate in same}
    lists = read_machine_lists(machines_path("9.9", tmp_path).read_bytes())
    assert lists == {"x86_64": read_machines(LIST)}


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for arguments in (["--from", str(tmp_path)], ["--version", "9.9"]):
        with pytest.raises(SystemExit):
            main(arguments)
    with pytest.raises(SystemExit, match="no answers"):
        main(["--from", str(tmp_path), "--version", "9.9"])


@pytest.mark.slow
@pytest.mark.parametrize("version", known_versions())
def test_shipped_data_is_made_of_the_answers(version: str, tmp_path: Path) -> None:
    main(["--from", str(answers()), "--version", version, "-o", str(tmp_path)])
    assert unpacked(tmp_path, version) == unpacked(DATA, version)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 40_000


@pytest.mark.slow
@pytest.mark.parametrize("version", known_versions())
def test_shipped_data_has_each_structure_of_each_dump(version: str) -> None:
    known = known_in(version)
    assert known is not None
    for path in sorted(answers().glob(f"vmstate-{version}-*.json.xz")):
        dump = read_dump(lzma.decompress(path.read_bytes()))
        have = known.vmstates(path.name.split("-")[2], dump.machine)
        assert {name: set(one) for name, one in have.items()} == {
            name: set(one) for name, one in dump.vmstates.items()
        }


@pytest.mark.qemu
def test_installed_programs_answer_what_is_shipped(tmp_path: Path) -> None:
    binary = require_qemu("x86_64")
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[3].rpartition(".")[0]
    if version not in known_versions():
        missing(f"nothing is shipped of QEMU {version}")
    shipped = read_machine_lists(machines_path(version).read_bytes())
    programs = {arch: find_qemu(arch) for arch in shipped}
    if lacking := [arch for arch, program in programs.items() if program is None]:
        missing(f"qemu-system-{lacking[0]} is not installed")
    main([*map(str, programs.values()), "-o", str(tmp_path)])
    assert unpacked(tmp_path, version) == unpacked(DATA, version)
