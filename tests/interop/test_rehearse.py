"""Rehearsals with a real QEMU: what loads is loaded, its memory is equal, nothing is written."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import fixedram_fmt as fx
from conftest import SAMPLES, run_cli, sample_entries, unpack
from fixedram_fmt.image import Image
from fixedram_fmt.io.source import Source
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.receiver import Receiver
from fixedram_fmt.rehearsal import Options, Rehearsal, rehearse
from make import write_guests
from qemu_vm import QemuVM, require_qemu, require_tool
from support.restores import groups, judge, load, save

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

#: QEMU 10.0 does not load them, whoever receives them (validate: L16).
_REFUSED = {"failed-ignore-shared", "pc-ignore-shared-none"}
#: Without a description nothing tells its -cpu.
_NOT_TOLD = {"ppc64-pseries-no-vmdesc"}
ENTRIES = {
    entry["name"]: entry
    for entry in sample_entries()
    if entry["command"].startswith("qemu-system") and entry["qemu"].startswith("10.")
}
_PC = ("-nodefaults", "-vga", "none", "-machine", "pc", "-m", "24", "-bios", "x86-once.bin",
       "-chardev", "null,id=con", "-device", "isa-debugcon,iobase=0xe9,chardev=con")  # fmt: skip


_XML = "<domain type='qemu'><name>vm</name><os><type>hvm</type></os></domain>"


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the samples' commands name."""
    write_guests(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def once(unpacked_dir: Path) -> Path:
    return unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "pc-once")


def rehearsed(location: Path | str, *words: str, **options: object) -> Rehearsal:
    with Image.open(location) as image:
        return rehearse(image, Options(arguments=words, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ENTRIES)
def test_samples_load_into_a_vm_like_their_own(name: str, unpacked_dir: Path, guests: Path) -> None:
    entry = ENTRIES[name]
    program, *words = shlex.split(entry["command"])
    require_qemu(program.removeprefix("qemu-system-"))
    path = unpack(SAMPLES / entry["file"], unpacked_dir / name)
    offset = entry["stream_offset"]
    done = rehearsed(f"{path}@{offset}" if offset else path, *words, qemu=program)
    if name in _REFUSED:
        assert done.status == "failed"
        return
    assert (done.status, done.memory_equal) == ("completed", True), (done.messages, done.memory)
    assert done.memory is not None
    assert done.memory.compared == done.memory.total > 0


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - _REFUSED - _NOT_TOLD))
def test_samples_load_into_the_vm_that_is_derived_from_them(name: str, unpacked_dir: Path) -> None:
    entry = ENTRIES[name]
    require_qemu(shlex.split(entry["command"])[0].removeprefix("qemu-system-"))
    path = unpack(SAMPLES / entry["file"], unpacked_dir / name)
    offset = entry["stream_offset"]
    with Image.open(f"{path}@{offset}" if offset else path) as image:
        done = rehearse(image, Options(adapt=8))
    assert (done.status, done.memory_equal) == ("completed", True), (done.messages, done.memory)
    # Firmware of ours has another length than QEMU's.
    assert all("-bios" in one.change for one in done.adapted)


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_load_the_same(channels: int, once: Path, guests: Path) -> None:
    done = rehearsed(once, *_PC, channels=channels)
    assert (done.status, done.memory_equal) == ("completed", True), done.messages


def test_bytes_in_memory_and_compressed_files_are_loaded_too(once: Path, guests: Path) -> None:
    assert rehearsed(SAMPLES / "pc-once.img.xz", *_PC).memory_equal is True
    with Image.open(Source.from_buffer(once.read_bytes())) as image:
        assert rehearse(image, Options(arguments=_PC)).memory_equal is True


