"""Internal snapshots of a real QEMU: memory as its monitor saw it, and restores of it."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixedram_fmt import Image, digest
from fixedram_fmt.snapshots import list_snapshots
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.verbs import convert, copy, validate
from qemu_vm import QemuVM, require_qemu, require_tool
from support.memory import block_memory

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

#: Machines, and where their RAM begins.
GUESTS = {
    "x86_64": ("pc", 0),
    "aarch64": ("virt", 1 << 30),
}
FORMATS = {
    "512": "cluster_size=512",
    "64K": "cluster_size=64K",
    "2M": "cluster_size=2M",
    "version-2": "compat=0.10",
    "extended": "extended_l2=on,cluster_size=64K",
    "zstd": "compression_type=zstd",
}
_TIME = 120
_RAM = 16 << 20
#: What is compared: the firmware of a pc lies below.
_FROM = 1 << 20


def qemu_img(*words: object) -> None:
    program = require_tool("qemu-img")
    subprocess.run([program, *map(str, words)], check=True, timeout=_TIME, capture_output=True)


def arguments(arch: str, folder: Path) -> tuple[str, ...]:
    """A guest whose memory is a file, so that others can write into it."""
    ram = f"memory-backend-file,id=ram0,size={_RAM},mem-path={folder}/ram,share=on"
    machine = f"{GUESTS[arch][0]},memory-backend=ram0"
    # With a clock that is the guest's, a save and a snapshot of a paused guest are alike.
    clock = "base=2020-01-01T00:00:00,clock=vm"
    return ("-accel", "tcg", "-rtc", clock, "-machine", machine, "-m", "16M", "-object", ram, "-S")


@dataclass
class Saved:
    """A disk with snapshots, what each must hold, and a mapped-ram save of the last moment."""

    disk: Path
    seen: dict[str, bytes]
    image: Path


def saved(arch: str, form: str, folder: Path, *names: str, deleted: str = "") -> Saved:
    """A guest, snapshotted under each of names, with other memory each time."""
    disk, image, start = folder / "disk.qcow2", folder / "image", GUESTS[arch][1]
    qemu_img("create", "-q", "-f", "qcow2", "-o", form, disk, "20M")
    seen = {}
    with QemuVM(require_qemu(arch), cwd=folder) as vm:
        drive = "file=disk.qcow2,format=qcow2,if=none,id=disk"
        vm.start((*arguments(arch, folder), "-drive", drive))
        for number, one in enumerate(names):
            with (folder / "ram").open("r+b") as ram:
                ram.seek(_FROM + (number << 20))
                ram.write(random.Random(number).randbytes(300_000))
            assert vm.hmp(f"savevm {one}") == ""
            seen[one] = vm.pmemsave(start + _FROM, start + _RAM)
            if one == deleted:
                assert vm.hmp(f"delvm {one}") == ""
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(image) == "completed"
    assert len({*seen.values()}) == len(names)
    return Saved(disk, seen, image)


@pytest.mark.parametrize("form", FORMATS)
def test_memory_and_devices_of_a_snapshot_are_those_of_the_guest(form: str, tmp_path: Path) -> None:
    done = saved("x86_64", FORMATS[form], tmp_path, "one", "two", "three", deleted="two")
    found = list_snapshots(str(done.disk)).snapshots
    assert [(one.name, one.kind, one.complete) for one in found] == [
        ("one", "stream", True), ("three", "stream", True),
    ]  # fmt: skip
    for name in ("one", "three"):
        with Image.open(f"{done.disk}#{name}") as image:
            memory = block_memory(image, image.block("ram0"))
        assert memory[_FROM:] == done.seen[name]
    assert digest(f"{done.disk}#three").image == digest(str(done.image)).image


@pytest.mark.parametrize("arch", GUESTS)
def test_what_is_taken_out_restores(arch: str, tmp_path: Path) -> None:
    done = saved(arch, "cluster_size=64K", tmp_path, "now")
    qemu_img("resize", "-q", done.disk, "3G")
    copy(f"{done.disk}#now", tmp_path / "out.stream")
    convert(f"{done.disk}#now", tmp_path / "out.img")
    start = GUESTS[arch][1]
    for path, capabilities in (("out.stream", ()), ("out.img", ("mapped-ram",))):
        (tmp_path / "ram").unlink()
        with QemuVM(require_qemu(arch), cwd=tmp_path) as vm:
            vm.start((*arguments(arch, tmp_path), "-incoming", "defer"))
            vm.set_capabilities(*capabilities)
            assert vm.incoming_from_file(tmp_path / path) == "completed", vm.stderr
            assert vm.pmemsave(start + _FROM, start + _RAM) == done.seen["now"]


def test_compressed_clusters_of_a_state_volume_are_read(tmp_path: Path) -> None:
    done = saved("x86_64", "cluster_size=64K", tmp_path, "now")
    copy(f"{done.disk}#now", tmp_path / "raw")
    for kind in ("zlib", "zstd"):
        volume = tmp_path / f"{kind}.qcow2"
        options = f"compression_type={kind}"
        qemu_img("convert", "-c", "-O", "qcow2", "-o", options, tmp_path / "raw", volume)
        assert digest(str(volume)).image == digest(f"{done.disk}#now").image


def test_loadvm_takes_an_id_before_a_name_as_validate_says(tmp_path: Path) -> None:
    done = saved("x86_64", "cluster_size=64K", tmp_path, "2", "1", "3")
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        drive = "file=disk.qcow2,format=qcow2,if=none,id=disk"
        vm.start((*arguments("x86_64", tmp_path), "-drive", drive))
        for name, taken in (("1", "2"), ("2", "1"), ("3", "3")):
            assert vm.hmp(f"loadvm {name}") == ""
            assert vm.pmemsave(_FROM, _RAM) == done.seen[taken]
    for name in done.seen:
        found = {one.rule for one in validate(f"{done.disk}#{name}").findings}
        assert ("C25" in found) == (name != "3")


def test_disk_that_is_marked_as_corrupt_is_refused_as_validate_says(tmp_path: Path) -> None:
    done = saved("x86_64", "cluster_size=64K", tmp_path, "now")
    with done.disk.open("r+b") as disk:
        disk.seek(79)
        disk.write(b"\x02")
    report = validate(f"{done.disk}#now")
    drive = "file=disk.qcow2,format=qcow2,if=none,id=disk"
    words = (*arguments("x86_64", tmp_path), "-display", "none", "-drive", drive, "-loadvm", "now")
    program = require_qemu("x86_64")
    tried = subprocess.run(
        [program, *words], cwd=tmp_path, capture_output=True, text=True, timeout=_TIME, check=False
    )
    assert tried.returncode == 1
    assert report.verdict == "refuses"
    assert report.message in tried.stderr


def test_page_that_is_filled_with_another_byte_than_zero_is_refused(tmp_path: Path) -> None:
    done = saved("x86_64", "cluster_size=64K", tmp_path, "now")
    path = tmp_path / "out.stream"
    copy(f"{done.disk}#now", path)
    with Image.open(path) as image:
        zero = next(one for one in image.records() if one.kind is Kind.ZERO)
    with path.open("r+b") as stream:
        stream.seek(zero.value.data_offset)
        stream.write(b"A")
    report = validate(path)
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start((*arguments("x86_64", tmp_path), "-incoming", "defer"))
        assert vm.incoming_from_file(path) == "failed"
        assert report.message in vm.stderr
    assert report.verdict == "refuses"
