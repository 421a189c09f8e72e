"""Cores and physical memory beside what QEMU itself dumps of the same stopped guest.

Registers hold values that a debugger put there; a Linux guest brings page tables, a VMCOREINFO and
a banner that other tools look for.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.export.qemunote import qemu_note
from fixedram_fmt.guest.vmcoreinfo import find_vmcoreinfo
from fixedram_fmt.memory.paging import VirtualMemory, registers_of
from fixedram_fmt.vmstate.overview import overview
from qemu_vm import QemuVM, require_qemu, require_tool
from support.linux_guest import INIT_SAYS, initrd, kernel_of_linux

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.qemu

_NT_PRSTATUS = 1


class Core(NamedTuple):
    """What an ELF64 core says: notes as (name, type, descriptor), loads as (paddr, bytes)."""

    machine: int
    little: bool
    notes: list[tuple[bytes, int, bytes]]
    loads: list[tuple[int, bytes]]

    def descriptors(self, name: bytes, kind: int) -> list[bytes]:
        return [content for owner, type_, content in self.notes if (owner, type_) == (name, kind)]


def read_core(path: Path) -> Core:
    """An ELF64 core, as elf(5) has it."""
    data = path.read_bytes()
    assert data[:5] == b"\x7fELF\2"
    order = "<" if data[5] == 1 else ">"
    machine = struct.unpack_from(f"{order}H", data, 18)[0]
    phoff = struct.unpack_from(f"{order}Q", data, 32)[0]
    phnum = struct.unpack_from(f"{order}H", data, 56)[0]
    core = Core(machine, order == "<", [], [])
    for number in range(phnum):
        head = struct.unpack_from(f"{order}IIQQQQ", data, phoff + 56 * number)
        kind, _, offset, _, address, size = head
        content = data[offset : offset + size]
        if kind == 4:
            core.notes.extend(read_notes(content, order))
        else:
            core.loads.append((address, content))
    return core


def read_notes(data: bytes, order: str) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at < len(data):
        namesz, descsz, kind = struct.unpack_from(f"{order}III", data, at)
        name = data[at + 12 : at + 12 + namesz]
        start = at + 12 + -(-namesz // 4) * 4
        yield name.rstrip(b"\0"), kind, data[start : start + descsz]
        at = start + -(-descsz // 4) * 4


class Debugger:
    """A client of QEMU's gdbstub that can do one thing: set registers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, text: str) -> str:
        self._socket.sendall(f"${text}#{sum(text.encode()) & 255:02x}".encode())
        while self._file.read(1) != b"$":
            pass
        answer = b""
        while (byte := self._file.read(1)) != b"#":
            answer += byte
        self._file.read(2)
        self._socket.sendall(b"+")
        return answer.decode()

    def set_register(self, cpu: int, number: int, value: int, form: str) -> None:
        assert self.send(f"Hg{cpu + 1:x}") == "OK"
        raw = struct.pack(form, value).hex()
        assert self.send(f"P{number:x}={raw}") == "OK"


class Guest(NamedTuple):
    arguments: tuple[str, ...]
    order: str
    #: Numbers by which gdb calls the general registers, and the program counter.
    registers: range
    #: 8-byte words of the registers that are QEMU's alone: see where it is given.
    apart: tuple[int, ...] = ()


GUESTS = {
    "aarch64": Guest(("-machine", "virt", "-cpu", "cortex-a57", "-m", "32"), "<", range(33)),
    "riscv64": Guest(("-machine", "virt", "-bios", "none", "-m", "32"), "<", range(1, 33)),
    "s390x": Guest(("-machine", "s390-ccw-virtio", "-m", "32"), ">", range(18)),
    "ppc64": Guest(("-machine", "pseries", "-m", "256"), ">", range(32)),
    # QEMU writes the return address of the last exception where the kernel has the pc.
    "loongarch64": Guest(("-machine", "virt", "-m", "256"), "<", range(33), (33,)),
}


def value_of(cpu: int, register: int) -> int:
    """Something else for each register, even: a program counter cannot be odd."""
    return (cpu + 1) << 60 | 0x0123_4567_8900_0000 | register << 8


def save(vm: QemuVM, folder: Path) -> tuple[Path, Path]:
    """QEMU's own core, and ours of the image it saves."""
    theirs, ours = folder / "theirs", folder / "ours"
    vm.execute("dump-guest-memory", {"paging": False, "protocol": f"file:{theirs}"})
    vm.set_capabilities("mapped-ram")
    assert vm.migrate_to_file(folder / "image") == "completed"
    done = run_cli("extract", folder / "image", "--format", "elf", "-o", ours)
    assert done.code == 0, done.err
    return theirs, ours


