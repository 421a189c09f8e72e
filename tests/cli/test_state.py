"""`fixedram state` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from support.builders import StreamBuilder, device, uint
from support.real_files import location_of, without_description


@pytest.fixture
def q35(unpacked_dir: Path) -> str:
    return location_of("sample/q35-dimm", unpacked_dir)


def test_without_a_path_it_lists_every_device_with_its_place(q35: str) -> None:
    done = run_cli("state", q35, COLUMNS="120")
    assert done.code == 0
    assert done.err == ""
    rows = [line.split() for line in done.out.splitlines()]
    with Image.open(q35) as image:
        assert [row[0] for row in rows[2:]] == [one.path for one in image.state.devices[1:]]
    assert next(row for row in rows if row[0] == "ioapic")[:3] == ["ioapic", "20", "3"]


def test_a_path_prints_numbers_with_their_hexadecimal_form(q35: str) -> None:
    done = run_cli("state", q35, "cpu*/env.eip")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["cpu/0/env.eip", "cpu/1/env.eip"]
    for line in lines:
        _, decimal, hexadecimal = line.split()
        assert int(hexadecimal.strip("()"), 16) == int(decimal)


def test_negative_numbers_show_the_bits_they_are(q35: str) -> None:
    assert "-1 (0xffffffff)" in run_cli("state", q35, "cpu/0/env.a20_mask").out


def test_text_in_buffers_is_shown(q35: str) -> None:
    assert '"paused"' in run_cli("state", q35, "globalstate/runstate").out


def test_offsets_lead_to_the_bytes(q35: str) -> None:
    offset, size, path, value = run_cli(
        "state", q35, "timer/cpu_clock_offset", "--offsets"
    ).out.split()[:4]
    raw = Path(q35).read_bytes()[int(offset, 16) : int(offset, 16) + int(size)]
    assert path == "timer/cpu_clock_offset"
    assert int.from_bytes(raw, "big") == int(value)


@pytest.mark.slow
def test_flat_lines_are_one_a_value_and_find_it_again(q35: str) -> None:
    lines = run_cli("state", q35, "ioapic", "--flat").out.splitlines()
    assert len(lines) == 1 + 1 + 1 + 1 + 24
    path, value = lines[10].split(" = ")
    again = run_cli("state", q35, path, "--flat").out
    assert again == f"{path} = {value}\n"


@pytest.mark.slow
def test_like_elements_are_folded_unless_all_are_wanted(q35: str) -> None:
    folded = run_cli("state", q35, "cpu/0").out
    assert "7 more like it" in folded
    whole = run_cli("state", q35, "cpu/0", "--all").out
    assert "more" not in whole
    assert whole.count("tmp_mant") == 8


@pytest.mark.slow
def test_json_has_all_devices_with_fields_in_numbers(q35: str) -> None:
    told = run_cli("state", q35, "--json").json
    assert told["complete"] is True
    cpu = told["devices"]["cpu/0"]
    assert cpu["name"] == "cpu"
    assert cpu["fields"]["env.cr[0]"] & 1
    assert len(cpu["fields"]["env.regs"]) == 16
    assert told["devices"]["mc146818rtc"]["fields"]["cmos_data"] == cpu_hex(q35)
    assert told["notes"] == []


def cpu_hex(path: str) -> str:
    with Image.open(path) as image:
        found = image.state.value("mc146818rtc/cmos_data")
        assert found is not None
        return found.raw.hex()


@pytest.mark.slow
def test_json_of_a_path_has_only_what_it_means(q35: str) -> None:
    told = run_cli("state", q35, "cpu*/env.eip", "--output", "json").json
    assert list(told["devices"]) == ["cpu/0", "cpu/1"]
    assert list(told["devices"]["cpu/1"]["values"]) == ["cpu/1/env.eip"]


@pytest.mark.slow
def test_json_with_offsets_locates_every_value(q35: str) -> None:
    told = run_cli("state", q35, "cpu/0", "--json", "--offsets").json
    root = told["devices"]["cpu/0"]["values"]["cpu/0"]
    raw = Path(q35).read_bytes()
    flags = root["env.segs"][1]["flags"]
    assert flags["value"] == int.from_bytes(raw[flags["offset"] :][: flags["size"]], "big")
    assert flags["type"] == "uint32"


@pytest.mark.slow
def test_raw_is_the_device_s_bytes(q35: str, tmp_path: Path) -> None:
    with Image.open(q35) as image:
        device_ = next(one for one in image.state.devices if one.path == "ioapic")
        want = device_.read(0, device_.size)
    done = subprocess.run(
        [sys.executable, "-m", "fixedram_cli", "state", q35, "ioapic", "--raw"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == want
    run_cli("state", q35, "ioapic", "--raw", "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == want


@pytest.mark.slow
def test_raw_of_several_values_is_refused(q35: str, tmp_path: Path) -> None:
    done = run_cli("state", q35, "cpu*", "--raw", "-o", tmp_path / "out")
    assert done.code == 2
    assert not (tmp_path / "out").exists()
    assert "name one" in done.err


def test_raw_never_goes_to_a_terminal(q35: str) -> None:
    import pty

    controller, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "fixedram_cli", "state", q35, "ioapic", "--raw"],
        stdout=terminal,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(terminal)
    os.close(controller)
    assert done.returncode == 2
    assert b"not for a terminal" in done.stderr


@pytest.mark.slow
def test_a_path_that_means_nothing_says_what_there_is(q35: str) -> None:
    done = run_cli("state", q35, "ioapik/irr")
    assert done.code == 2
    assert done.out == ""
    assert "ioapic" in done.err


@pytest.mark.slow
def test_the_description_is_printed_as_it_is(q35: str) -> None:
    told = run_cli("state", q35, "--desc").json
    assert [one["name"] for one in told["devices"]][:2] == ["timer", "cpu_common"]
    assert told["configuration"]["vmsd_name"] == "configuration"


@pytest.mark.slow
def test_the_summary_says_where_each_item_is_from(q35: str) -> None:
    text = run_cli("state", q35, "--summary").out
    for item in ("cpu/0/env.eip", "protected mode, 32-bit code", "host bridge", "mc146818rtc"):
        assert item in text
    told = run_cli("state", q35, "--summary", "--json").json
    assert next(one["mode"] for one in told["cpus"]).startswith("protected")
    assert {one["transport"] for one in told["virtio"]} == {"pci"}


@pytest.mark.slow
def test_without_a_description_another_image_lends_its(unpacked_dir: Path) -> None:
    bare = location_of("sample/pc-no-vmdesc", unpacked_dir)
    donor = location_of("sample/pc-once", unpacked_dir)
    alone = run_cli("state", bare, "cpu/env.eip")
    assert alone.code == 2
    assert "--desc-from" in alone.err
    lent = run_cli("state", bare, "cpu/env.eip", "--desc-from", donor)
    assert lent.out.startswith("cpu/env.eip  ")
    assert run_cli("state", bare, "--desc").code == 2


def test_a_tail_that_is_missing_is_told(q35: str, tmp_path: Path) -> None:
    with Image.open(q35) as image:
        offset = image.sections[-1].offset
    cut = without_description(Path(q35), offset + 9, tmp_path / "cut")
    done = run_cli("state", cut, "--desc-from", q35)
    assert done.code == 0
    assert "stops early" in done.err
    assert "ioapic" in done.out


@pytest.mark.slow
def test_standard_input_will_do(q35: str) -> None:
    done = run_cli("state", "-", "cpu/0/env.eip", stdin=Path(q35).read_bytes())
    assert done.out == run_cli("state", q35, "cpu/0/env.eip").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--raw",),
        ("cpu", "--raw", "--json"),
        ("cpu", "-o", "x"),
        ("--desc-from", "/nonexistent"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(q35: str, arguments: tuple[str, ...]) -> None:
    done = run_cli("state", q35, *arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


# -- hostile images -------------------------------------------------------------------------------


def hostile(*fields: dict[str, Any], body: bytes, name: str = "dev") -> bytes:
    entry = {**device(name, 0), "fields": list(fields)}
    builder = StreamBuilder().header().configuration(b"pc")
    return builder.full(3, name.encode(), body).described(entry).file()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json", "qemu"])
def test_names_and_text_of_a_hostile_image_do_not_reach_the_terminal(
    form: str, tmp_path: Path
) -> None:
    evil = "\x1b[31m[red]\u202e\x7f"
    raw = hostile(
        uint(evil, 1), {"name": "b", "type": "buffer", "size": 4}, body=b"\1\x1b[2J", name=evil
    )
    (tmp_path / "image").write_bytes(raw)
    for path in ((), ("**",)):
        done = run_cli("state", tmp_path / "image", *path, "--format", form)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
        assert "\u202e" not in done.out


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b'{"devices":' + b"[" * 100_000,
        b"{}",
        b'{"devices":[{"name":"dev","instance_id":0,"version":1,"fields":[{"name":"f","type":"uint8","size":0,"array_len":1152921504606846976}]}]}',
        b'{"devices":[{"name":"dev","instance_id":0,"version":1,"fields":[{"name":"f","type":"struct","size":4,"struct":[]}]}]}',
        b'{"devices":[{"name":"dev","instance_id":0,"version":1,"fields":[{"name":"f","type":"uint8","size":1}],"subsections":[{"vmsd_name":"dev/x","version":1,"fields":[]}]}]}',
    ],
)
def test_hostile_descriptions_leave_the_device_as_bytes(text: bytes, tmp_path: Path) -> None:
    builder = StreamBuilder().header().configuration(b"pc").full(3, b"dev", b"\1\2\3\4").eof()
    (tmp_path / "image").write_bytes(builder.vmdesc(text).file())
    for arguments in ((), ("dev",), ("--json",), ("--format", "qemu"), ("--summary",)):
        done = run_cli("state", tmp_path / "image", *arguments)
        assert done.code == 0, done.err
        assert "Traceback" not in done.err
    assert "01 02 03 04" in run_cli("state", tmp_path / "image", "dev").out
    assert json.loads(run_cli("state", tmp_path / "image", "--format", "qemu").out) == {
        "dev (3)": "01 02 03 04"
    }