@pytest.mark.parametrize("compress", [None, "gzip", "xz"])
def test_saves_of_libvirt_are_loaded_where_they_lie(
    compress: str | None, once: Path, guests: Path
) -> None:
    """The stream begins behind libvirt's header; what is compressed is unpacked first."""
    (guests / "vm.xml").write_text(_XML)
    stream = fx.convert(once, "vm.stream", to="stream").path if compress else once
    words = ["--container", "libvirt", "--xml", "vm.xml"]
    words += ["--compress", compress] if compress else []
    made = run_cli("copy", stream, "-o", "vm.save", *words)
    assert made.code == 0, made.err
    done = rehearsed("vm.save", *_PC)
    assert (done.status, done.memory_equal) == ("completed", True), done.messages
    with Image.open("vm.save") as image:
        assert image.container.kind == "libvirt"


@pytest.mark.parametrize("name", ["a,b", "a:b@0x10", "fd:7", "exec:x", "ü \n"])
def test_names_of_files_need_no_care(name: str, once: Path, guests: Path) -> None:
    path = shutil.copy(once, guests / name)
    with Image.open(Source.open(path)) as image:
        assert rehearse(image, Options(arguments=_PC)).memory_equal is True


def test_memory_of_another_image_is_seen_as_another(
    once: Path, guests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(once) as image:
        block = image.blocks[0]
        run = next(iter(image.memory(block).runs(0x200000)))
        assert run.file_offset is not None
        changed = guests / "changed.img"
        shutil.copy(once, changed)
        with changed.open("r+b") as file:
            file.seek(run.file_offset + 5)
            file.write(b"\xa5\x5a")
        with Image.open(changed) as other, monkeypatch.context() as patch:
            patch.setattr("fixedram_fmt.rehearsal.attempt.readable", _fd_of(changed))
            done = rehearse(image, Options(arguments=_PC))
            assert other.complete
    assert done.status == "completed"
    assert done.memory_equal is False
    assert done.memory is not None
    assert done.memory.difference is not None
    assert done.memory.difference.address == run.address + 5
    assert done.memory.difference.found.startswith("a55a")


def _fd_of(path: Path):
    from contextlib import contextmanager

    @contextmanager
    def readable(_image: Image):
        fd = os.open(path, os.O_RDONLY)
        yield fd
        os.close(fd)

    return readable


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "16"), "page outside of ramblock pc.ram range"),
        (("-machine", "q35"), "Machine type received is"),
        (("-device", "nothing"), "'nothing' is not a valid device model name"),
    ],
)
def test_what_qemu_refuses_is_adapted(
    words: tuple[str, ...], message: str, once: Path, guests: Path
) -> None:
    done = rehearsed(once, *_PC, *words)
    assert done.status in {"failed", "not-started"}
    assert any(message in line for line in done.messages)
    done = rehearsed(once, *_PC, *words, adapt=8)
    assert (done.status, done.memory_equal) == ("completed", True), done.messages
    assert any(message in one.message for one in done.adapted)


def test_firmware_of_another_length_is_seen_and_adapted(once: Path) -> None:
    plain = [word for word in _PC if word not in {"-bios", "x86-once.bin"}]
    done = rehearsed(once, *plain)
    assert (done.status, done.memory_equal) == ("completed", False)
    done = rehearsed(once, *plain, adapt=8)
    assert (done.status, done.memory_equal) == ("completed", True), done.memory


def test_no_file_is_written_and_none_but_its_own_is_opened_to_write(
    once: Path, guests: Path, unpacked_dir: Path
) -> None:
    """A wrapper around QEMU notes what is open for writing when the image has been loaded."""
    disk = guests / "disk.raw"
    disk.write_bytes(os.urandom(1 << 20))
    before = {path: _state(path) for path in (disk, once)}
    trace = guests / "trace"
    strace = require_tool("strace")
    program = guests / "qemu"
    program.write_text(
        f"#!/bin/sh\nexec {strace} -f -e trace=openat,open,creat,unlink,rename,truncate"
        f' -o {trace} {require_qemu("x86_64")} "$@"\n'
    )
    program.chmod(0o755)
    words = ("-drive", f"file={disk},format=raw,if=virtio", "-serial", f"file:{guests}/serial",
             "-pidfile", f"{guests}/pid", "-D", f"{guests}/log")  # fmt: skip
    done = rehearsed(once, *_PC, *words, qemu=str(program))
    assert done.status in {"completed", "failed"}
    assert {path: _state(path) for path in before} == before
    assert not [name for name in ("serial", "pid", "log") if (guests / name).exists()]
    calls = [line for line in trace.read_text().splitlines() if " = -1" not in line]
    opened = [line for line in calls if "open" in line]
    writing = re.compile("O_WRONLY|O_RDWR|O_CREAT|unlink|rename|truncate")
    ours = re.compile("/dev/null|/dev/ptmx|fixedram-|/proc/self/")
    assert not [line for line in calls if writing.search(line) and not ours.search(line)]
    assert str(disk) not in "\n".join(opened)
    assert opened


