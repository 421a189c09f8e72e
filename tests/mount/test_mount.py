"""`fixedram mount`: through a real FUSE where there is one, and the folder it shows."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_cli.command import Reading
from fixedram_cli.commands.mount import mount as mount_command
from fixedram_fmt import FixedRamError, Image, UnsupportedError
from fixedram_fmt.mount.files import File, Folder, image_folder
from fixedram_fmt.mount.fuse import _operations as filesystem
from fixedram_fmt.mount.fuse import require_fuse
from support.real_files import ENTRIES, location_of

_PATIENCE = 20


@pytest.mark.slow
def test_the_folder_has_every_block_under_a_safe_name(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/q35-dimm", unpacked_dir)) as image:
        folder = image_folder(image)
        blocks = folder.find("blocks")
        assert isinstance(blocks, Folder)
        assert "rom@etc_acpi_tables" in blocks.entries
        listed = folder.find("/blocks.json")
        assert isinstance(listed, File)
        files = json.loads(listed.read(0, listed.size))["files"]
        assert [one["block"] for one in files] == [block.name for block in image.blocks]
        for one in files:
            file = folder.find(one["file"])
            assert isinstance(file, File)
            assert file.size == one["bytes"]
        assert folder.find("blocks/../info.json") is None


def test_reads_end_where_a_file_ends(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/q35-dimm", unpacked_dir)) as image:
        file = image_folder(image).find("state/ioapic.bin")
        assert isinstance(file, File)
        whole = file.read(0, 10_000)
        assert len(whole) == file.size
        assert file.read(file.size - 3, 100) == whole[-3:]
        assert file.read(file.size + 3, 100) == b""


#: Names that libfuse would take for options of their own, were they inside one.
_HOSTILE_NAMES = (
    "x,modules=m",
    "a,rw,allow_other,suid,dev",
    "x\\,modules=m",
    "-oallow_other",
    "--help",
    "fsname=y,subtype=z",
    "q\"uo'te, ro=0",
)


class _Fuse:
    """Stands in for mfusepy: keeps what libfuse would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []

    Operations = type("Operations", (), {})
    FuseOSError = OSError

    def FUSE(self, operations: object, target: str, **options: object) -> None:  # noqa: N802
        self.told.append((target, options))


