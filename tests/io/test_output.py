"""Nothing is lost: the old file or the new one, whatever happens in between, and no leftovers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt import Source
from fixedram_fmt.io import output
from fixedram_fmt.io.folder import prepared
from fixedram_fmt.io.output import OutputError, replacing
from support.synthetic import made

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=["unnamed", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with O_TMPFILE, and the same as if it had none."""
    if request.param == "named":
        monkeypatch.setattr(output.os, "O_TMPFILE", 1 << 30, raising=False)
    return tmp_path


RETURN_CODES = {
    signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9, signal.SIGHUP: -1,
    signal.SIGQUIT: -3, signal.SIGXCPU: -24,
}  # fmt: skip


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
        with replacing(target, force=True) as out:
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
    with replacing(target, force=True) as out:
        out.finish(1)
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("leads_to", ["real", "nowhere"])
def test_link_is_refused(leads_to: str, force: bool, folder: Path) -> None:
    real, link = folder / "real", folder / "link"
    real.write_bytes(b"old")
    link.symlink_to(folder / leads_to)
    with pytest.raises(OutputError, match="link"), replacing(link, force=force):
        pass
    assert real.read_bytes() == b"old"
    assert names(folder) == ["link", "real"]


def test_file_that_is_there_is_replaced_with_force_only(folder: Path) -> None:
    target = folder / "target"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"), replacing(target):
        pass
    assert target.read_bytes() == b"old"
    with replacing(target, force=True) as out:
        out.write(0, b"new")
    assert target.read_bytes() == b"new"
    assert names(folder) == ["target"]


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_meanwhile_stays(
    links: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(output.os, "O_TMPFILE", 1 << 30, raising=False)
        monkeypatch.setattr(output.os, "link", no_links)
    target = folder / "target"

    def write() -> None:
        with replacing(target) as out:
            out.write(0, b"new")
            target.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="--force"):
        write()
    assert target.read_bytes() == b"theirs"
    assert names(folder) == ["target"]


@pytest.mark.parametrize("force", [False, True])
def test_link_that_appears_meanwhile_is_not_followed(force: bool, folder: Path) -> None:
    precious, target = folder / "precious", folder / "target"
    precious.write_bytes(b"theirs")
    with suppress(OutputError), replacing(target, force=force) as out:
        out.write(0, b"new")
        target.symlink_to(precious)
    assert precious.read_bytes() == b"theirs"


def test_folder_that_is_exchanged_for_a_link_meanwhile_leads_nowhere(folder: Path) -> None:
    place, aside, elsewhere = folder / "place", folder / "aside", folder / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    with replacing(place / "target") as out:
        place.rename(aside)
        place.symlink_to(elsewhere)
        out.write(0, b"new")
    assert (aside / "target").read_bytes() == b"new"
    assert names(elsewhere) == []


@pytest.mark.parametrize(
    ("mode", "mask", "expected"),
    [(None, 0o022, 0o644), (0o640, 0o022, 0o640), (0o664, 0o027, 0o640), (0o4755, 0o077, 0o700)],
)
def test_mode_is_what_was_asked_for_within_the_umask(
    mode: int | None, mask: int, expected: int, folder: Path
) -> None:
    before = os.umask(mask)
    try:
        with replacing(folder / "target", mode=mode) as out:
            out.finish(1)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (folder / "target").stat().st_mode & 0o7777 == expected


# -- folders ---------------------------------------------------------------------------------------


def write_two(
    path: Path, *, force: bool = False, between: Callable[[], None] = lambda: None
) -> None:
    with prepared(path, ["one", "two"], force=force, mode=0o600) as made:
        with made.replacing("one") as out:
            out.write(0, b"new")
        between()
        with made.replacing("two") as out:
            out.write(0, b"new")


def test_folder_is_made_with_its_parents(folder: Path) -> None:
    write_two(folder / "a" / "b" / "c")
    assert names(folder / "a" / "b" / "c") == ["one", "two"]
    assert (folder / "a/b/c/one").stat().st_mode & 0o777 == 0o600