def assert_same_memory(ours: Core, theirs: Core) -> None:
    """All that QEMU dumps is in ours at the same address; ours has flash memory too."""
    for start, content in theirs.loads:
        assert any(
            low <= start and content == memory[start - low : start - low + len(content)]
            for low, memory in ours.loads
        ), f"{start:#x}"


@pytest.mark.parametrize("arch", GUESTS)
def test_registers_are_where_qemu_puts_them(arch: str, tmp_path: Path) -> None:
    guest = GUESTS[arch]
    with QemuVM(require_qemu(arch)) as vm:
        stub = ("-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off")
        vm.start(("-accel", "tcg", "-S", "-smp", "2", *guest.arguments, *stub))
        debugger = Debugger(tmp_path / "gdb")
        try:
            for cpu in range(2):
                for number in guest.registers:
                    debugger.set_register(cpu, number, value_of(cpu, number), f"{guest.order}Q")
            theirs, ours = (read_core(path) for path in save(vm, tmp_path))
        finally:
            debugger.close()
    assert (ours.machine, ours.little) == (theirs.machine, theirs.little)
    pairs = zip(
        ours.descriptors(b"CORE", _NT_PRSTATUS),
        theirs.descriptors(b"CORE", _NT_PRSTATUS),
        strict=True,
    )
    for cpu, (mine, other) in enumerate(pairs):
        assert len(mine) == len(other)
        word = struct.pack(f"{guest.order}Q", value_of(cpu, guest.registers[-2]))
        assert word in other
        # QEMU's pr_fpvalid, the last, tells of a note of floating point registers.
        for at in range(0, len(mine) - 8, 8):
            if (at - 112) // 8 not in guest.apart:
                assert mine[at : at + 8] == other[at : at + 8], f"cpu {cpu}, {at:#x}"
    assert_same_memory(ours, theirs)


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_qemus_own_note_of_an_x86_cpu_is_that_of_qemu(arch: str, tmp_path: Path) -> None:
    with QemuVM(require_qemu(arch)) as vm:
        stub = ("-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off")
        vm.start(("-accel", "tcg", "-S", "-smp", "2", "-machine", "q35", "-m", "32", *stub))
        debugger = Debugger(tmp_path / "gdb")
        try:
            # Eight registers and the program counter: the CPU is in real mode.
            for number, cpu in ((number, cpu) for number in range(9) for cpu in range(2)):
                width = "Q" if arch == "x86_64" else "I"
                debugger.set_register(cpu, number, 0x1234_5600 | number << 4 | cpu, f"<{width}")
            theirs, ours = (read_core(path) for path in save(vm, tmp_path))
        finally:
            debugger.close()
    with Image.open(tmp_path / "image") as image:
        notes = [qemu_note(one) for one in image.state.devices if one.name == "cpu"]
    assert len(notes) == 2
    assert notes == theirs.descriptors(b"QEMU", 0)
    # drgn would take the guest for a Linux whose VMCOREINFO is missing.
    assert ours.descriptors(b"QEMU", 0) == []
    assert_same_memory(ours, theirs)


#: li r3,H_SET_MODE; li r4,1 (little-endian); li r5,4 (byte order); li r6,0; li r7,0; sc 1; b .
_TURNS_LITTLE = "3860031c 38800001 38a00004 38c00000 38e00000 44000022 48000000"


def test_a_power_guest_that_takes_interrupts_little_endian_has_such_a_core(tmp_path: Path) -> None:
    (tmp_path / "bios").write_bytes(bytes(0x100) + bytes.fromhex(_TURNS_LITTLE))
    with QemuVM(require_qemu("ppc64")) as vm:
        vm.start(("-accel", "tcg", "-machine", "pseries", "-bios", str(tmp_path / "bios")))
        stop = time.monotonic() + 20
        while "NIP 0000000000000118" not in vm.hmp("info registers"):
            assert time.monotonic() < stop, vm.hmp("info registers")
        vm.stop()
        theirs, ours = (read_core(path) for path in save(vm, tmp_path))
    assert theirs.little
    assert ours.little
    (mine,) = ours.descriptors(b"CORE", _NT_PRSTATUS)
    (other,) = theirs.descriptors(b"CORE", _NT_PRSTATUS)
    assert mine[:-8] == other[:-8]


