"""Converted images in a real QEMU: it loads them, and has the memory and devices of the original.

The oracle is QEMU: what its monitor dumps after loading the original, and the device state that it
saves again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

import make
from conftest import run_cli
from fixedram_fmt import Image
from qemu_vm import QemuVM, require_qemu
from sample_files import read_manifest, sample_path, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from make import Sample

pytestmark = pytest.mark.qemu

MAPPED = ("mapped-ram",)
#: Holds the host's time of day: no two loads of one image are the same.
OF_THE_HOUR = {"spapr"}
MULTIFD = ("mapped-ram", "multifd")


def loaded(
    sample: Sample, image: Path, capabilities: Sequence[str], ranges: Sequence[tuple[int, int]]
) -> dict[str, str]:
    """Load into the machine of a sample; hashes of memory, and of device state saved again."""
    with Image.open(image) as opened:
        offset = opened.container.stream_offset
    make.write_guests(image.parent)
    with QemuVM(require_qemu(sample.arch), cwd=image.parent) as vm:
        vm.start((*sample.argv, "-incoming", "defer"))
        vm.set_capabilities(*capabilities)
        assert vm.incoming_from_file(image, offset) == "completed", vm.query_migrate()
        hashes = {f"{start:#x}": vm.pmemsave_sha256(start, stop) for start, stop in ranges}
        again = image.parent / "again"
        assert vm.migrate_to_file(again) == "completed"
    return hashes | devices(again)


def devices(image: Path) -> dict[str, str]:
    with Image.open(image) as opened:
        return {
            f"{section.name} {section.instance_id}": hashlib.sha256(
                opened.source.read_exact(section.body_offset, section.body_length or 0)
            ).hexdigest()
            for section in opened.sections
            if section.full and section.name not in OF_THE_HOUR
        }


def converted(image: Path, *words: str) -> Path:
    """What the command makes of image, without a finding of the validator."""
    out = image.with_name(f"{image.name}.{len(list(image.parent.iterdir()))}")
    result = run_cli("convert", image, "-o", out, *words)
    assert result.code == 0, result.err
    report = run_cli("validate", out, "--json", "--no-multifd")
    assert report.code == 0, report.out
    (entry,) = report.json["images"]
    assert entry["verdict"] == "loads"
    assert {finding["severity"] for finding in entry["findings"]} <= {"note"}
    return out


def save(sample: Sample, folder: Path, name: str = "image") -> tuple[Path, dict[str, int]]:
    """What a real QEMU saves of a sample's guest now, and its blocks."""
    make.write_guests(folder)
    image = folder / name
    with QemuVM(require_qemu(sample.arch), cwd=folder) as vm:
        vm.start(sample.argv)
        make.save(vm, sample, image)
        return image, vm.info_ramblock()


@pytest.mark.parametrize("name", ["legacy-stream", "legacy-xbzrle"])
def test_ordinary_sample_loads_from_fixed_offsets_and_back(name: str, tmp_path: Path) -> None:
    sample, entry = make.SAMPLES[name], read_manifest()[name]
    stream = unpack(sample_path(entry), tmp_path / "stream")
    expected = loaded(sample, stream, sample.capabilities, sample.ranges)
    assert len(expected) > 20, "memory and every device"
    for part in entry["guest_physical_sha256"]:
        assert expected[f"{part['start']:#x}"] == part["sha256"]
    image = converted(stream)
    assert loaded(sample, image, MAPPED, sample.ranges) == expected
    assert loaded(sample, image, MULTIFD, sample.ranges) == expected
    back = converted(image, "--to", "stream")
    assert loaded(sample, back, (), sample.ranges) == expected


@pytest.mark.parametrize("name", ["pc-live", "q35-dimm", "microvm-uuid", "aarch64-virt",
                                  "riscv64-virt", "m68k-virt", "avr-uno", "s390x-virtio",
                                  "ppc64-pseries"])  # fmt: skip
def test_what_qemu_saves_at_fixed_offsets_loads_as_a_stream_and_back(
    name: str, tmp_path: Path
) -> None:
    sample = make.SAMPLES[name]
    image, _ = save(sample, tmp_path)
    others = tuple(word for word in sample.capabilities if word not in MULTIFD)
    expected = loaded(sample, image, sample.capabilities, sample.ranges)
    stream = converted(image, "--to", "stream")
    assert loaded(sample, stream, others, sample.ranges) == expected
    assert loaded(sample, converted(stream), sample.capabilities, sample.ranges) == expected


@pytest.mark.parametrize("capabilities", [(), ("xbzrle",)], ids=["", "xbzrle"])
def test_fresh_live_stream_of_a_writing_guest_is_the_same_memory(
    capabilities: tuple[str, ...], tmp_path: Path
) -> None:
    name = "legacy-xbzrle" if capabilities else "pc-live"
    sample = make._pc("live", "", capabilities=capabilities, rounds=4,
                      parameters=make.SAMPLES[name].parameters)  # fmt: skip
    stream, _ = save(sample, tmp_path)
    expected = loaded(sample, stream, capabilities, sample.ranges)
    image = converted(stream)
    assert loaded(sample, image, MAPPED, sample.ranges) == expected
    assert loaded(sample, image, MULTIFD, sample.ranges) == expected


def test_shared_memory_is_told_from_a_real_stream(tmp_path: Path) -> None:
    """x-ignore-shared: the stream does not say which blocks it leaves out."""
    sample = make._pc(
        "shared", "",
        *("-object", "memory-backend-file,id=ram0,size=24M,mem-path=ram0.bin,share=on"),
        machine="pc,memory-backend=ram0", capabilities=("x-ignore-shared",),
    )  # fmt: skip
    stream, _ = save(sample, tmp_path)
    expected = loaded(sample, stream, sample.capabilities, sample.ranges)
    image = tmp_path / "mapped"
    assert run_cli("convert", stream, "-o", image).code == 0
    with Image.open(image) as opened:
        assert [block.name for block in opened.blocks if block.ignored] == ["ram0"]
        assert opened.capabilities == ["x-ignore-shared", "mapped-ram"]
    back = converted(image, "--to", "stream")
    assert loaded(sample, back, sample.capabilities, sample.ranges) == expected


@pytest.mark.parametrize("extra", ["validate-uuid", "x-ignore-shared"])
@pytest.mark.parametrize("name", ["pc-once", "aarch64-virt"])
def test_configuration_and_description_are_what_qemu_writes(
    name: str, extra: str, tmp_path: Path
) -> None:
    sample = make.SAMPLES[name]
    make.write_guests(tmp_path)
    mapped, stream = tmp_path / "mapped", tmp_path / "stream"
    for image, more in ((mapped, ["mapped-ram"]), (stream, [])):
        with QemuVM(require_qemu(sample.arch), cwd=tmp_path) as vm:
            vm.start((*sample.argv, "-uuid", "9f1c8a52-5a0e-4f83-9c41-0d8b1f5f2a77"))
            vm.set_capabilities(extra, *more)
            assert vm.migrate_to_file(image) == "completed"
    assert around(converted(mapped, "--to", "stream")) == around(stream)
    assert around(converted(stream)) == around(mapped)


def around(image: Path) -> list[tuple[str, bytes]]:
    """Everything outside the sections, in which memory and time have gone on between two saves."""
    with Image.open(image) as opened:
        return [
            (record.path, opened.source.read_exact(record.offset, record.length))
            for record in opened.records()
            if not record.path.startswith(("section", "command"))
        ]