def _state(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.4, 0.6, 0.8, 1.0])
def test_a_signal_at_any_time_leaves_nothing(
    number: signal.Signals, after: float, once: Path, guests: Path
) -> None:
    temporary = guests / "tmp"
    temporary.mkdir()
    mark = f"fixedram-test-{os.getpid()}-{number}-{after}"
    words = ["rehearse", str(once), "--", *_PC, "-name", mark]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    child = subprocess.Popen(
        [sys.executable, "-m", "fixedram_cli", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    with suppress(subprocess.TimeoutExpired):
        child.wait(after)
    child.send_signal(number)
    assert child.wait(30) in {0, 128 + number, -number}
    assert list(temporary.iterdir()) == []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            assert mark.encode() not in command.read_bytes()


def test_a_save_of_a_running_vm_full_of_devices(tmp_path: Path) -> None:
    """Saved here and now, by this QEMU, and restored by the arguments that it was saved with."""
    words = (
        "-machine", "q35", "-m", "64", "-smp", "2", "-accel", "tcg", "-nodefaults",
        "-device", "virtio-net-pci,romfile=", "-device", "qemu-xhci", "-device", "virtio-rng-pci",
        "-blockdev", "null-co,node-name=d,size=1048576", "-device", "virtio-blk-pci,drive=d",
        "-device", "VGA", "-device", "intel-hda",
    )  # fmt: skip
    path = tmp_path / "running.img"
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(words)
        vm.set_capabilities("mapped-ram")
        vm.cont()
        assert vm.migrate_to_file(path) == "completed"
    done = rehearsed(path, *words)
    assert (done.status, done.memory_equal) == ("completed", True), (done.messages, done.memory)


@pytest.mark.parametrize(
    ("group", "image", "receiver"),
    [
        ("pc-properties", "base", "acpi-without-index"),
        ("pc-properties", "hpet-off", "base"),
        ("memory", "dimm", "base"),
        ("memory", "base", "m32"),
        ("virtio-net", "legacy", "modern"),
        ("virtio-net", "mq", "base"),
        ("cpus", "cpus-2", "cpus-4"),
        ("cpus", "cpus-4", "cpus-2"),
    ],
)
def test_another_vm_does_what_it_does_without_a_rehearsal(
    group: str, image: str, receiver: str, tmp_path: Path
) -> None:
    """The status, and QEMU's words, of a restore by the tests' own driver, and the verdict."""
    found = groups()[group]
    path, like = tmp_path / "image", tmp_path / "like"
    save(found.arch, found.variants[image], path)
    save(found.arch, found.variants[receiver], like)
    plain = ("-nodefaults", "-vga", "none")  # as the driver has it
    really = load(found.arch, found.variants[receiver], path)
    done = rehearsed(path, *plain, *found.variants[receiver])
    said = tuple(line for line in done.messages if not line.startswith("warning: "))
    assert (done.status, said) == (really.status, really.lines)
    with Image.open(like) as opened:
        verdict = judge(path, Receiver.of_image(opened))
    assert (verdict.outcome is Outcome.REFUSES) == (done.status == "failed")
    assert bool(done.causes) == (done.status == "failed")
