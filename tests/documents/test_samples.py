"""samples/: the manifest says what is there, and the library reads each as the manifest says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from conftest import SAMPLES, run_cli, sample_entries, unpack
from fixedram_fmt import Image
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.tiling import leaves
from support.memory import block_memory, main_block

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = {entry["name"]: entry for entry in sample_entries()}

#: Guest-physical address at which a machine's RAM begins (hw/arm/virt.c, hw/riscv/virt.c)
RAM_BASE = {"aarch64": 1 << 30, "riscv64": 1 << 31}

#: What a sample is there to show, as a condition on the image.
SHOWS = {
    "s390x-virtio": lambda image: framed(image) >= {"s390-skeys", "s390-storage_attributes"},
    "ppc64-pseries": lambda image: framed(image) == {"spapr/htab"},
    "pc-dirty-bitmap": lambda image: framed(image) == {"dirty-bitmap"},
    "pc-no-vmdesc": lambda image: image.vmdesc is None and "footer" in delimiters(image),
    "microvm-uuid": lambda image: image.uuid is not None,
    "avr-uno": lambda image: image.target_page_size == 256,
    "avr-uno-11.1": lambda image: image.target_page_size == 1024,
    "legacy-xbzrle": lambda image: any(r.kind is Kind.XBZRLE for r in image.records()),
    "pc-ignore-shared-11.1": lambda image: image.blocks[0].ignored,
    "failed-ignore-shared": lambda image: not image.complete,
    "pc-live": lambda image: image.sections[0].parts > 2 and bool(stale(image)),
    "q35-dimm": lambda image: {"ram0", "mem1"} <= {block.name for block in image.blocks},
}


def framed(image: Image) -> set[str]:
    return {section.name for section in image.sections if section.delimited_by == "framing"}


def delimiters(image: Image) -> set[str]:
    return {section.delimited_by for section in image.sections}


def stale(image: Image) -> list[Any]:
    return [
        leaf
        for leaf in leaves(image, deep=True)
        if leaf.kind is Kind.PAGES and leaf.value.state == "stale"
    ]


@pytest.fixture
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ENTRIES[request.param]


@pytest.fixture
def location(entry: dict[str, Any], unpacked_dir: Path) -> str:
    path = unpack(SAMPLES / entry["file"], unpacked_dir / f"sample-{entry['name']}")
    libvirt = entry["name"].startswith("libvirt")
    return (
        f"{path}@{entry['stream_offset']}" if entry["stream_offset"] and not libvirt else str(path)
    )


each = pytest.mark.parametrize("entry", ENTRIES, indirect=True)


def test_manifest_and_folder_agree() -> None:
    assert len(ENTRIES) >= 10
    assert {entry["file"] for entry in ENTRIES.values()} == {
        path.name for path in SAMPLES.glob("*.xz")
    }


@pytest.mark.slow
@each
def test_sample_is_the_one_of_the_manifest(entry: dict[str, Any], location: str) -> None:
    path = location.partition("@")[0]
    with open(path, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
        assert file.tell() == entry["size"]


@each
def test_sample_is_read_as_the_manifest_says(entry: dict[str, Any], location: str) -> None:
    with Image.open(location) as image:
        assert image.container.stream_offset == entry["stream_offset"]
        assert image.complete is (entry["migration"] == "completed")
        if entry["blocks"]:
            assert {block.name: block.used_length for block in image.blocks} == entry["blocks"]
        assert image.notes == []
        shows = SHOWS.get(entry["name"])
        assert shows is None or shows(image)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    [name for name, entry in ENTRIES.items() if entry.get("guest_physical_sha256")],
    indirect=True,
)
def test_memory_is_what_the_monitor_dumped(entry: dict[str, Any], location: str) -> None:
    arch = entry["command"].split()[0].removeprefix("qemu-system-")
    base = RAM_BASE.get(arch, 0)
    with Image.open(location) as image:
        block = main_block(image, entry["command"])
        if block.ignored or not image.complete:
            # The memory lies elsewhere, or its bitmap was never written: nothing may be claimed.
            bitmap = image.bitmap(block)
            assert bitmap is None or bitmap.count() == 0
            return
        memory = block_memory(image, block)
    checked = 0
    for part in entry["guest_physical_sha256"]:
        start, stop = part["start"] - base, part["end"] - base
        if stop <= len(memory):
            checked += 1
            assert hashlib.sha256(memory[start:stop]).hexdigest() == part["sha256"], part
    assert checked


@each
def test_every_byte_has_exactly_one_owner(entry: dict[str, Any], location: str) -> None:
    with Image.open(location) as image:
        at = image.container.stream_offset
        for leaf in leaves(image):
            assert leaf.offset == at
            at = leaf.stop
        assert at == entry["size"] == image.source.size


@pytest.mark.slow
def test_compressed_sample_is_read_as_it_is(unpacked_dir: Path) -> None:
    packed = SAMPLES / ENTRIES["pc-once"]["file"]
    plain = unpack(packed, unpacked_dir / "sample-pc-once")
    ours = run_cli("info", packed, "--json").json
    theirs = run_cli("info", plain, "--json").json
    assert ours["container"].pop("compression") == "xz"
    for volatile in ("path", "file_size", "disk_size"):
        del ours[volatile], theirs[volatile]
    assert ours == theirs
