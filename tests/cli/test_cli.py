"""The command as users and scripts meet it: exit codes, streams, JSON contract, hostile input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SAMPLES, run_cli, unpack
from fixedram_fmt import __version__

#: Keys of DESIGN's contract: users and checks rely on them.
INFO_KEYS = {
    "path", "size", "container", "dialect", "machine", "capabilities", "target_page_size", "uuid",
    "complete", "blocks", "sections", "devices", "vmdesc",
}  # fmt: skip
BLOCK_KEYS = {
    "name", "used_length", "page_size", "bitmap_offset", "pages_offset", "pages_total",
    "pages_present", "ignored", "region_address",
}  # fmt: skip


@pytest.fixture(scope="session")
def live(unpacked_dir: Path) -> Path:
    return unpack(SAMPLES / "pc-live.img.xz", unpacked_dir / "sample-pc-live")


@pytest.fixture(scope="session")
def failed(unpacked_dir: Path) -> Path:
    packed = SAMPLES / "failed-ignore-shared.img.xz"
    return unpack(packed, unpacked_dir / "sample-failed-ignore-shared")


def test_version_is_one_line_on_stdout() -> None:
    result = run_cli("--version")
    assert (result.code, result.out, result.err) == (0, f"fixedram {__version__}\n", "")


@pytest.mark.parametrize("command", ["info", "dump"])
def test_help_shows_an_example(command: str) -> None:
    result = run_cli(command, "--help")
    assert result.code == 0
    assert f"fixedram {command} guest.img" in result.out


def test_info_json_has_the_keys_of_the_contract(live: Path) -> None:
    info = run_cli("info", live, "--json").json
    assert info.keys() >= INFO_KEYS
    assert info["container"].keys() >= {"kind", "stream_offset"}
    assert info["blocks"][0].keys() >= BLOCK_KEYS
    assert info["sections"][0].keys() >= {"id", "name", "instance_id", "version"}
    assert info["devices"] == len(info["sections"]) - 1


@pytest.mark.slow
def test_output_json_means_json(live: Path) -> None:
    assert run_cli("info", live, "--output", "json").json == run_cli("info", live, "--json").json


def test_dump_json_has_the_keys_of_the_contract(live: Path) -> None:
    records = run_cli("dump", live, "--json").json["records"]
    assert all(
        record.keys() >= {"offset", "length", "kind", "path", "fields"} for record in records
    )
    header = next(r for r in records if r["kind"] == "mapped_ram_header")
    assert header["fields"] == {
        "version": 1, "page_size": 4096, "bitmap_offset": 0x8E, "pages_offset": 0x100000,
    }  # fmt: skip


@pytest.mark.slow
def test_text_is_plain_and_not_cut_in_a_pipe(live: Path) -> None:
    result = run_cli("info", live)
    assert "\x1b" not in result.out
    assert "pc-i440fx-10.0" in result.out
    assert "pc.ram" in result.out
    for sample in ("libvirt-fx-sparse.save.xz", "failed-ignore-shared.img.xz"):
        text = run_cli("info", SAMPLES / sample).out
        assert "…" not in text
        assert "\n                " not in text


@pytest.mark.slow
def test_dump_depth_puts_records_together_and_still_tiles(live: Path) -> None:
    whole = run_cli("dump", live, "--json").json
    top = run_cli("dump", live, "--json", "--depth", "1").json["records"]
    assert len(top) < len(whole["records"]) / 2
    at = 0
    for record in top:
        assert record["offset"] == at
        at += record["length"]
        assert "/" not in record["path"]
    assert at == whole["size"]


@pytest.mark.slow
def test_dump_kind_and_offset_narrow_it(live: Path) -> None:
    headers = run_cli("dump", live, "--kind", "mapped_ram_header", "--json").json["records"]
    assert {record["kind"] for record in headers} == {"mapped_ram_header"}
    assert len(headers) == 6
    (owner,) = run_cli("dump", live, "--offset", "0x90", "--json").json["records"]
    assert owner["kind"] == "bitmap"
    assert owner["offset"] <= 0x90 < owner["offset"] + owner["length"]
    several = run_cli("dump", live, "--offset", "0+1K", "--json").json["records"]
    assert several[0]["kind"] == "file_header"
    assert len(several) > 5


@pytest.mark.slow
def test_dump_bytes_are_the_bytes_of_the_file(live: Path) -> None:
    result = run_cli("dump", live, "--kind", "mapped_ram_header", "--bytes", "--json").json
    raw = live.read_bytes()
    for record in result["records"]:
        piece = raw[record["offset"] : record["offset"] + record["length"]]
        assert bytes.fromhex(record["bytes"]) == piece
        assert sum(field["length"] for field in record["layout"]) == record["length"]
    text = run_cli("dump", live, "--kind", "mapped_ram_header", "--bytes").out
    assert re.search(r"00 00 00 01 +version = 1", text)


@pytest.mark.parametrize(
    "arguments",
    [["--kind", "nonsense"], ["--offset", "here"], ["--depth", "0"], ["--no-such-option"]],
)
def test_wrong_usage_is_told_and_exits_2(live: Path, arguments: list[str]) -> None:
    result = run_cli("dump", live, *arguments)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_failed_save_gives_all_up_to_there_and_says_where_it_stopped(failed: Path) -> None:
    result = run_cli("info", failed, "--json")
    assert result.code == 0
    info = result.json
    assert info["complete"] is False
    assert info["stopped"]["offset"] == failed.stat().st_size
    assert info["blocks"][0]["name"] == "ram0"
    assert all(block["pages_present"] == 0 for block in info["blocks"])
    assert "stops early" in result.err
    assert "not completely saved" in run_cli("info", failed).out


@pytest.mark.slow
@pytest.mark.parametrize("command", ["info", "dump"])
def test_what_is_no_image_is_one_line_on_stderr(command: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"hello world, this is no image at all")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for location in (other, tmp_path / "missing", tmp_path, fifo, "/dev/null", f"{other}@99999"):
        result = run_cli(command, location)
        assert result.code == 2, location
        assert result.out == ""
        assert result.err.startswith("fixedram: error: ")
        assert result.err.count("\n") == 1


@pytest.mark.slow
def test_image_is_read_from_a_pipe_and_from_redirected_stdin(live: Path) -> None:
    through_pipe = run_cli("info", "-", "--json", stdin=live.read_bytes()).json
    with live.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "info", "-", "--json"],
            stdin=file, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    redirected = json.loads(done.stdout)
    direct = run_cli("info", live, "--json").json
    for info in (through_pipe, redirected):
        assert info["blocks"] == direct["blocks"]
        assert info["complete"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["dump --all --json", "dump --all", "state --flat", "read --phys 0 16M", "info"]
)
def test_reader_that_leaves_early_is_no_error(live: Path, command: str) -> None:
    name, _, options = command.partition(" ")
    run = f"{sys.executable} -m fixedram_cli {name} {live} {options}"
    done = subprocess.run(
        ["bash", "-c", f"{run} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["info"], ["dump", "--json"], ["dump"], ["--version"]])
def test_full_disk_is_told(live: Path, arguments: list[str]) -> None:
    location = [] if arguments == ["--version"] else [str(live)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", *arguments, *location],
            stdout=full, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["--version", "--help", "info {live}", "digest {live}"])
def test_stdout_that_the_caller_closed_is_an_error_in_one_line(live: Path, arguments: str) -> None:
    run = f"{sys.executable} -m fixedram_cli {arguments.format(live=live)}"
    done = subprocess.run(
        ["bash", "-c", f"{run} >&-"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, "fixedram: error: Bad file descriptor\n")


@pytest.mark.slow
def test_other_streams_may_be_closed(live: Path, tmp_path: Path) -> None:
    """And what is opened meanwhile does not take their place."""
    out = tmp_path / "out"
    run = f"{sys.executable} -m fixedram_cli copy {live} --force -o {out}"
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        done = subprocess.run(
            ["bash", "-c", f"{run} {closed}"], capture_output=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert out.read_bytes() == live.read_bytes()


OUTPUTS = [
    ("map", "-o", "{image}.png"), ("report", "-o", "{image}"),
    ("read", "--phys", "0", "-o", "{image}"), ("state", "ioapic", "--raw", "-o", "{image}"),
    ("destination", "-o", "{image}"), ("validate", "-o", "{image}"),
    ("validate", "--write-baseline", "{image}"), ("extract", "--format", "elf", "-o", "{image}"),
    ("extract", "--block", "pc.ram", "--force", "-o", "{image}"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("options", OUTPUTS, ids=" ".join)
def test_nothing_is_written_over_the_image_that_is_read(
    options: tuple[str, ...], live: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    shutil.copy(live, image)
    (tmp_path / "image.png").symlink_to(image)
    command, *rest = options
    result = run_cli(command, image, *(word.format(image=image) for word in rest))
    assert (result.code, result.out) == (2, "")
    assert "is an image, and is kept" in result.err
    assert image.read_bytes() == live.read_bytes()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("read", "--phys", "0xzz"), "'--phys': '0xzz' is no size or offset"),
        (("extract", "--range", "1Z", "--block", "a", "-o", "x"), "'--range': '1Z' is no size"),
        (("copy", "--align", "many", "-o", "x"), "'--align': 'many' is no size or offset"),
        (("dump", "--offset", f"{1 << 70}"), "'--offset': 1180591620717411303424 has more than 64"),
        (("load", "--loader", "nobody"), "'--loader': 'nobody' is not one of 'qemu-10.0', "),
        (("sync", "--loader", "nobody"), "'--loader': 'nobody' is not one of 'qemu-10.0', "),
        (("validate", "--loader", "nobody"), "'--loader': 'nobody' is not one of 'qemu-10.0', "),
    ],
)
def test_usage_errors_name_the_option(options: tuple[str, ...], hint: str, live: Path) -> None:
    command, *rest = options
    result = run_cli(command, live, *rest)
    assert (result.code, result.out) == (2, "")
    assert f"Error: Invalid value for {hint}" in result.err


@pytest.mark.parametrize("command", [("read",), ("map",), ("extract", "-o", "x")])
def test_unknown_block_is_told_with_those_there_are(command: tuple[str, ...], live: Path) -> None:
    result = run_cli(*command, live, "--block", "nope")
    assert result.code == 2
    assert "there is no block 'nope'; blocks are pc.ram, " in result.err


@pytest.mark.slow
def test_names_from_the_file_cannot_act_on_the_terminal(live: Path, tmp_path: Path) -> None:
    raw = live.read_bytes()
    hostile = tmp_path / "hostile.img"
    evil = b"\x1b[31m[b]x\x9b"[:9]
    # Same length as the names they replace: machine type, and a RAM block.
    raw = raw.replace(b"pc-i440fx-10.0", b"\x1b]0;evil\x07[red]"[:14].ljust(14, b"\r"), 1)
    raw = raw.replace(b"\x06pc.ram\0", b"\x06" + evil[:6] + b"\0", 1)
    hostile.write_bytes(raw)
    for arguments in (["info"], ["dump"], ["dump", "--bytes"], ["info", "--json"]):
        result = run_cli(*arguments, hostile)
        assert result.code == 0, arguments
        for stream in (result.out, result.err):
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", stream), arguments
    shown = run_cli("info", hostile).out
    assert "\\x1b]0;evil" in shown
    assert "[red]" in shown, "markup is text"


@pytest.mark.slow
def test_traceback_only_when_asked_for(tmp_path: Path) -> None:
    assert "Traceback" not in run_cli("info", tmp_path / "missing").err
    assert "Traceback" in run_cli("--traceback", "info", tmp_path / "missing").err


@pytest.mark.slow
def test_truncated_and_mutated_files_never_give_a_traceback(live: Path, tmp_path: Path) -> None:
    raw = bytearray(live.read_bytes()[: 2 << 20])
    broken = tmp_path / "broken.img"
    for length in (0, 3, 8, 9, 30, 0x4A, 0x63, 0x72, 0x8D, 0x8E, 0x48E, 0x100000):
        broken.write_bytes(raw[:length])
        for arguments in (["info"], ["dump", "--deep"]):
            result = run_cli(*arguments, broken)
            assert result.code in (0, 2), (length, arguments)
            assert "Traceback" not in result.err
            assert "internal error" not in result.err


STARTUP = {
    ("--version",): ["typer", "construct", "numpy", "rich"],
    ("info", "{image}", "--json"): ["numpy", "rich"],
    ("info", "{image}"): ["numpy"],
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", STARTUP, ids=" ".join)
def test_heavy_imports_stay_out_of_commands_that_do_not_need_them(
    arguments: tuple[str, ...], live: Path
) -> None:
    words = [word.format(image=live) for word in arguments]
    script = (
        f"import sys, atexit; sys.argv[1:] = {words!r}\n"
        "from fixedram_cli.main import main\n"
        f"atexit.register(lambda: print([m for m in {STARTUP[arguments]!r} if m in sys.modules],"
        " file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert done.stderr == "[]\n"
