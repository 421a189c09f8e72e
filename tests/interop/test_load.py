"""Images of ours in a real QEMU: it loads them, and its memory is what was meant.

The oracle is QEMU's monitor: pmemsave after the load, compared with memory that the naive reading
of the image gives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import make
from conftest import run_cli
from fixedram_fmt import Image
from qemu_vm import QemuVM, require_qemu
from sample_files import read_manifest, sample_path, unpack
from support.memory import block_memory

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu


@dataclass(frozen=True)
class Guest:
    """A machine to load into: where its RAM is, and what the block is called."""

    arch: str
    args: tuple[str, ...]
    block: str
    base: int = 0
    target_page_bits: bool = False


GUESTS = {
    "pc": Guest("x86_64", ("-machine", "pc"), "pc.ram"),
    "q35": Guest("x86_64", ("-machine", "q35"), "pc.ram"),
    "microvm": Guest("x86_64", ("-machine", "microvm"), "microvm.ram"),
    "virt": Guest(
        "aarch64", ("-machine", "virt", "-cpu", "cortex-a57"), "mach-virt.ram", 1 << 30, True
    ),
    "riscv": Guest(
        "riscv64", ("-machine", "virt", "-bios", "none"), "riscv_virt_board.ram", 1 << 31
    ),
}
#: Name in the stream: the prefix of every machine of that kind.
STREAM_NAME = {"riscv": "virt", "q35": "pc-q35"}
MIB = 1 << 20


def load(guest: Guest, image: Path, *, multifd: bool, offset: int = 0) -> tuple[str, bytes]:
    """How the load ended, and 16 MiB of the guest's memory after it."""
    with QemuVM(require_qemu(guest.arch)) as vm:
        vm.start(("-S", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "16",
                  *guest.args, "-incoming", "defer"))  # fmt: skip
        vm.set_capabilities("mapped-ram", *(["multifd"] if multifd else []))
        status = vm.incoming_from_file(image, offset)
        start = guest.base + MIB
        return status, vm.pmemsave(start, guest.base + 16 * MIB)


@pytest.mark.parametrize("multifd", [False, True], ids=["", "multifd"])
@pytest.mark.parametrize("name", GUESTS)
def test_qemu_loads_what_synth_makes_and_has_the_memory_that_was_meant(
    name: str, multifd: bool, tmp_path: Path
) -> None:
    guest = GUESTS[name]
    image = tmp_path / "image"
    made = run_cli(
        "synth", "-o", image, "--machine", STREAM_NAME.get(name, name),
        "--block", f"{guest.block}=16M:counter:0.3", "--rounds", "3", "--json",
        *(["--multifd"] if multifd else []),
        *(["--target-page-bits"] if guest.target_page_bits else []),
    )  # fmt: skip
    assert made.code == 0, made.err
    with Image.open(image) as opened:
        meant = block_memory(opened, opened.blocks[0])
    assert len(meant) == 16 * MIB
    assert any(meant[MIB:])
    status, memory = load(guest, image, multifd=multifd)
    assert status == "completed"
    assert memory == meant[MIB:]


def reload(name: str, image: Path, *, offset: int = 0) -> dict[str, str]:
    """Load into the machine of a sample; hashes of memory, and of device state saved again."""
    sample, entry = make.SAMPLES[name], read_manifest()[name]
    folder = image.parent
    make.write_guests(folder)
    with QemuVM(require_qemu(sample.arch), cwd=folder) as vm:
        vm.start((*sample.argv, "-incoming", "defer"))
        vm.set_capabilities(*sample.capabilities)
        assert vm.incoming_from_file(image, offset) == "completed"
        hashes = {
            f"{part['start']:#x}": vm.pmemsave_sha256(part["start"], part["end"])
            for part in entry["guest_physical_sha256"]
        }
        assert hashes == {
            f"{part['start']:#x}": part["sha256"] for part in entry["guest_physical_sha256"]
        }
        again = folder / "again"
        assert vm.migrate_to_file(again) == "completed"
    with Image.open(again) as opened:
        raw = again.read_bytes()
        for section in opened.sections:
            if section.full and section.body_length:
                stop = section.body_offset + section.body_length
                body = raw[section.body_offset : stop]
                hashes[f"{section.name} {section.instance_id}"] = hashlib.sha256(body).hexdigest()
    return hashes


REWRITES = {
    "as it is": [],
    "rebase": ["--rebase", "123457"],
    "libvirt": ["--container", "libvirt"],
    "drop-stale": ["--drop-stale"],
    "align": ["--align", "64K"],
    "byte-order": ["--byte-order", "little"],
}


@pytest.mark.parametrize("name", ["pc-once", "pc-live"])
def test_qemu_has_the_same_memory_and_devices_after_every_rewrite(
    name: str, tmp_path: Path
) -> None:
    entry = read_manifest()[name]
    original = unpack(sample_path(entry), tmp_path / "image")
    expected = reload(name, original)
    assert len(expected) > 20, "memory and every device"
    for words in REWRITES.values():
        copied = tmp_path / "copy"
        assert run_cli("copy", original, "-o", copied, "--force", *words).code == 0
        with Image.open(copied, search=True) as opened:
            offset = opened.container.stream_offset
        assert reload(name, copied, offset=offset) == expected, words


def test_image_cut_out_of_its_container_loads_after_repair(tmp_path: Path) -> None:
    entry = read_manifest()["pc-offset"]
    whole = unpack(sample_path(entry), tmp_path / "whole")
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[entry["stream_offset"] :])
    repaired = tmp_path / "repaired"
    result = run_cli("copy", cut, "-o", repaired, "--rebase", "auto")
    assert result.code == 0
    assert f"{entry['stream_offset']:+,}" in result.err
    reload("pc-offset", repaired)


@pytest.mark.parametrize("name", ["pc-once", "aarch64-virt", "q35-dimm"])
def test_same_spec_as_a_qemu_image_gives_the_same_offsets(name: str, tmp_path: Path) -> None:
    original = unpack(sample_path(read_manifest()[name]), tmp_path / "image")
    theirs = run_cli("info", original, "--json").json
    blocks = [
        word
        for block in theirs["blocks"]
        for word in ("--block", f"{block['name']}={block['used_length']}:zero")
    ]
    spec = tmp_path / "spec.toml"
    parts = theirs["sections"][0]["parts"] - 1
    spec.write_text(f"target_page_bits = {str(name.startswith('aarch64')).lower()}\n")
    made = run_cli(
        "synth", spec, "-o", tmp_path / "ours", "--machine", theirs["machine"], *blocks,
        "--devices-from", original, "--rounds", str(parts), "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    ours = made.json
    for block, other in zip(ours["blocks"], theirs["blocks"], strict=True):
        for key in ("name", "used_length", "page_size", "bitmap_offset", "pages_offset"):
            assert block[key] == other[key]
    assert ours["sections"] == theirs["sections"]
    assert ours["size"] == theirs["size"]
