"""The memory map against `info mtree -f` of the QEMU that saved the image: each range the same.

Left out: what is I/O, and whether RAM below 1 MiB that kvmvapic keeps writable can be written (the
image does not say so; it reads the same).
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.memory import PhysicalMemory, memory_map
from qemu_vm import QemuVM, require_qemu

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

#: start, stop, block, offset, kind
Span = tuple[int, int, str, int, str]

_LINE = re.compile(
    r"^\s+(?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16}) \(prio -?\d+, (?P<kind>ram|rom|romd)\):"
    r" (?P<name>\S+)(?: @(?P<offset>[0-9a-f]+))?"
)

#: Machines as they are before the guest runs: architecture and arguments.
STILL = {
    "pc-32m": ("x86_64", "-machine pc -m 32"),
    "pc-8m": ("x86_64", "-machine pc -m 8"),
    "pc-3g": ("x86_64", "-machine pc -m 3G"),
    "pc-3583m": ("x86_64", "-machine pc -m 3583M"),
    "pc-3584m": ("x86_64", "-machine pc -m 3584M"),
    "pc-5g-dimms": (
        "x86_64",
        "-machine pc -m 5G,slots=4,maxmem=16G"
        " -object memory-backend-ram,id=d1,size=128M -device pc-dimm,memdev=d1"
        " -object memory-backend-ram,id=d2,size=64M -device pc-dimm,memdev=d2",
    ),
    "pc-max-ram-below-4g": ("x86_64", "-machine pc,max-ram-below-4g=1G -m 2G"),
    "pc-i386": ("i386", "-machine pc -m 64"),
    "q35-2815m": ("x86_64", "-machine q35 -m 2815M"),
    "q35-2816m": ("x86_64", "-machine q35 -m 2816M"),
    "q35-3g": ("x86_64", "-machine q35 -m 3G"),
    "q35-flash": (
        "x86_64",
        "-machine q35 -m 64 -drive if=pflash,format=raw,readonly=on,file=flash0"
        " -drive if=pflash,format=raw,file=flash1",
    ),
    "q35-flash-old": (
        "x86_64",
        "-machine pc-q35-9.0 -m 64 -drive if=pflash,format=raw,readonly=on,file=flash0",
    ),
    "q35-numa": (
        "x86_64",
        "-machine q35 -m 64 -smp 2"
        " -object memory-backend-ram,id=ram-node0,size=16M -numa node,memdev=ram-node0"
        " -object memory-backend-ram,id=ram-node1,size=48M -numa node,memdev=ram-node1",
    ),
    "q35-virtio-mem": (
        "x86_64",
        "-machine q35 -m 64,maxmem=2G -object memory-backend-ram,id=vm0,size=256M"
        " -device virtio-mem-pci,memdev=vm0,requested-size=128M",
    ),
    "microvm": ("x86_64", "-machine microvm -m 4G"),
    "isapc": ("x86_64", "-machine isapc -m 32"),
    "aarch64-virt": ("aarch64", "-machine virt -cpu cortex-a57 -m 5G"),
    "riscv64-virt": ("riscv64", "-machine virt -m 3G"),
    "loongarch64-virt": ("loongarch64", "-machine virt -m 1G"),
    "m68k-virt": ("m68k", "-machine virt -m 64"),
    "aarch64-sbsa-ref": ("aarch64", "-machine sbsa-ref -m 1G"),
    "riscv64-spike": ("riscv64", "-machine spike -m 256 -bios none"),
    "riscv64-sifive_u": ("riscv64", "-machine sifive_u -m 256 -bios none"),
    "s390x": ("s390x", "-machine s390-ccw-virtio -m 256"),
    "pseries": ("ppc64", "-machine pseries -m 512"),
    "avr-uno": ("avr", "-machine uno"),
    "avr-mega": ("avr", "-machine mega2560"),
}

#: Machines whose own firmware ran: PAM registers and BARs are programmed.
BOOTED = {
    "pc-two-vga": "-machine pc -m 32 -device VGA -device VGA",
    "pc-cirrus": "-machine pc -m 64 -device cirrus-vga",
    "q35-vga": "-machine q35 -m 32 -device VGA -device e1000e",
    "q35-virtio-vga": "-machine q35 -m 64 -device virtio-vga -device vmware-svga",
}

#: Blocks of devices that firmware has booted are named after their device's path.
_DEVICE = re.compile(r".*/")


def flat_view(text: str, *, kinds: bool = True) -> list[Span]:
    """RAM and ROM of the flat view of the memory address space."""
    view = next(part for part in text.split("FlatView #") if 'AS "memory"' in part)
    spans = []
    for match in filter(None, map(_LINE.match, view.splitlines())):
        kind = "ram" if match["kind"] == "ram" or not kinds else "rom"
        stop = int(match["last"], 16) + 1
        offset = int(match["offset"] or "0", 16)
        spans.append((int(match["first"], 16), stop, match["name"], offset, kind))
    return joined(spans)


def our_view(image: Image, *, kinds: bool = True) -> list[Span]:
    return joined(
        [
            (r.start, r.stop, _DEVICE.sub("", r.block.name), r.offset, r.kind if kinds else "ram")
            for r in memory_map(image).ranges
        ]
    )


def joined(spans: list[Span]) -> list[Span]:
    """Neighbours that go on in the same block as one."""
    out: list[Span] = []
    for span in spans:
        if out and out[-1][1] == span[0] and out[-1][2::2] == span[2::2]:
            start, stop, name, offset, kind = out[-1]
            if offset + stop - start == span[3]:
                out[-1] = (start, span[1], name, offset, kind)
                continue
        out.append(span)
    return out


def save(vm: QemuVM, path: Path) -> None:
    vm.set_capabilities("mapped-ram")
    assert vm.migrate_to_file(path) == "completed"


@pytest.mark.parametrize("name", STILL)
def test_ranges_are_those_of_the_flat_view(name: str, tmp_path: Path) -> None:
    arch, arguments = STILL[name]
    (tmp_path / "flash0").write_bytes(bytes(4 << 20))
    (tmp_path / "flash1").write_bytes(bytes(1 << 20))
    with QemuVM(require_qemu(arch), cwd=tmp_path) as vm:
        vm.start(("-S", "-accel", "tcg", *arguments.split()))
        truth = flat_view(vm.hmp("info mtree -f"))
        save(vm, tmp_path / "image")
    with Image.open(tmp_path / "image") as image:
        assert our_view(image) == truth


@pytest.mark.parametrize("name", BOOTED)
def test_ranges_are_those_of_the_flat_view_after_firmware_ran(name: str, tmp_path: Path) -> None:
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(("-accel", "tcg", *BOOTED[name].split()))
        _wait_for_video_memory(vm)
        vm.stop()
        truth = flat_view(vm.hmp("info mtree -f"), kinds=False)
        save(vm, tmp_path / "image")
    with Image.open(tmp_path / "image") as image:
        assert our_view(image, kinds=False) == truth


def _wait_for_video_memory(vm: QemuVM) -> None:
    """Until firmware has locked the BIOS area, the last thing it does to the map."""
    for _ in range(300):
        view = flat_view(vm.hmp("info mtree -f"))
        if any(name.endswith("vram") for _, _, name, _, _ in view) and any(
            start <= 0xF0000 < stop and (name, kind) == ("pc.ram", "rom")
            for start, stop, name, _, kind in view
        ):
            return
        time.sleep(0.05)
    pytest.fail("the firmware did not get that far")


#: Writes to PCI config space, (register, value), as a guest would do them by ports 0xcf8, 0xcfc.
REGISTERS = {
    "pc": [
        (0x59, 0x30), (0x5A, 0x21), (0x5B, 0x13), (0x5C, 0x32), (0x5F, 0x12), (0x72, 0x4A),
    ],
    "q35": [
        (0x90, 0x10), (0x91, 0x33), (0x92, 0x12), (0x94, 0x20), (0x96, 0x03), (0x9D, 0x0A),
        (0x9E, 0x03), (0x9C, 0xFF), (0x9C, 0x02),
    ],
}  # fmt: skip


@pytest.mark.parametrize("machine", REGISTERS)
@pytest.mark.parametrize("more", [(), ("-device", "VGA")])
def test_each_register_of_the_host_bridge_is_obeyed(
    machine: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    guest = _config_writer(REGISTERS[machine])
    (tmp_path / "bios").write_bytes(guest)
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        debugcon = ("-chardev", "stdio,id=con,signal=off", "-device")
        vm.start(
            ("-S", "-accel", "tcg", "-machine", machine, "-m", "64", "-bios", "bios", *debugcon,
             "isa-debugcon,iobase=0xe9,chardev=con", *more)
        )  # fmt: skip
        vm.cont()
        vm.wait_output(b"!")
        vm.stop()
        truth = flat_view(vm.hmp("info mtree -f"))
        save(vm, tmp_path / "image")
        low = vm.pmemsave(0, 1 << 20)
    with Image.open(tmp_path / "image") as image:
        assert our_view(image) == truth
        memory = PhysicalMemory(image, fill=0)
        for start, stop, _, _, _ in truth:
            if stop <= 1 << 20:
                assert memory.read(start, stop - start) == low[start:stop]


def _config_writer(writes: list[tuple[int, int]]) -> bytes:
    """A 64 KiB BIOS: writes registers of 00:00.0, prints `!`, halts."""
    code = bytearray()
    for register, value in writes:
        # mov eax, 0x80000000 | register; mov dx, 0xcf8; out dx, eax
        code += b"\x66\xb8" + (0x80000000 | register & ~3).to_bytes(4, "little")
        code += b"\xba\xf8\x0c\x66\xef"
        # mov dx, 0xcfc + register % 4; mov al, value; out dx, al
        code += b"\xba" + (0xCFC + register % 4).to_bytes(2, "little")
        code += b"\xb0" + bytes([value]) + b"\xee"
    code += b"\xb0!\xe6\xe9\xfa\xf4\xeb\xfd"  # mov al, '!'; out 0xe9, al; cli; hlt; jmp
    # It runs from the copy at 4 GiB - 64 KiB, which no register can take away.
    image = code.ljust(0xFFF0, b"\x90") + b"\xe9" + (0x10000 - 0xFFF3).to_bytes(2, "little")
    return bytes(image.ljust(0x10000, b"\0"))


def test_a_dimm_is_where_ignore_shared_says(tmp_path: Path) -> None:
    arguments = (
        "-machine q35 -m 64,slots=4,maxmem=4G"
        " -object memory-backend-ram,id=d1,size=64M -device pc-dimm,memdev=d1,addr=0x130000000"
        " -object memory-backend-ram,id=d2,size=32M -device pc-dimm,memdev=d2"
    )
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(("-S", "-accel", "tcg", *arguments.split()))
        truth = flat_view(vm.hmp("info mtree -f"))
        vm.set_capabilities("mapped-ram", "x-ignore-shared")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
    with Image.open(tmp_path / "image") as image:
        assert our_view(image) == truth
        assert not any("guess" in note for note in memory_map(image).notes)


def test_a_dimm_of_arm_lies_behind_its_ram(tmp_path: Path) -> None:
    (tmp_path / "bios").write_bytes(bytes(4096))
    arguments = (
        "-machine virt -cpu cortex-a57 -bios bios -m 256M,slots=2,maxmem=4G"
        " -object memory-backend-ram,id=d1,size=128M -device pc-dimm,memdev=d1"
    )
    with QemuVM(require_qemu("aarch64"), cwd=tmp_path) as vm:
        vm.start(("-S", "-accel", "tcg", *arguments.split()))
        truth = flat_view(vm.hmp("info mtree -f"))
        save(vm, tmp_path / "image")
    with Image.open(tmp_path / "image") as image:
        assert our_view(image) == truth


def test_numa_nodes_lie_where_ignore_shared_says(tmp_path: Path) -> None:
    arguments = (
        "-machine pc -m 96 -smp 2"
        " -object memory-backend-ram,id=z,size=32M -numa node,memdev=z"
        " -object memory-backend-ram,id=y,size=64M -numa node,memdev=y"
    )
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        vm.start(("-S", "-accel", "tcg", *arguments.split()))
        truth = flat_view(vm.hmp("info mtree -f"))
        vm.set_capabilities("mapped-ram", "x-ignore-shared")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
    with Image.open(tmp_path / "image") as image:
        assert our_view(image) == truth
        assert memory_map(image).notes == ()