@pytest.mark.slow
@pytest.mark.parametrize("name", _HOSTILE_NAMES)
def test_no_name_reaches_the_options_of_fuse(
    name: str, unpacked_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / f"{name}.img"
    image.write_bytes(Path(location_of("sample/q35-dimm", unpacked_dir)).read_bytes())
    (tmp_path / name).mkdir()
    fuse = _Fuse()
    monkeypatch.setattr("fixedram_fmt.mount.fuse.require_fuse", lambda: fuse)
    monkeypatch.chdir(tmp_path)
    mount_command(f"{name}.img", Path(name), foreground=True, reading=Reading())
    ((target, options),) = fuse.told
    # libfuse reads argv: what begins with a dash, or stands in an option, is not a name.
    assert target == str(tmp_path / name)
    assert options == {
        "foreground": True,
        "ro": True,
        "nosuid": True,
        "nodev": True,
        "noexec": True,
        "fsname": "fixedram",
        "subtype": "fixedram",
    }


def test_a_mount_keeps_the_content_of_open_files_only() -> None:
    made = []

    def make() -> bytes:
        made.append(1)
        return b"bytes"

    calls = filesystem(_Fuse(), Folder({"a": File(make), "b": File(make, 5)}))
    assert calls.getattr("/b")["st_size"] == 5
    assert not made
    for _ in range(3):
        assert calls.getattr("/a")["st_size"] == 5
    assert len(made) == 1
    opened = calls.open("/a", 0)
    assert [calls.read("/a", 2, at, opened) for at in (0, 2, 4)] == [b"by", b"te", b"s"]
    assert len(made) == 2
    calls.release("/a", opened)
    several = [calls.open("/a", 0) for _ in range(1024)]
    with pytest.raises(OSError, match="24"):
        calls.open("/a", 0)
    calls.release("/a", several[0])
    assert calls.read("/a", 9, 0, calls.open("/a", 0)) == b"bytes"


@pytest.fixture
def mounted(unpacked_dir: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An image and where it is mounted, by the command as a user runs it."""
    try:
        require_fuse()
    except UnsupportedError as error:
        pytest.skip(str(error))
    location = location_of("sample/pc-live", unpacked_dir)
    target = tmp_path / "mnt"
    target.mkdir()
    command = [sys.executable, "-m", "fixedram_cli", "mount", location, str(target), "-f"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + _PATIENCE
            while not target.is_mount():
                if process.poll() is not None:
                    pytest.skip(f"FUSE does not work here: {process.stderr.read()!r}")
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield location, target
        finally:
            subprocess.run(["umount", str(target)], check=False)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def test_mounted_files_hold_the_memory_that_qemu_dumped(mounted: tuple[str, Path]) -> None:
    _, target = mounted
    with (target / "physical").open("rb") as physical:
        for part in ENTRIES["sample/pc-live"]["guest_physical_sha256"]:
            physical.seek(part["start"])
            memory = physical.read(part["end"] - part["start"])
            assert hashlib.sha256(memory).hexdigest() == part["sha256"]


@pytest.mark.slow
def test_mounted_files_are_what_the_commands_print(mounted: tuple[str, Path]) -> None:
    location, target = mounted
    info = json.loads((target / "info.json").read_text())
    assert info["blocks"] == run_cli("info", location, "--json").json["blocks"]
    cpu = json.loads((target / "state" / "cpu.json").read_text())
    told = run_cli("state", location, "cpu", "--json").json
    assert cpu == told["devices"]["cpu"]["values"]["cpu"]
    # As other programs read: whole files, through the page cache.
    loaded = run_cli("load", location, "--json").json["blocks"]
    blocks = {one["name"]: one["sha256"] for one in loaded}
    for one in json.loads((target / "blocks.json").read_text())["files"]:
        digest = hashlib.sha256((target / one["file"]).read_bytes()).hexdigest()
        assert digest == blocks[one["block"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", _HOSTILE_NAMES[:2])
def test_a_real_mount_of_a_hostile_name_is_read_only_and_private(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    try:
        require_fuse()
    except UnsupportedError as error:
        pytest.skip(str(error))
    image, target = tmp_path / name, tmp_path / "mnt"
    image.write_bytes(Path(location_of("sample/q35-dimm", unpacked_dir)).read_bytes())
    target.mkdir()
    command = [sys.executable, "-m", "fixedram_cli", "mount", image.name, "mnt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"FUSE does not work here: {done.stderr!r}")
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        source, _, kind, options = next(x for x in lines if f" {target} " in x).split()[:4]
        assert (source, kind) == ("fixedram", "fuse.fixedram")
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
        assert not {"rw", "suid", "dev", "allow_other"} & set(options.split(","))
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_nothing_can_be_written(mounted: tuple[str, Path]) -> None:
    _, target = mounted
    for act in (
        lambda: (target / "new").write_bytes(b"x"),
        lambda: (target / "info.json").write_bytes(b"x"),
        (target / "info.json").unlink,
        (target / "folder").mkdir,
    ):
        with pytest.raises(OSError, match=r"Read-only|not permitted|Permission"):
            act()


def test_a_folder_that_is_not_empty_is_refused(unpacked_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    done = run_cli("mount", location_of("sample/pc-live", unpacked_dir), tmp_path)
    assert done.code == 2
    assert "not empty" in done.err or "mounting needs" in done.err
    assert "is no folder" in run_cli("mount", "x", tmp_path / "none").err or done.code == 2


def test_file_systems_calls_are_answered_from_the_folder() -> None:
    try:
        operations = filesystem(
            require_fuse(), Folder({"a": File(lambda: b"bytes"), "b": Folder({"c": File(broken)})})
        )
    except UnsupportedError as error:
        pytest.skip(str(error))
    assert list(operations.readdir("/", 0)) == [".", "..", "a", "b"]
    assert operations.getattr("/a")["st_size"] == 5
    assert stat.S_ISREG(operations.getattr("/a")["st_mode"])
    assert stat.S_ISDIR(operations.getattr("/b")["st_mode"])
    assert operations.read("/a", 3, 1, 0) == b"yte"
    for call, code in (
        (lambda: operations.getattr("/x"), errno.ENOENT),
        (lambda: operations.getattr("/a/x"), errno.ENOENT),
        (lambda: operations.read("/b", 1, 0, 0), errno.EISDIR),
        (lambda: list(operations.readdir("/a", 0)), errno.ENOTDIR),
        (lambda: operations.read("/b/c", 1, 0, 0), errno.EIO),
        (lambda: operations.getattr("/b/c"), errno.EIO),
    ):
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            call()
        assert caught.value.errno == code


def broken() -> bytes:
    raise FixedRamError("what the image has not")


def test_a_machine_without_fuse_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fixedram_fmt.mount.fuse._DEVICE", str(tmp_path / "none"))
    with pytest.raises(UnsupportedError):
        require_fuse()
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    with pytest.raises(UnsupportedError) as caught:
        require_fuse()
    assert caught.value.hint == "pip install 'fixedram[fuse]'"
