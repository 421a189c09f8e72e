"""A real Linux guest: what its kernel says of itself is what comes out of the image."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import run_cli
from cores import prstatuses
from fixedram_fmt import Image
from fixedram_fmt.export.vmcoreinfo import find_vmcoreinfo
from fixedram_fmt.memory.paging import VirtualMemory, registers_of
from fixedram_fmt.vmstate.overview import overview
from qemu_vm import QemuVM, missing, require_qemu

pytestmark = pytest.mark.qemu

FOLDER = Path(os.environ.get("FIXEDRAM_LINUX", "/var/tmp/fixedram-linux"))
_INIT = b"#!/busybox sh\n/busybox echo GUEST READY\n/busybox sleep 100000\n"


@dataclass(frozen=True)
class Guest:
    """A saved guest: its image, QEMU's own core of it, and what it printed."""

    image: Path
    core: Path
    console: str


def cpio(*files: tuple[str, int, bytes, int]) -> bytes:
    """An initramfs: name, mode, content and device number of each file."""
    packed = b""
    for inode, (name, mode, content, minor) in enumerate((*files, ("TRAILER!!!", 0, b"", 0)), 1):
        raw = name.encode() + b"\0"
        device = (5, minor) if minor else (0, 0)
        numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(raw), 0)
        packed += b"070701" + b"".join(b"%08x" % number for number in numbers) + raw
        packed += bytes(-len(packed) % 4) + content
        packed += bytes(-len(packed) % 4)
    return gzip.compress(packed, 1)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    binary = require_qemu("x86_64")
    kernels = sorted(FOLDER.glob("boot/vmlinuz-*"))
    if not kernels:
        missing("no Linux kernel is there: .ci/install-linux fetches one")
    kernel = kernels[-1]
    folder = tmp_path_factory.mktemp("linux")
    busybox = (FOLDER / "bin" / "busybox").read_bytes()
    (folder / "initrd").write_bytes(
        cpio(
            ("init", 0o100755, _INIT, 0),
            ("busybox", 0o100755, busybox, 0),
            ("dev", 0o040755, b"", 0),
            ("dev/console", 0o020600, b"", 1),
        )
    )
    machine = ("-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "192", "-S")
    boot = ("-kernel", str(kernel), "-initrd", str(folder / "initrd"))
    console = ("-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con")
    with QemuVM(binary, timeout=120, cwd=folder) as vm:
        vm.start((*machine, *boot, "-append", "console=ttyS0 nokaslr", *console))
        vm.cont()
        vm.wait_output(b"GUEST READY")
        vm.stop()
        vm.execute("dump-guest-memory", {"paging": False, "protocol": f"file:{folder}/theirs"})
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(folder / "image") == "completed"
        said = vm._output.decode("utf-8", "replace")
    yield Guest(folder / "image", folder / "theirs", said)
    for file in folder.iterdir():
        file.unlink()


def release(guest: Guest) -> str:
    match = re.search(r"Linux version (\S+)", guest.console)
    assert match
    return match[1]


def test_the_registers_of_the_core_are_qemus_to_the_byte(guest: Guest, tmp_path: Path) -> None:
    run_cli("extract", guest.image, "--format", "elf", "-o", tmp_path / "core")
    with (tmp_path / "core").open("rb") as ours, guest.core.open("rb") as theirs:
        found = prstatuses(ours.read(1 << 20))
        assert found == prstatuses(theirs.read(1 << 20))
        assert len(found) == 2


def test_the_kernels_own_description_comes_along(guest: Guest, tmp_path: Path) -> None:
    run_cli("extract", guest.image, "--format", "elf", "-o", tmp_path / "core")
    with (tmp_path / "core").open("rb") as core:
        assert f"OSRELEASE={release(guest)}\n".encode() in core.read(1 << 16)


def test_kernel_virtual_addresses_lead_to_what_the_kernel_says(guest: Guest) -> None:
    """struct new_utsname of init_uts_ns: sysname, nodename, release, of 65 bytes each."""
    with Image.open(guest.image) as image:
        text = find_vmcoreinfo(image, "little")
        assert text is not None
        facts = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
        names = int(facts["SYMBOL(init_uts_ns)"], 16) + int(facts["OFFSET(uts_namespace.name)"])
        for cpu in (0, 1):
            memory = VirtualMemory(image.physical_memory, registers_of(image, cpu))
            assert memory.read(names, 6) == b"Linux\0"
            assert memory.read(names + 130, 65).rstrip(b"\0") == release(guest).encode()
        assert all("64-bit code" in one.mode for one in overview(image, image.state).cpus)


def test_drgn_takes_it_for_the_kernel_it_is(guest: Guest, tmp_path: Path) -> None:
    drgn = pytest.importorskip("drgn")
    run_cli("extract", guest.image, "--format", "elf", "-o", tmp_path / "core")
    program = drgn.Program()
    program.set_core_dump(tmp_path / "core")
    assert f"OSRELEASE={release(guest)}" in program["VMCOREINFO"].string_().decode()
    with Image.open(guest.image) as image:
        memory = VirtualMemory(image.physical_memory, registers_of(image, 0))
        for address in (0x0, 0x1000000, 0x2000000):
            # A page that is absent from the image is zero in the core.
            want = image.physical_memory.read(address, 8192)
            assert program.read(address, 8192, physical=True) == want
        rip = image.state.get("cpu/0/env.eip")
        assert program.read(rip, 16) == memory.read(rip, 16)


def test_gdb_stands_where_the_guest_stood(guest: Guest, tmp_path: Path) -> None:
    run_cli("extract", guest.image, "--format", "elf", "-o", tmp_path / "core")
    told = subprocess.run(
        ["gdb", "-nx", "-batch", "-core", str(tmp_path / "core"), "-ex=p/x $rip", "-ex=p/x $rsp"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    with Image.open(guest.image) as image:
        assert f"$1 = {image.state.get('cpu/0/env.eip'):#x}" in told
        assert f"$2 = {image.state.get('cpu/0/env.regs')[4]:#x}" in told
