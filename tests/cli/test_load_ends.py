"""How `fixedram load` ends when something goes wrong meanwhile, and what it costs otherwise.

One clear line, the documented exit code, no file left behind, in time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import Result, run_cli
from support.synthetic import PAGE, made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
TIME_LIMIT = 60


def image_in(folder: Path, **spec: Any) -> Path:
    path = folder / "image"
    path.write_bytes(made(**spec))
    return path


# -- what goes wrong meanwhile --------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4M", "none", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mount.returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("channels", ["1", "2", "5"])
def test_full_disk_is_one_error_and_leaves_nothing(
    channels: str, small_disk: Path, tmp_path: Path
) -> None:
    path = image_in(tmp_path, blocks=[{"name": "pc.ram", "size": 16 * MIB}])
    result = run_cli("load", path, "-o", small_disk / "out", "--channels", channels)
    assert result.code == 2
    assert "No space left" in result.note
    assert list(small_disk.iterdir()) == []
    assert shutil.disk_usage(small_disk).used == 0
    kept = small_disk / "kept"
    kept.mkdir()
    assert run_cli("load", path, "-o", kept, "--channels", channels).code == 2
    assert list(kept.iterdir()) == []


@pytest.mark.slow
def test_full_standard_output_is_one_error(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fixedram_cli", "load", str(image_in(tmp_path)), "--json"],
            stdout=full, stderr=subprocess.PIPE, timeout=TIME_LIMIT, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


#: Runs the command with a fault in one of the calls it makes.
FAULTY = """
import os, sys
calls = []
usual = os.{call}
def faulty(*arguments, **named):
    calls.append(arguments)
    if len(calls) == {number}:
        {fault}
    return usual(*arguments, **named)
os.{call} = faulty
from fixedram_cli.main import main
main()
"""
EIO = "raise OSError(5, 'Input/output error')"


def faulty(call: str, fault: str, number: int, *arguments: str | Path) -> Result:
    """Run the command with a fault in the number-th call of that name in module os."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTY.format(call=call, fault=fault, number=number),
         *map(str, arguments)],
        capture_output=True, text=True, timeout=TIME_LIMIT, check=False,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "fault", "message"),
    [
        ("preadv", EIO, "Input/output error"),
        ("pwrite", EIO, "cannot write"),
        ("preadv", "os.truncate(sys.argv[2], 5 << 20)", "the file became shorter"),
        ("pwrite", "raise RecursionError('a bug')", "internal error, please report it"),
    ],
    ids=["read error", "write error", "truncated", "bug"],
)
@pytest.mark.parametrize("channels", ["1", "2", "5"])
def test_fault_half_way_is_one_error_and_leaves_nothing(
    call: str, fault: str, message: str, channels: str, tmp_path: Path
) -> None:
    path = image_in(tmp_path, blocks=[{"name": "pc.ram", "size": 16 * MIB, "pattern": "counter"}])
    folder = tmp_path / "out"
    result = faulty(call, fault, 5, "load", path, "-o", folder, "--channels", channels)
    assert result.code == 2
    assert message in result.note
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3])
def test_file_that_cannot_get_its_name_takes_the_others_with_it(
    number: int, tmp_path: Path
) -> None:
    path, folder = image_in(tmp_path), tmp_path / "out"
    result = faulty("link", EIO, number, "load", path, "-o", folder)
    assert result.code == 2
    assert "cannot write" in result.note
    assert not folder.exists()


@pytest.mark.slow
def test_index_is_the_last_to_get_its_name(tmp_path: Path) -> None:
    path, folder = image_in(tmp_path), tmp_path / "out"
    result = faulty("link", "os._exit(7)", 3, "load", path, "-o", folder)
    assert result.code == 7
    there = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    assert there == {"pc.ram.ram", "pc.rom.ram"}