# -- a Linux guest ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `image`, `theirs` and `ours` of a Linux guest that has booted."""
    kernel = kernel_of_linux()
    binary = require_qemu("x86_64")
    folder = tmp_path_factory.mktemp("linux")
    (folder / "initrd").write_bytes(initrd())
    with QemuVM(binary, timeout=120) as vm:
        vm.start((
            "-accel", "tcg", "-machine", "pc", "-m", "192", "-smp", "2", "-kernel", kernel,
            "-initrd", str(folder / "initrd"), "-append", "console=ttyS0 panic=-1 nokaslr",
            "-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con",
        ))  # fmt: skip
        vm.wait_output(INIT_SAYS)
        vm.stop()
        save(vm, folder)
    return folder


def test_the_core_of_a_linux_guest_is_qemus_and_its_vmcoreinfo(linux: Path) -> None:
    theirs, ours = read_core(linux / "theirs"), read_core(linux / "ours")
    assert ours.descriptors(b"CORE", 1) == theirs.descriptors(b"CORE", 1)
    assert ours.descriptors(b"QEMU", 0) == theirs.descriptors(b"QEMU", 0)
    assert ours.loads == theirs.loads
    (info,) = ours.descriptors(b"VMCOREINFO", 0)
    release = info.decode().partition("OSRELEASE=")[2].partition("\n")[0]
    assert f"Linux version {release} ".encode() in b"".join(memory for _, memory in ours.loads)


def test_drgn_takes_the_core_for_a_linux_kernel(linux: Path) -> None:
    pytest.importorskip("drgn")
    script = (
        "import drgn, sys; prog = drgn.Program(); prog.set_core_dump(sys.argv[1]);"
        "assert prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL;"
        "print(prog['VMCOREINFO'].string_().decode() if 'VMCOREINFO' in prog else '');"
        "print(prog.read(0x100000, 64, physical=True).hex())"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(linux / "ours")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    with Image.open(linux / "image") as image:
        assert image.physical_memory.read(0x100000, 64).hex() in told.stdout


_VOLATILITY = "import sys; sys.argv[0] = 'vol'; from volatility3.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["physical", "elf", "lime"])
def test_volatility_finds_the_banner_at_its_address(
    format_: str, linux: Path, tmp_path: Path
) -> None:
    pytest.importorskip("volatility3")
    out = tmp_path / "memory"
    assert run_cli("extract", linux / "image", "--format", format_, "-o", out).code == 0
    told = subprocess.run(
        [sys.executable, "-c", _VOLATILITY, "-q", "--offline", "--cache-path", str(tmp_path),
         "-f", str(out), "banners"],
        capture_output=True, text=True, check=False, timeout=120,
    ).stdout  # fmt: skip
    rows = [line.split("\t", 1) for line in told.splitlines() if line.startswith("0x")]
    assert rows
    with Image.open(linux / "image") as image:
        for address, banner in rows:
            start = banner.encode()[:40]
            assert image.physical_memory.read(int(address, 16), len(start)) == start


def test_virtual_addresses_lead_to_what_the_kernel_says_of_itself(linux: Path) -> None:
    """struct new_utsname of init_uts_ns: sysname, nodename, release, of 65 bytes each."""
    with Image.open(linux / "image") as image:
        text = find_vmcoreinfo(image, "little")
        assert text is not None
        facts = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
        names = int(facts["SYMBOL(init_uts_ns)"], 16) + int(facts["OFFSET(uts_namespace.name)"])
        for cpu in (0, 1):
            memory = VirtualMemory(image.physical_memory, registers_of(image.state, cpu))
            assert memory.read(names, 6) == b"Linux\0"
            release = memory.read(names + 130, 65).rstrip(b"\0").decode()
            assert release == facts["OSRELEASE"]
        assert all("64-bit code" in one.mode for one in overview(image, image.state).cpus)


def test_gdb_stands_where_the_guest_stood(linux: Path) -> None:
    tool = require_tool("gdb")
    told = subprocess.run(
        [tool, "-nx", "-batch", "-core", str(linux / "ours"), "-ex=p/x $rip", "-ex=p/x $rsp"],
        capture_output=True, text=True, check=False, timeout=60,
    ).stdout  # fmt: skip
    with Image.open(linux / "image") as image:
        assert f"$1 = {image.state.get('cpu/0/env.eip'):#x}" in told
        assert f"$2 = {image.state.get('cpu/0/env.regs')[4]:#x}" in told
