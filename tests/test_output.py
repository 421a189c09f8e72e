"""Nothing is lost: the old file or the new one, whatever happens in between, and no leftovers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import Source
from fixedram_fmt.build import output
from fixedram_fmt.build.output import OutputError, replacing
from synthetic import made


@pytest.fixture(params=["unnamed", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with O_TMPFILE, and the same as if it had none."""
    if request.param == "named":
        monkeypatch.setattr(output.os, "O_TMPFILE", 1 << 30, raising=False)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_target_appears_when_it_is_complete(folder: Path) -> None:
    target = folder / "target"
    with replacing(target) as out:
        out.write(0, b"abc")
        out.write(10, b"def")
        out.finish(20)
        assert not target.exists()
    assert target.read_bytes() == b"abc".ljust(10, b"\0") + b"def".ljust(10, b"\0")
    assert names(folder) == ["target"]


def test_error_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    target = folder / "target"
    target.write_bytes(b"old")

    def fail_half_way() -> None:
        with replacing(target) as out:
            out.write(0, b"new" * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert names(folder) == ["target"]


def test_mode_of_the_old_file_stays(folder: Path) -> None:
    target = folder / "target"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with replacing(target) as out:
        out.finish(1)
    assert target.stat().st_mode & 0o777 == 0o640


def test_link_is_followed_not_replaced(folder: Path) -> None:
    real, link = folder / "real", folder / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with replacing(link) as out:
        out.finish(3)
    assert link.is_symlink()
    assert real.read_bytes() == bytes(3)


@pytest.mark.parametrize("target", ["/dev/null", "/", "/no/such/folder/x"])
def test_target_that_is_no_file_is_refused(target: str) -> None:
    with pytest.raises(OutputError), replacing(target):
        pass


def test_full_disk_is_one_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.os, "pwrite", full)
    monkeypatch.setattr(output.os, "copy_file_range", full)
    with pytest.raises(OutputError, match="No space left"), replacing(folder / "target") as out:
        out.write(0, b"x" * (1 << 20))
    (folder / "source").write_bytes(b"x" * 100)
    with (
        Source.open(folder / "source") as source,
        pytest.raises(OutputError, match="free some space"),
        replacing(folder / "target") as out,
    ):
        out.copy(source, 0, 100, 0)
    assert names(folder) == ["source"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_copies_fall_back_where_the_kernel_cannot(
    code: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(output.os, "copy_file_range", unable)
    content = os.urandom(3 << 20)
    (folder / "source").write_bytes(content)
    with Source.open(folder / "source") as source, replacing(folder / "target") as out:
        out.copy(source, 100, len(content), 7)
    assert (folder / "target").read_bytes() == bytes(7) + content[100:]


def test_real_full_file_system_leaves_the_old_file(tmp_path: Path) -> None:
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(tmp_path)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mount.returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        target = tmp_path / "image"
        target.write_bytes(b"old")
        result = run_cli("synth", "-o", target, "--block", "pc.ram=16M")
        assert result.code == 2
        assert "No space left" in result.err
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["image"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_command_leaves_the_old_file(number: signal.Signals, tmp_path: Path) -> None:
    target = tmp_path / "image"
    target.write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-m", "fixedram_cli", "synth", "-o", str(target),
         "--block", "pc.ram=64G:text"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _wait_until_it_writes(process.pid, tmp_path)
        process.send_signal(number)
        process.wait(timeout=30)
    finally:
        process.kill()
        _, told = process.communicate()
    assert process.returncode == {
        signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9,
    }[number]  # fmt: skip
    assert b"Traceback" not in told
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["image"]


def _wait_until_it_writes(pid: int, folder: Path) -> None:
    """Until the process has a file in folder open that is longer than nothing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(folder) in str(link.readlink()) and link.stat().st_size > 0:
                    return
            except OSError:
                continue
        time.sleep(0.02)
    pytest.fail("the command never began to write")


def test_image_can_be_rewritten_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "image"
    raw = made()
    path.write_bytes(raw)
    assert run_cli("copy", path, "-o", path).code == 0
    assert path.read_bytes() == raw
