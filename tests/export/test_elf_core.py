"""ELF cores of guests of every kind: whose they are said to be, and where registers end up."""

from __future__ import annotations

import io
import json
import shutil
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.export import elf_core, physical_image
from fixedram_fmt.export.prstatus import prstatus
from fixedram_fmt.memory.ranges import MemoryMap
from support.real_files import location_of
from support.synthetic import made

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.vmstate.values import DeviceState

#: e_machine (System V gABI) and byte order.
MACHINES = {
    "pc-once": (62, 1),
    "pc-no-vmdesc": (62, 1),
    "legacy-xbzrle": (62, 1),
    "microvm-uuid": (62, 1),
    "libvirt-fx-sparse": (62, 1),
    "aarch64-virt": (183, 1),
    "riscv64-virt": (243, 1),
    "s390x-virtio": (22, 2),
    "ppc64-pseries": (21, 2),
    "m68k-virt": (4, 2),
    "avr-uno": (83, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_a_core_says_whose_guest_it_is(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(f"sample/{name}", unpacked_dir)) as image:
        head = elf_core(image).read(0, 64)
    order = "<" if head[5] == 1 else ">"
    assert head[:4] == b"\x7fELF"
    assert (struct.unpack_from(f"{order}H", head, 18)[0], head[5]) == MACHINES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_pyelftools_reads_every_segment(name: str, unpacked_dir: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with Image.open(location_of(f"sample/{name}", unpacked_dir)) as image:
        core = elf_core(image)
        file = elffile.ELFFile(io.BufferedReader(core.open()))
        loads = [one for one in file.iter_segments() if one["p_type"] == "PT_LOAD"]
        ranges = image.memory_map.ranges
        assert (loads[0]["p_paddr"], loads[-1]["p_paddr"] + loads[-1]["p_memsz"]) == (
            ranges[0].start,
            ranges[-1].stop,
        )
        for one in loads:
            assert one["p_vaddr"] == one["p_paddr"]
            assert one["p_filesz"] == one["p_memsz"]
            assert one["p_offset"] % 4096 == 0
            length = min(one["p_filesz"], 1 << 16)
            memory = image.physical_memory.read(one["p_paddr"], length)
            assert core.read(one["p_offset"], length) == memory
        assert loads[-1]["p_offset"] + loads[-1]["p_filesz"] == core.size


def test_segments_claim_no_alignment(unpacked_dir: Path) -> None:
    """crash takes aligned ones for a netdump and dies of a segmentation fault."""
    with Image.open(location_of("sample/pc-once", unpacked_dir)) as image:
        core = elf_core(image)
    (at,) = struct.unpack("<Q", core.read(32, 8))
    (count,) = struct.unpack("<H", core.read(56, 2))
    headers = [struct.unpack("<IIQQQQQQ", core.read(at + 56 * n, 56)) for n in range(count)]
    assert {one[7] for one in headers if one[0] == 1} == {0}


def vcpu(fields: dict[str, object]) -> DeviceState:
    """As much of a vCPU's state as the registers need."""
    structure = SimpleNamespace(fields=[SimpleNamespace(name=name) for name in fields])
    return cast("DeviceState", SimpleNamespace(fields=fields, structure=structure))


def test_an_arm_cpu_in_32_bit_mode_shows_the_registers_it_uses() -> None:
    fields = {
        "env.xregs": [0xDEAD] * 32,
        "env.pc": 0xDEAD,
        "env.regs": [0x100 + number for number in range(16)],
        "cpsr": bytes.fromhex("600001d3"),
    }
    note = prstatus(vcpu(fields), 0)
    assert note is not None
    registers = struct.unpack_from("<34Q", note, 112)
    assert list(registers[:15]) == [0x100 + number for number in range(15)]
    assert registers[32:] == (0x10F, 0x600001D3)


@pytest.mark.parametrize(
    "fields",
    [
        {"env.xregs": [], "env.pc": 0, "cpsr": b"\0\0\0\0"},
        {"env.xregs": "text", "env.pc": None, "cpsr": b""},
        {"env.eip": 1},
        {"env.nip": 1, "env.spr": []},
        {"env.nip": 1, "env.spr": 5},
        {"env.psw.addr": 1, "env.aregs": [1]},
        {"env.regs": [], "env.xregs": [], "env.pc": 0, "cpsr": b"\x10"},
    ],
)
def test_a_description_with_other_fields_gives_no_registers(
    fields: dict[str, object],
) -> None:
    note = prstatus(vcpu(fields), 0)
    assert note is None


def test_physical_memory_ends_where_ram_does_unless_asked_for_more(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/pc-once", unpacked_dir)) as image:
        assert physical_image(image).size == 24 << 20
        firmware = physical_image(image, (4 << 30) - 16, 4 << 30)
        assert firmware.read(0, 16) == image.physical_memory.read((4 << 30) - 16, 16)
        assert physical_image(image, with_devices=True).size == 4 << 30


def test_video_memory_below_4_gib_does_not_make_a_small_guest_large(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/pc-once", unpacked_dir)) as image:
        ram = image.memory_map.ranges[0]
        assert ram.block.name == "pc.ram"
        vram = replace(ram.block, idstr=b"0000:00:02.0/vga.vram")
        bar = replace(ram, start=0xFD00_0000, stop=0xFE00_0000, block=vram)
        image.__dict__["memory_map"] = MemoryMap([*image.memory_map.ranges, bar])
        assert physical_image(image).size == 24 << 20


# -- the command -----------------------------------------------------------------------------------


def test_the_plan_of_several_blocks_is_json_too(unpacked_dir: Path) -> None:
    location = location_of("sample/pc-once", unpacked_dir)
    told = run_cli("extract", location, "--plan", "--json").json["files"]
    with Image.open(location) as image:
        assert [(one["block"], one["bytes"]) for one in told] == [
            (block.name, block.used_length) for block in image.blocks
        ]


@pytest.mark.slow
def test_the_image_itself_is_never_replaced(unpacked_dir: Path, tmp_path: Path) -> None:
    image = tmp_path / "pc.ram.ram"
    shutil.copyfile(location_of("sample/pc-once", unpacked_dir), image)
    before = image.read_bytes()
    for options in (["--block", "pc.ram", "-o", str(image)], ["-o", str(tmp_path)]):
        done = run_cli("extract", image, *options, "--force")
        assert done.code == 2
        assert "is an image, and is kept" in done.err
        assert image.read_bytes() == before


@pytest.mark.slow
def test_memory_of_a_save_that_failed_comes_with_a_warning(
    unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of("sample/failed-ignore-shared", unpacked_dir)
    done = run_cli("extract", location, "-o", tmp_path / "out", "--json")
    assert done.code == 1
    assert json.loads(done.out)
    assert "stops early" in done.err


@pytest.mark.slow
def test_every_cut_of_an_image_gives_a_core_or_one_line(tmp_path: Path) -> None:
    raw = made(machine="pc", blocks=[{"name": "pc.ram", "size": "64K", "pattern": "random"}])
    for number, length in enumerate(range(0, len(raw), max(1, len(raw) // 12))):
        image, core = tmp_path / f"image{number}", tmp_path / f"core{number}"
        image.write_bytes(raw[:length])
        done = run_cli("extract", image, "--format", "elf", "-o", core)
        assert done.code in (0, 1, 2)
        assert "Traceback" not in done.err
        assert "internal error" not in done.err
        assert core.exists() == (done.code != 2)
