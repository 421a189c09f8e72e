"""A description of another image: what it fits, what it does not, and what is said of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixedram_fmt import Image
from fixedram_fmt.vmstate.description import Description
from fixedram_fmt.vmstate.machine import machine_state
from support.builders import StreamBuilder, device, open_bytes, uint
from support.real_files import ENTRIES, location_of, without_description

#: Every image with a description, but one a machine type is enough.
TWINS = [
    name
    for name in (
        *("sample/pc-once", "sample/q35-dimm", "sample/aarch64-virt", "sample/riscv64-virt"),
        *("sample/ppc64-pseries", "sample/m68k-virt", "sample/microvm-uuid", "sample/s390x-virtio"),
    )
    if name in ENTRIES
]


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_an_image_without_its_description_is_read_with_its_own_from_elsewhere(
    name: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    path = Path(location_of(name, unpacked_dir))
    with Image.open(path) as whole:
        assert whole.vmdesc is not None
        cut = without_description(path, whole.vmdesc.offset, tmp_path / "cut")
        donor = Description.of_image(whole)
        with Image.open(cut) as image:
            assert image.vmdesc is None
            assert all(one.structure is None for one in image.state.devices[1:])
            state = machine_state(image, donor=donor)
            assert not state.notes
            own = [(one.path, one.fields) for one in whole.state.devices]
            assert [(one.path, one.fields) for one in state.devices] == own


def test_a_twin_with_more_cpus_lends_its_structure(unpacked_dir: Path) -> None:
    with (
        Image.open(location_of("sample/pc-no-vmdesc", unpacked_dir)) as image,
        Image.open(location_of("sample/pc-live", unpacked_dir)) as donor,
    ):
        state = machine_state(image, donor=Description.of_image(donor))
        assert not state.notes
        assert state.get("globalstate/runstate").rstrip(b"\0") in {b"paused", b"running"}
        assert state.get("cpu/env.cr[0]") & 1


def test_another_machine_s_description_is_told_where_it_does_not_fit(unpacked_dir: Path) -> None:
    with (
        Image.open(location_of("sample/pc-no-vmdesc", unpacked_dir)) as image,
        Image.open(location_of("sample/q35-dimm", unpacked_dir)) as donor,
    ):
        state = machine_state(image, donor=Description.of_image(donor))
        told = {note.path: note.message for note in state.notes}
        assert "does not describe it" in told["0000:00:01.0/PIIX3"]
        assert "does not fit" in told["PCIBUS"]
        assert state.get("timer/cpu_clock_offset")


# -- subsections that come and go -----------------------------------------------------------------


def _sub(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"vmsd_name": name, "version": 1, "fields": list(fields)}


def _header(name: bytes) -> bytes:
    return bytes([5, len(name)]) + name + b"\0\0\0\1"


def _saved(body: bytes) -> Image:
    raw = StreamBuilder().header().configuration(b"pc").full(3, b"dev", body).eof().file()
    return open_bytes(raw)


def described(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {**device(name, 0), "fields": fields}


DONOR_DEVICE = described(
    "dev",
    [uint("a", 1), {"name": "s", "type": "struct", "size": 11, "struct": {
        "vmsd_name": "in", "version": 1, "fields": [uint("b", 1)],
        "subsections": [_sub("in/x")],
    }}, uint("c", 1)],
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            b"\1\2" + _header(b"in/x") + b"\3",
            {"a": 1, "s": {"b": 2, "in/x": {}}, "c": 3},
        ),
        # gone from inside a structure: what follows moves up
        (b"\1\2\3", {"a": 1, "s": {"b": 2}, "c": 3}),
    ],
)
def test_a_subsection_that_is_missing_or_there_moves_what_follows(
    body: bytes, fields: dict[str, Any]
) -> None:
    donor = open_bytes(
        StreamBuilder()
        .header()
        .configuration(b"pc")
        .full(3, b"dev", b"\1\2" + _header(b"in/x") + b"\3")
        .described(DONOR_DEVICE)
        .file()
    )
    state = machine_state(_saved(body), donor=Description.of_image(donor))
    found = state.value("dev")
    assert not state.notes
    assert found is not None
    assert found.value == fields


def test_a_body_with_bytes_left_over_is_kept_and_told() -> None:
    donor = open_bytes(
        StreamBuilder().header().configuration(b"pc").full(3, b"dev", b"\1")
        .described(described("dev", [uint("a", 1)])).file()
    )  # fmt: skip
    state = machine_state(_saved(b"\1\2\3\4"), donor=Description.of_image(donor))
    assert [note.path for note in state.notes] == ["dev"]
    assert state.get("dev") == b"\1\2\3\4"
