"""`fixedram extract`: what comes out is the memory, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.export import elf_core, lime_image, physical_image, raw_block
from support.memory import block_memory
from support.real_files import ENTRIES, location_of
from support.synthetic import made

#: Images with guest memory that QEMU's monitor dumped, and that is in the file.
DUMPED = [
    name
    for name, entry in ENTRIES.items()
    if entry.get("guest_physical_sha256")
    and "ignore-shared-11" not in name
    and "failed" not in name
]


@pytest.fixture
def q35(unpacked_dir: Path) -> str:
    return location_of("sample/q35-dimm", unpacked_dir)


@pytest.mark.slow
@pytest.mark.parametrize("name", DUMPED)
def test_physical_memory_is_what_qemu_dumped(name: str, unpacked_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli("extract", location_of(name, unpacked_dir), "--format", "physical", "-o", out)
    assert done.code == 0, done.err
    with out.open("rb") as file:
        for part in ENTRIES[name]["guest_physical_sha256"]:
            file.seek(part["start"])
            memory = file.read(part["end"] - part["start"])
            assert hashlib.sha256(memory).hexdigest() == part["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample/pc-live", "sample/legacy-xbzrle", "sample/s390x-virtio"])
def test_blocks_are_what_the_naive_reader_reads(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of(name, unpacked_dir)
    told = run_cli("extract", location, "-o", tmp_path / "all", "--json").json["files"]
    listed = json.loads((tmp_path / "all" / "blocks.json").read_text())["files"]
    with Image.open(location) as image:
        assert [one["block"] for one in told] == [block.name for block in image.blocks]
        for one, entry, block in zip(told, listed, image.blocks, strict=True):
            written = (tmp_path / "all" / entry["file"]).read_bytes()
            assert written == block_memory(image, block)
            assert one["bytes"] == entry["bytes"] == len(written)
            assert one["holes"] <= one["bytes"]


def test_absent_pages_are_holes_of_the_file(q35: str, tmp_path: Path) -> None:
    run_cli("extract", q35, "--block", "ram0", "-o", tmp_path / "ram")
    status = (tmp_path / "ram").stat()
    assert status.st_size == 24 << 20
    assert status.st_blocks * 512 < 1 << 20


_SOME = {
    "raw": ["--block", "ram0"],
    "physical": ["--range", "0xfc000000-0x100000000"],  # a hole, and firmware at its end
    "elf": [],
    "lime": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("format_", _SOME)
def test_a_stream_is_the_same_as_the_file(format_: str, q35: str, tmp_path: Path) -> None:
    options = ["--format", format_, *_SOME[format_]]
    run_cli("extract", q35, *options, "-o", tmp_path / "file")
    done = subprocess.run(
        [sys.executable, "-m", "fixedram_cli", "extract", q35, *options, "-o", "-"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == (tmp_path / "file").read_bytes()


@pytest.mark.slow
def test_what_is_read_from_an_artifact_is_what_it_writes(q35: str) -> None:
    with Image.open(q35) as image:
        for artifact in (elf_core(image), lime_image(image), physical_image(image, 0, 32 << 20)):
            streamed: list[bytes] = []
            artifact.stream(streamed.append)
            whole = b"".join(streamed)
            assert len(whole) == artifact.size
            for start in (0, 100, 4095, artifact.size // 2, artifact.size - 5000):
                assert artifact.read(start, 5000) == whole[start : start + 5000]


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [("1M+64K", 1 << 20, (1 << 20) + (64 << 10)), ("0x1000-0x3000", 0x1000, 0x3000)],
)
def test_a_range_is_that_part(text: str, start: int, stop: int, q35: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_cli("extract", q35, "--format", "physical", "--range", text, "-o", out)
    with Image.open(q35) as image:
        assert out.read_bytes() == image.physical_memory.read(start, stop - start)


def test_lime_has_a_header_before_each_range(q35: str, tmp_path: Path) -> None:
    run_cli("extract", q35, "--format", "lime", "-o", tmp_path / "lime")
    with Image.open(q35) as image, (tmp_path / "lime").open("rb") as file:
        while header := file.read(32):
            magic, version, first, last, _ = struct.unpack("<IIQQQ", header)
            assert (magic, version) == (0x4C694D45, 1)
            content = file.read(last - first + 1)
            assert content[:4096] == image.physical_memory.read(first, 4096)
            assert content[-16:] == image.physical_memory.read(last - 15, 16)


@pytest.mark.slow
def test_the_plan_writes_nothing(q35: str, tmp_path: Path) -> None:
    plan = run_cli("extract", q35, "--format", "elf", "--plan", "--json").json
    run_cli("extract", q35, "--format", "elf", "-o", tmp_path / "core")
    assert plan["size"] == (tmp_path / "core").stat().st_size
    assert plan["parts"][0]["address"] is None


# -- nothing else is touched ---------------------------------------------------------------------


@pytest.mark.slow
def test_files_that_exist_are_left_alone_unless_forced(q35: str, tmp_path: Path) -> None:
    for target, options in (
        (tmp_path / "one", ["--block", "ram0"]),
        (tmp_path / "core", ["--format", "elf"]),
    ):
        target.write_text("mine")
        done = run_cli("extract", q35, *options, "-o", target)
        assert done.code == 2
        assert "--force" in done.err
        assert target.read_text() == "mine"
        assert run_cli("extract", q35, *options, "-o", target, "--force").code == 0
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "blocks.json").write_text("mine")
    assert run_cli("extract", q35, "-o", folder).code == 2
    assert [one.name for one in folder.iterdir()] == ["blocks.json"]


def test_links_in_the_way_are_refused(q35: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "ram0.ram").symlink_to(outside)
    (tmp_path / "link").symlink_to(outside)
    assert run_cli("extract", q35, "-o", tmp_path / "all", "--force").code == 2
    assert run_cli("extract", q35, "--block", "ram0", "-o", tmp_path / "link", "--force").code == 2
    assert outside.read_text() == "mine"


def test_names_of_blocks_never_leave_the_folder(tmp_path: Path) -> None:
    names = ["../../evil", "/etc/evil", "a/b", "a_b", "A_B", "..", "\x1b[31m", "con\n", ""]
    raw = made(blocks=[{"name": name, "size": "4K"} for name in names if name])
    (tmp_path / "image").write_bytes(raw)
    done = run_cli("extract", tmp_path / "image", "-o", tmp_path / "in" / "out")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    written = sorted(one for one in tmp_path.rglob("*") if one.is_file())
    assert {one.parent for one in written} == {tmp_path, tmp_path / "in" / "out"}
    assert len(written) == len(names) + 1


def test_a_full_disk_leaves_no_half_file(q35: str, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        done = run_cli("extract", q35, "--block", "ram0", "-o", folder / "x")
        assert done.code == 2
        assert "free some space" in done.err
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "options",
    [
        ["--block", "nothing"],
        ["--block", "ram0", "--range", "0-1T"],
        ["--block", "ram0", "--range", "5-3"],
        ["--block", "ram0", "--range", "abc"],
        ["--format", "elf", "--block", "ram0"],
        ["--range", "0-1"],
        [],
    ],
)
def test_requests_that_make_no_sense_are_refused(
    options: list[str], q35: str, tmp_path: Path
) -> None:
    out = ["-o", str(tmp_path / "out")] if options else []
    done = run_cli("extract", q35, *options, *out)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_machine_without_a_map_says_so(unpacked_dir: Path, tmp_path: Path) -> None:
    raw = made(machine="unheard-of", blocks=[{"name": "ram", "size": "4K"}])
    (tmp_path / "image").write_bytes(raw)
    done = run_cli("extract", tmp_path / "image", "--format", "elf", "-o", tmp_path / "core")
    assert done.code == 2
    assert "--format raw" in done.err


def test_a_tebibyte_with_little_in_it_takes_little(tmp_path: Path) -> None:
    run_cli("synth", "-o", tmp_path / "huge", "--block", "pc.ram=1T:random:0.0000001")
    before = os.times()
    done = run_cli(
        "extract", tmp_path / "huge", "--block", "pc.ram", "-o", tmp_path / "out", "--json"
    )
    assert done.code == 0, done.err
    assert os.times().children_user - before.children_user < 10
    (file,) = done.json["files"]
    assert file["bytes"] == 1 << 40
    assert 0 < file["bytes"] - file["holes"] < 1 << 24


# -- ELF ------------------------------------------------------------------------------------------

MACHINES = {
    "q35-dimm": ("X86-64", 2),
    "aarch64-virt": ("AArch64", 1),
    "riscv64-virt": ("RISC-V", 1),
    "s390x-virtio": ("S/390", 1),
    "ppc64-pseries": ("PowerPC64", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_readelf_finds_a_core_of_that_machine(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    core = tmp_path / "core"
    run_cli("extract", location_of(f"sample/{name}", unpacked_dir), "--format", "elf", "-o", core)
    told = subprocess.run(
        ["readelf", "-hlnW", str(core)], capture_output=True, text=True, check=True
    )
    machine, cpus = MACHINES[name]
    assert told.stderr == ""
    assert machine in told.stdout
    assert told.stdout.count("NT_PRSTATUS") == cpus


@pytest.mark.slow
def test_gdb_reads_registers_and_memory_of_the_core(q35: str, tmp_path: Path) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    core = tmp_path / "core"
    run_cli("extract", q35, "--format", "elf", "-o", core)
    script = ["p/x $rip", "p/x $rax", "x/2xg 0x7000", "thread 2", "p/x $rip", "p/x $cs"]
    told = subprocess.run(
        ["gdb", "-nx", "-batch", "-core", str(core), *(f"-ex={line}" for line in script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    with Image.open(q35) as image:
        words = struct.unpack("<2Q", image.physical_memory.read(0x7000, 16))
        assert f"$1 = {image.state.get('cpu/0/env.eip'):#x}" in told
        assert f"$2 = {image.state.get('cpu/0/env.regs')[0]:#x}" in told
        assert all(f"{word:#018x}" in told for word in words)
        assert f"$3 = {image.state.get('cpu/1/env.eip'):#x}" in told


def test_a_vmcoreinfo_note_in_memory_comes_along(tmp_path: Path) -> None:
    text = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\n"
    note = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text
    (tmp_path / "memory").write_bytes(bytes(0x5000) + note.ljust(4096, b"\0"))
    block = {"name": "pc.ram", "size": "1M", "file": str(tmp_path / "memory")}
    spec = {"machine": "pc", "blocks": [block]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert run_cli("synth", tmp_path / "spec.json", "-o", tmp_path / "image").code == 0
    done = run_cli("extract", tmp_path / "image", "--format", "elf", "-o", tmp_path / "core")
    assert done.code == 0, done.err
    head = (tmp_path / "core").read_bytes()[:4096]
    assert note[:12] in head
    assert text in head


def test_raw_blocks_of_a_block_that_is_not_saved_are_refused(unpacked_dir: Path) -> None:
    with Image.open(location_of("sample/pc-ignore-shared-11.1", unpacked_dir)) as image:
        block = next(block for block in image.blocks if block.ignored)
        with pytest.raises(Exception, match="not in the image"):
            raw_block(image, block)


def test_pyelftools_reads_the_segments(q35: str, tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    core = tmp_path / "core"
    run_cli("extract", q35, "--format", "elf", "-o", core)
    with core.open("rb") as file, Image.open(q35) as image:
        segments = [
            one for one in elffile.ELFFile(file).iter_segments() if one["p_type"] == "PT_LOAD"
        ]
        assert segments
        for segment in segments:
            address = segment["p_paddr"]
            assert segment["p_vaddr"] == address
            assert segment["p_filesz"] == segment["p_memsz"]
            assert segment.data()[:65536] == image.physical_memory.read(address, 65536)