def test_folders_that_a_failed_command_made_are_removed_with_their_parents(folder: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    (folder / "a").mkdir()
    with pytest.raises(ZeroDivisionError):
        write_two(folder / "a" / "b" / "c", between=fail)
    assert names(folder) == ["a"]
    assert names(folder / "a") == []


def test_file_of_others_in_a_new_folder_survives_a_failed_command(folder: Path) -> None:
    theirs = folder / "a" / "b" / "two"
    with pytest.raises(OutputError, match="--force"):
        write_two(folder / "a" / "b", between=lambda: theirs.write_text("theirs") and None)
    assert theirs.read_text() == "theirs"
    assert names(folder / "a" / "b") == ["two"]


def test_folder_exchanged_for_a_link_between_its_files_leads_nowhere(folder: Path) -> None:
    (folder / "elsewhere").mkdir()

    def exchange() -> None:
        (folder / "a").rename(folder / "aside")
        (folder / "a").symlink_to(folder / "elsewhere")

    write_two(folder / "a", between=exchange)
    assert names(folder / "elsewhere") == []
    assert names(folder / "aside") == ["one", "two"]


def test_link_planted_for_a_file_of_the_folder_is_refused(folder: Path) -> None:
    precious = folder / "precious"
    precious.write_text("theirs")
    with pytest.raises(OutputError):
        write_two(folder / "a", force=True, between=lambda: (folder / "a/two").symlink_to(precious))
    assert precious.read_text() == "theirs"


# -- what cannot be written ------------------------------------------------------------------------


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
        result = run_cli("synth", "--force", "-o", target, "--block", "pc.ram=16M")
        assert result.code == 2
        assert "No space left" in result.err
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["image"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", RETURN_CODES)
def test_interrupted_command_leaves_the_old_file(number: signal.Signals, tmp_path: Path) -> None:
    # Under nohup tests run without SIGHUP, and children inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    target = tmp_path / "image"
    target.write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-m", "fixedram_cli", "synth", "--force", "-o", str(target),
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
    assert process.returncode == RETURN_CODES[number]
    assert not told
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


@pytest.mark.slow
def test_image_can_be_rewritten_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "image"
    raw = made()
    path.write_bytes(raw)
    assert run_cli("copy", path, "-o", path).code == 2
    assert run_cli("copy", path, "-o", path, "--force").code == 0
    assert path.read_bytes() == raw


# -- commands --------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    assert run_cli("synth", "-o", path, "--block", "pc.ram=64K:text").code == 0
    path.chmod(0o640)
    return path


WRITERS = {
    "copy": ("copy", "{image}", "-o", "{out}"),
    "convert": ("convert", "{image}", "--to", "stream", "-o", "{out}"),
    "rescue": ("rescue", "{image}", "-o", "{out}"),
    "extract": ("extract", "{image}", "--block", "pc.ram", "-o", "{out}"),
    "extract physical": ("extract", "{image}", "--format", "physical", "-o", "{out}"),
    "read": ("read", "{image}", "--block", "pc.ram", "-o", "{out}"),
    "state": ("state", "{image}", "configuration", "--raw", "-o", "{out}"),
    "report": ("report", "{image}", "-o", "{out}"),
    "map": ("map", "{image}", "-o", "{out}"),
    "synth": ("synth", "-o", "{out}", "--block", "pc.ram=64K"),
    "destination": ("destination", "{image}", "-o", "{out}"),
    "validate": ("validate", "{image}", "--output", "json", "-o", "{out}"),
    "baseline": ("validate", "{image}", "--write-baseline", "{out}"),
}
#: What is written of an image without devices is for forensics, and the command says so.
CODES = {"rescue": 1}
#: These hold nothing of the guest's memory or devices.
OPEN_TO_ALL = {"map", "synth", "destination", "validate", "baseline"}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_every_command_overwrites_with_force_only(name: str, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    words = [word.format(image=image, out=out) for word in WRITERS[name]]
    first = run_cli(*words)
    assert first.code == CODES.get(name, 0), first.err
    assert out.stat().st_mode & 0o777 == (0o644 if name in OPEN_TO_ALL else 0o640)
    out.write_bytes(b"old")
    refused = run_cli(*words)
    assert (refused.code, out.read_bytes()) == (2, b"old")
    assert "--force" in refused.err
    assert run_cli(*words, "--force").code == CODES.get(name, 0)
    assert out.read_bytes() != b"old"


def test_memory_from_a_pipe_is_private(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli("read", "-", "--block", "pc.ram", "-o", out, stdin=image.read_bytes())
    assert done.code == 0
    assert out.stat().st_mode & 0o777 == 0o600
