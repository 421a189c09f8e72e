"""What is shipped of a QEMU fits what the same QEMU wrote of the devices of real images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixedram_fmt import Image
from fixedram_fmt.knowledge import KnownField, KnownVmstate, known_in
from fixedram_fmt.vmstate.description import Description
from support.real_files import ENTRIES, location_of

pytestmark = pytest.mark.slow

#: What boards, buses and CPUs register by hand, which is in no dump.
BY_HAND = {
    "PCIBUS", "acpi_build", "apic", "cpu", "cpu_common", "globalstate", "i2c_bus", "s390_css",
    "spapr", "spapr_cpu", "spapr_iommu", "timer", "virt_acpi_build",
}  # fmt: skip


def made_by(entry: dict[str, Any]) -> tuple[str, str]:
    """Version and architecture of the QEMU of an entry of a manifest."""
    qemu = entry.get("qemu", "")
    numbers = [qemu["major"], qemu["minor"]] if isinstance(qemu, dict) else qemu.split(".")[:2]
    program = re.search(r"qemu-system-(\w+)", str(entry.get("command")))
    return ".".join(map(str, numbers)), program[1] if program else ""


#: Images that have a description, of programs whose devices are known.
OURS = {
    name: known
    for name, entry in ENTRIES.items()
    if (known := known_in(made_by(entry)[0])) is not None
    and made_by(entry)[1] in known.dumped
    and entry["migration"] == "completed"
    and "no-vmdesc" not in name
}


def contradictions(known: KnownVmstate, told: dict[str, Any], where: str) -> Iterator[str]:
    """Where a description and what is known of its structure differ."""
    if (known.name, known.version_id) != (told["vmsd_name"], told["version"]):
        yield f"{where} is {told['vmsd_name']} {told['version']}"
    fields = known.described_fields()
    places = list(fields)
    last = -1
    for field in told.get("fields", []):
        name = field["name"]
        if name not in fields:
            yield f"{where}/{name} is not known"
            continue
        if places.index(name) < last:
            yield f"{where}/{name} is out of order"
        last = places.index(name)
        yield from differing(fields[name], field, f"{where}/{name}")
    names = {field["name"] for field in told.get("fields", [])}
    for name, one in fields.items():
        always = not one.conditional and one.version_id <= known.version_id
        if always and one.count not in (None, 0) and name not in names:
            yield f"{where}/{name} is missing"
    inner = {one.name: one for one in known.subsections}
    for subsection in told.get("subsections", []):
        if subsection["vmsd_name"] in inner:
            name = subsection["vmsd_name"]
            yield from contradictions(inner[name], subsection, f"{where}//{name}")
        else:
            yield f"{where}//{subsection['vmsd_name']} is not known"


def differing(known: KnownField, told: dict[str, Any], where: str) -> Iterator[str]:
    if "struct" in told:
        if known.structure is None:
            yield f"{where} is a structure"
        else:
            yield from contradictions(known.structure, told["struct"], where)
    elif known.structure is None and known.size not in (0, told["size"]):
        yield f"{where} is {known.size} bytes"
    elif known.structure is not None and told["type"] not in ("tmp", "qlist"):
        yield f"{where} is no structure"
    if known.count is not None and told.get("array_len", known.count) != known.count:
        yield f"{where} has {told['array_len']} elements"


@pytest.mark.parametrize("name", OURS)
def test_devices_of_real_images_are_as_known(name: str, unpacked_dir: Path) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        description = Description.of_image(image)
        assert description is not None
        devices = [one for one in description.as_json()["devices"] if "vmsd_name" in one]
    vmstates = OURS[name].vmstates(made_by(ENTRIES[name])[1])
    assert {one["vmsd_name"] for one in devices} - vmstates.keys() <= BY_HAND
    compared = 0
    for device in devices:
        if candidates := vmstates.get(device["vmsd_name"]):
            found = [list(contradictions(one, device, device["name"])) for one in candidates]
            assert min(found, key=len) == []
            compared += 1
    assert compared or len(devices) < 5


def test_a_device_of_another_version_is_told_apart(unpacked_dir: Path) -> None:
    name = "sample/loongarch64-virt"
    other = known_in("11.1")
    assert other is not None
    assert OURS[name].version == "10.0"
    with Image.open(location_of(name, unpacked_dir)) as image:
        description = Description.of_image(image)
        assert description is not None
        told = next(one for one in description.as_json()["devices"] if one["name"] == "cpu")
    (cpu,) = other.vmstates("loongarch64")["cpu"]
    found = list(contradictions(cpu, told, "cpu"))
    assert "cpu is cpu 3" in found
    assert "cpu/env.CSR_CRMD is not known" in found
