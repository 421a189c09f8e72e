"""Where the map puts blocks when the image tells it, when it does not, and when it lies."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from conftest import SAMPLES, unpack
from fixedram_fmt import Image
from fixedram_fmt.memory import MemoryMap, memory_map
from fixedram_fmt.memory.blockroles import roles_of
from support.builders import StreamBuilder, open_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock

MIB, GIB = 1 << 20, 1 << 30


def cmos(below: int, above: int) -> bytes:
    """The CMOS of a PC with so much memory, as hw/i386/pc.c pc_cmos_init() fills it."""
    data = bytearray(128)
    data[0x30:0x32] = min(max(below - MIB, 0) // 1024, 65535).to_bytes(2, "little")
    data[0x34:0x36] = min(max(below - 16 * MIB, 0) // 65536, 65535).to_bytes(2, "little")
    data[0x5B:0x5E] = (above // 65536 & 0xFFFFFF).to_bytes(3, "little")
    return bytes(data)


class Guest(StreamBuilder):
    """An image of blocks that are said to be large and whose pages are all absent."""

    def with_blocks(self, machine: bytes, **lengths: int) -> Guest:
        self.page_size = 1 << 20
        self.header().configuration(machine, (b"mapped-ram",))
        self.start(2, b"ram")
        self.word("mem_size", 4, sum(lengths.values()))
        for name, length in lengths.items():
            self.put("block", bytes([len(name)]) + name.encode() + length.to_bytes(8, "big"))
            self.mapped_header(0, 0)
        self.eos().footer(2)
        self.part(2, end=True).eos().footer(2)
        return self

    def with_cmos(self, below: int, above: int = 0) -> Guest:
        body = cmos(below, above) + bytes(16)
        self.full(3, b"mc146818rtc", body)
        return self

    def with_pci(self, idstr: bytes, config: dict[int, int]) -> Guest:
        space = bytearray(256)
        space[0:4] = b"\x86\x80\x37\x12"
        for offset, value in config.items():
            space[offset] = value
        self.full(len(self.data), idstr, b"\0\0\0\2" + bytes(space) + bytes(16))
        return self

    def map(self) -> MemoryMap:
        with open_bytes(self.eof().file()) as image:
            assert image.stopped is None
            return memory_map(image)


def spans(found: MemoryMap, name: str) -> list[tuple[int, int, int]]:
    return [(r.start, r.stop, r.offset) for r in found.ranges if r.block.name == name]


@pytest.mark.parametrize("above", [0x8_0000_0000, 1 << 40, (1 << 40) + 65536, 5 << 40])
def test_cmos_splits_ram_above_a_tebibyte_too(above: int) -> None:
    total = 3 * GIB + above
    found = Guest().with_blocks(b"pc-i440fx-9.0", **{"pc.ram": total}).with_cmos(3 * GIB, above)
    ranges = spans(found.map(), "pc.ram")
    assert ranges == [(0, 3 * GIB, 0), (4 * GIB, 4 * GIB + above, 3 * GIB)]


def test_cmos_that_contradicts_the_block_is_not_believed() -> None:
    found = Guest().with_blocks(b"pc-q35-9.0", **{"pc.ram": 4 * GIB}).with_cmos(GIB, GIB).map()
    assert spans(found, "pc.ram") == [(0, 2 * GIB, 0), (4 * GIB, 6 * GIB, 2 * GIB)]
    assert any("defaults of q35" in note for note in found.notes)
    assert "default of q35" in found.ranges[0].source


def test_cmos_tells_which_backend_is_the_machines_ram() -> None:
    guest = Guest().with_blocks(b"pc-q35-9.0", dimm=8 * GIB, ram0=GIB).with_cmos(GIB)
    found = guest.map()
    assert spans(found, "ram0") == [(0, GIB, 0)]
    assert spans(found, "dimm") == [(4 * GIB, 12 * GIB, 0)]
    assert any("DIMM" in note for note in found.notes)


def test_without_a_cmos_the_largest_backend_is_taken_and_said_so() -> None:
    found = Guest().with_blocks(b"pc-q35-9.0", dimm=GIB, ram0=2 * GIB).map()
    assert spans(found, "ram0") == [(0, 2 * GIB, 0)]
    assert any("largest" in note for note in found.notes)
    assert any("no PAM registers" in note for note in found.notes)


def test_numa_nodes_follow_one_another_by_number() -> None:
    lengths = {f"ram-node{n}": GIB for n in (10, 2, 0, 1)}
    found = Guest().with_blocks(b"pc-q35-9.0", **lengths).with_cmos(2 * GIB, 2 * GIB).map()
    names = [(r.start, r.block.name) for r in found.ranges]
    assert names == [
        (0, "ram-node0"), (GIB, "ram-node1"), (4 * GIB, "ram-node2"), (5 * GIB, "ram-node10")
    ]  # fmt: skip


def test_two_backends_as_long_as_the_machines_ram_are_a_guess_that_is_told() -> None:
    guest = Guest().with_blocks(b"pc-q35-9.0", d0=64 * MIB, ram0=64 * MIB).with_cmos(64 * MIB)
    found = guest.map()
    assert [r.block.name for r in found.ranges] == ["d0", "ram0"]
    assert any("d0" in note and "ram0" in note and "guess" in note for note in found.notes)


def test_pam_registers_decide_what_is_seen_below_a_mebibyte() -> None:
    lengths = {"pc.ram": 64 * MIB, "pc.rom": 128 << 10, "pc.bios": 256 << 10}
    guest = Guest().with_blocks(b"pc-i440fx-9.0", **lengths).with_cmos(64 * MIB)
    # 0xf0000: RAM; 0xc0000: read-only; 0xc4000: writes alone, which QEMU makes RAM; rest: ROM
    guest.with_pci(b"0000:00:00.0/I440FX", {0x59: 0x30, 0x5A: 0x21})
    found = guest.map()
    seen = {}
    for address in (0xBFFFF, 0xC0000, 0xC4000, 0xC8000, 0xE0000, 0xF0000, 0x100000, 0xFFFC0000):
        piece = found.find(address)
        assert piece is not None
        seen[address] = (piece.block.name, piece.offset + address - piece.start, piece.kind)
    assert seen == {
        0xBFFFF: ("pc.ram", 0xBFFFF, "ram"),
        0xC0000: ("pc.ram", 0xC0000, "rom"),
        0xC4000: ("pc.ram", 0xC4000, "ram"),
        0xC8000: ("pc.rom", 0x8000, "rom"),
        0xE0000: ("pc.bios", 0x20000, "rom"),
        0xF0000: ("pc.ram", 0xF0000, "ram"),
        0x100000: ("pc.ram", 0x100000, "ram"),
        0xFFFC0000: ("pc.bios", 0, "rom"),
    }


def test_a_machine_without_rules_has_no_map_and_says_so() -> None:
    found = Guest().with_blocks(b"toaster-1.0", ram=GIB).map()
    assert found.ranges == ()
    assert found.notes == ("no memory map: no rules for the machine 'toaster-1.0'",)
    assert [block.name for block in found.unmapped] == ["ram"]
    assert found.find(0) is None
    assert found.stop == 0


@pytest.mark.parametrize("name", ["pc-bzh", "pc-i440fx-rhel7.6.0", "pc-i440fx-jammy", "pc", "foo"])
def test_a_pc_by_any_name_is_known_by_its_host_bridge(name: str) -> None:
    guest = Guest().with_blocks(name.encode(), **{"pc.ram": GIB}).with_cmos(GIB)
    guest.with_pci(b"0000:00:00.0/I440FX", {})
    assert spans(guest.map(), "pc.ram") == [(0, GIB, 0)]


@pytest.mark.parametrize("block", ["pc.ram", "mach-virt.ram", "ram0", "s390.ram", "flash", "d\x1b"])
@pytest.mark.parametrize("length", [0, 1, 1 << 32, 1 << 63, (1 << 64) - 1])
def test_lengths_of_a_liar_give_a_map_or_a_note(block: str, length: int) -> None:
    guest = Guest()
    guest.page_size = 1 << 20
    guest.header().configuration(b"pc-q35-9.0").start(2, b"ram").word("mem_size", 4, 0)
    guest.put("block", bytes([len(block)]) + block.encode() + length.to_bytes(8, "big"))
    with open_bytes(guest.file()) as image:
        found = memory_map(image)
    assert all(0 <= r.start < r.stop <= 1 << 64 for r in found.ranges)


@pytest.mark.slow
@pytest.mark.untraced
def test_thousands_of_blocks_cost_no_time() -> None:
    guest = Guest().with_blocks(b"pc-q35-9.0", **{f"m{n}x": MIB for n in range(5000)})
    with open_bytes(guest.eof().file()) as image:
        began = time.perf_counter()
        memory_map(image)
        assert time.perf_counter() - began < 2


@pytest.mark.slow
def test_damaged_device_state_never_raises(unpacked_dir: Path) -> None:
    path = unpack(SAMPLES / "q35-dimm.img.xz", unpacked_dir / "sample-q35-dimm")
    with Image.open(path) as image:
        first = min(s.body_offset for s in image.sections if s.full)
        last = max(s.body_offset + (s.body_length or 0) for s in image.sections)
        start = image.sections[-1]
        assert start.full
    broken = bytearray(path.read_bytes())
    chance = random.Random(1)
    for _ in range(100):
        good = bytes(broken[first:last])
        for _ in range(chance.randrange(1, 60)):
            broken[chance.randrange(first, last)] = chance.randrange(256)
        with open_bytes(broken) as image:  # type: ignore[arg-type]
            found = memory_map(image)
        assert all(r.offset + r.length <= r.block.used_length for r in found.ranges)
        broken[first:last] = good


@pytest.mark.slow
def test_truncated_anywhere_it_has_a_map_or_a_note(unpacked_dir: Path) -> None:
    path = unpack(SAMPLES / "pc-once.img.xz", unpacked_dir / "sample-pc-once")
    data = path.read_bytes()
    chance = random.Random(2)
    for _ in range(150):
        with open_bytes(data[: chance.randrange(200, len(data))]) as image:
            found = memory_map(image)
            assert found.ranges or found.notes or not image.blocks


def named(*names: str) -> list[RamBlock]:
    from fixedram_fmt.blocks import RamBlock

    return [RamBlock(i, "", name.encode(), MIB, 4096, 0) for i, name in enumerate(names)]


def test_blocks_of_devices_are_no_memory_backends() -> None:
    roles = roles_of(named("/rom@etc/acpi/tables", "0000:00:02.0/vga.vram", "pc.bios", "ram0"))
    assert [block.name for block in roles.main] == ["ram0"]
    assert roles.spare == ()
