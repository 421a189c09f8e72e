"""The committed samples are what samples/make.py and samples/guest make today, with real tools."""

from __future__ import annotations

import hashlib
import lzma

import pytest

import build_guest
import make
from qemu_vm import QemuError, QemuVM, file_uri, parse_ramblocks, require_qemu, require_tool
from sample_files import read_manifest, sample_path, unpack

# Quick ones, of several machines; the live one is the only kind whose memory may differ.
REMADE = (
    "pc-once",
    "pc-live",
    "pc-offset",
    "failed-ignore-shared",
    "microvm-uuid",
    "legacy-stream",
    "avr-uno",
    "m68k-virt",
)

# Device state holds clocks and counters, and their JSON description a few names that come and go.
SIZE_TOLERANCE = 65536


@pytest.mark.qemu
@pytest.mark.parametrize("name", REMADE)
def test_a_sample_made_again_means_the_same(name, tmp_path):
    sample = make.SAMPLES[name]
    require_qemu(sample.arch)
    old = read_manifest()[name]
    new = make.make(sample, tmp_path)
    for key in ("blocks", "stream_offset", "migration", "command", "capabilities", "live"):
        assert new[key] == old[key], key
    assert abs(new["size"] - old["size"]) <= SIZE_TOLERANCE
    if not sample.rounds:
        assert new["guest_physical_sha256"] == old["guest_physical_sha256"]


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["pc-once", "pc-live", "pc-offset", "legacy-stream"])
def test_qemu_loads_a_sample_back_into_the_memory_it_dumped(name, tmp_path):
    sample, entry = make.SAMPLES[name], read_manifest()[name]
    binary = require_qemu(sample.arch)
    image = unpack(sample_path(entry), tmp_path / "image")
    make.write_guests(tmp_path)
    with QemuVM(binary, cwd=tmp_path) as vm:
        vm.start((*sample.argv, "-incoming", "defer"))
        vm.set_capabilities(*sample.capabilities)
        assert vm.incoming_from_file(image, entry["stream_offset"]) == "completed"
        for part in entry["guest_physical_sha256"]:
            assert vm.pmemsave_sha256(part["start"], part["end"]) == part["sha256"]


@pytest.mark.qemu
def test_a_refused_image_is_a_failed_migration_that_says_why(tmp_path):
    with QemuVM(require_qemu("avr")) as vm:
        vm.start(("-machine", "uno", "-S", "-incoming", "defer"))
        (tmp_path / "image").write_bytes(b"not a migration stream")
        assert vm.incoming_from_file(tmp_path / "image") == "failed"
        assert "error-desc" in vm.query_migrate()


@pytest.mark.qemu
def test_a_qemu_that_does_not_start_is_an_error_with_its_words():
    with (
        QemuVM(require_qemu("avr")) as vm,
        pytest.raises(QemuError, match="unsupported machine type"),
    ):
        vm.start(("-machine", "no-such-machine"))


@pytest.mark.qemu
def test_a_qemu_that_goes_away_ends_the_wait_at_once():
    with QemuVM(require_qemu("avr")) as vm:
        vm.start(("-machine", "uno", "-S"))
        vm.execute("quit")
        with pytest.raises(QemuError, match="went away"):
            vm.wait_event(lambda name, _: name == "NEVER")
        assert vm.wait_exit() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(read_manifest()))
def test_every_committed_file_is_the_one_the_manifest_describes(name):
    entry = read_manifest()[name]
    digest, size = hashlib.sha256(), 0
    with lzma.open(sample_path(entry)) as packed:
        while piece := packed.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    assert (size, digest.hexdigest()) == (entry["size"], entry["sha256"])


def test_every_sample_of_the_table_is_committed():
    entries = read_manifest().values()
    made = {e["name"]: e["shows"] for e in entries if e["made_by"] == "samples/make.py"}
    assert made == {name: sample.shows for name, sample in make.SAMPLES.items()}


def test_the_committed_guests_are_what_their_source_gives():
    require_tool("as")
    require_tool("ld")
    assert build_guest.build() == build_guest.load()


def test_info_ramblock_is_read_whatever_the_names_and_units():
    text = (
        "              Block Name    PSize              Offset               Used"
        "              Total                HVA  RO\n"
        "      /rom@etc/acpi/rsdp    4 KiB  0x000000000a240000 0x0000000000001000"
        " 0x0000000000001000 0x00007f00a8e00000  ro\n"
        "               odd  name    2 MiB  0x0000000000000000 0x0000000002000000"
        " 0x0000000004000000 0x00007f00a9e00000  rw\n"
    )
    assert parse_ramblocks(text) == {"/rom@etc/acpi/rsdp": 0x1000, "odd  name": 0x2000000}


def test_a_file_uri_names_the_offset_only_when_there_is_one():
    assert file_uri("image") == "file:image"
    assert file_uri("image", 70001) == "file:image,offset=70001"