# -- signals --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_present(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 64 GiB in which every page is called present, all of them holes."""
    path = tmp_path_factory.mktemp("huge") / "image"
    block = "pc.ram=64G:zero"
    done = run_cli("synth", "-o", path, "--block", block, "--fault", "bitmap-all-set")
    assert done.code == 0, done.err
    return path


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def written(pid: int) -> int:
    told = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(told["wchar"])


def stopped_when(
    reached: Callable[[int], bool], number: signal.Signals, *arguments: str | Path
) -> tuple[int, str, float]:
    """Send a signal to the command when it is so far; exit code, stderr, seconds it still took."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fixedram_cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + TIME_LIMIT
        while not reached(process.pid):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the command never came that far"
            time.sleep(0.01)
        process.send_signal(number)
        sent = time.monotonic()
        _, told = process.communicate(timeout=TIME_LIMIT)
        return process.returncode, told, time.monotonic() - sent
    finally:
        process.kill()
        process.wait()


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("channels", ["1", "2", "5"])
def test_signal_while_files_are_written_leaves_none(
    number: signal.Signals, channels: str, all_present: Path, tmp_path: Path
) -> None:
    code, told, seconds = stopped_when(
        lambda pid: written(pid) > 50 * MIB, number,
        "load", all_present, "-o", tmp_path, "--channels", channels,
    )  # fmt: skip
    assert code == CODES[number]
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 1
    assert list(tmp_path.iterdir()) == []
    assert seconds < 20


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_memory_is_filled_ends_it(number: signal.Signals, all_present: Path) -> None:
    code, told, seconds = stopped_when(
        lambda pid: resident(pid) > 300 * MIB, number, "load", all_present
    )
    assert code == CODES[number]
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 1
    assert seconds < 20


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_memory_is_hashed_ends_it(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "image"
    assert run_cli("synth", "-o", path, "--block", "pc.ram=1T:zero").code == 0
    code, told, seconds = stopped_when(
        lambda pid: cpu_seconds(pid) > 3, number, "load", path, "--json"
    )
    assert code == CODES[number]
    assert "Traceback" not in told
    assert seconds < 10


# -- size -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tebibyte_of_almost_nothing_takes_seconds_and_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "image"
    block = "pc.ram=1T:random:0.00001"
    assert run_cli("synth", "-o", path, "--block", block).code == 0
    script = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr)\n"
        "sys.stdout.buffer.write(done.stdout)"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-m", "fixedram_cli", "load", str(path),
         "--no-digest", "--json"],
        capture_output=True, check=True, timeout=TIME_LIMIT,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["blocks"][0]["length"] == 1 << 40
    assert 2000 * PAGE < told["bytes"] < 4000 * PAGE
    assert int(done.stderr) - told["bytes"] < 200 * MIB
    assert time.monotonic() - start < 20


# -- past the page cache --------------------------------------------------------------------------


@pytest.mark.slow
def test_direct_io_gives_the_same_memory(tmp_path: Path) -> None:
    path = image_in(tmp_path, blocks=[{"name": "pc.ram", "size": 9 * MIB, "density": 0.9}])
    usual = run_cli("load", path, "--json").json
    for more in ([], ["-o", str(tmp_path / "out")]):
        direct = run_cli("load", path, "--json", "--direct-io", *more)
        assert direct.code == 0
        assert direct.json["blocks"][0]["sha256"] == usual["blocks"][0]["sha256"]
        assert [f"fixedram: {note}" for note in direct.json["notes"]] == direct.err.splitlines()


@pytest.mark.slow
def test_file_system_without_direct_io_is_noted_on_stderr(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "ramfs", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a file system")
    try:
        path = image_in(folder)
        usual = run_cli("load", path, "--json").json
        for more in ([], ["-o", str(tmp_path / "out")]):
            direct = run_cli("load", path, "--json", "--direct-io", *more)
            assert direct.code == 0
            assert "no direct I/O here" in direct.note
            for ours, theirs in zip(direct.json["blocks"], usual["blocks"], strict=True):
                assert ours["sha256"] == theirs["sha256"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
