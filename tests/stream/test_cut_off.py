"""Saves that end among their devices: never complete, never loaded, and the device is named."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import builtins
from fixedram_fmt.summary import summarize
from fixedram_fmt.validation.validator import validate
from support.cut_saves import TAILS, Devices, cut_copy, devices_of, outcomes, stops
from support.real_files import ENTRIES, location_of, unpacked_case

if TYPE_CHECKING:
    from pathlib import Path

#: One of each kind: machines, layouts, containers, with and without a description.
KINDS = (
    "q35-devices", "q35-devices-no-vmdesc", "pc-no-vmdesc", "pc-live", "pc-dirty-bitmap",
    "legacy-stream", "libvirt-fx-sparse", "aarch64-virt", "ppc64-pseries-no-vmdesc",
    "s390x-virtio", "s390x-virtio-no-vmdesc", "loongarch64-virt", "loongarch64-virt-no-vmdesc",
    "riscv64-virt", "m68k-virt",
)  # fmt: skip
FINISHED = [
    name
    for name, entry in ENTRIES.items()
    if not str(entry.get("migration", "")).startswith("failed")
]


def held(devices: Devices, copy: Path, tail: str, count: int, seed: str) -> list[str]:
    """What is wrong about count cuts with a tail; empty: nothing."""
    rng, wrong = random.Random(seed), []
    with cut_copy(devices, copy) as cut:
        for stop in stops(devices, count, seed):
            before = devices.data[: stop - devices.start]
            after = devices.data[len(before) :]
            tail_bytes = TAILS[tail](before, after, rng)
            if (before + tail_bytes).startswith(devices.data[: devices.eof + 1 - devices.start]):
                continue  # by chance nothing is missing
            with Image.open(cut(stop, tail_bytes)) as image:
                if image.complete:
                    wrong.append(f"{stop}: complete")
                if Outcome.LOADS in outcomes(image):
                    wrong.append(f"{stop}: loads")
                inside = devices.section_of(stop)
                if inside and (image.ends_in is None or image.ends_in.label != inside.label):
                    wrong.append(f"{stop}: not in {inside.label}")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_is_incomplete_and_names_the_device(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    devices = devices_of(location_of(f"sample/{kind}", unpacked_dir))
    for tail in ("nothing", "a page's zeros", "noise"):
        assert not held(devices, tmp_path / "cut", tail, 4, kind)


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("tail", ["nothing", "a page's zeros", "many zeros", "noise"])
@pytest.mark.parametrize("name", FINISHED)
def test_two_hundred_cuts_of_every_image(
    name: str, tail: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    devices = devices_of(location_of(name, unpacked_dir))
    cuts = 200 if tail == "nothing" else 20
    assert not held(devices, tmp_path / "cut", tail, cuts, name)


# -- what made 0.1.0 call such files complete -----------------------------------------------------

#: The footer of section 0 and EOF, as guest addresses in the state of an xhci hold it.
LOOKS_LIKE_AN_END = b"\x7e\0\0\0\0\0"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["q35-devices", "q35-devices-no-vmdesc", "aarch64-virt"])
def test_bytes_of_a_device_that_look_like_an_end_are_none(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    devices = devices_of(location_of(f"sample/{kind}", unpacked_dir))
    rng = random.Random(kind)
    data = bytearray(devices.data)
    for one in devices.sections:
        if (one.body_length or 0) > 100 and one.name != "globalstate":
            place = one.body_offset - devices.start + rng.randrange((one.body_length or 0) - 6)
            data[place : place + 6] = LOOKS_LIKE_AN_END
    planted = replace(devices, data=bytes(data))
    assert not held(planted, tmp_path / "cut", "nothing", 25, kind)
    with cut_copy(planted, tmp_path / "whole") as cut:
        tail = planted.data[planted.eof - planted.start :]
        with Image.open(cut(planted.eof, tail)) as image:
            assert image.complete
            assert [one.offset for one in image.sections if one.full] == [
                one.offset for one in devices.sections
            ]


@pytest.mark.slow
def test_save_of_a_report_is_cut_in_its_last_device(unpacked_dir: Path) -> None:
    with Image.open(unpacked_case("cut-in-devices-q35.save", unpacked_dir)) as image:
        assert not image.complete
        assert outcomes(image) == {Outcome.REFUSES}
        assert image.ends_in is not None
        assert image.ends_in.label == "0000:00:02.3:00.0/virtio-rng #0"
        assert "TRAILING" not in {record.kind.name for record in image.known_records()}


# -- a file that is used again ---------------------------------------------------------------------


def older_save(devices: Devices, rng: random.Random) -> bytes:
    """The rest of an older save of the guest, whose devices lay elsewhere in the file."""
    first = rng.randrange(len(devices.sections) // 2)
    return devices.data[devices.sections[first].offset - devices.start :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["q35-devices-no-vmdesc", "pc-no-vmdesc", "s390x-virtio"])
def test_cut_save_over_an_older_one_is_incomplete(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    """The older one begins with sections: every device of the cut one ends nowhere, or in it."""
    devices = devices_of(location_of(f"sample/{kind}", unpacked_dir))
    rng, found = random.Random(kind), []
    middle = devices.sections[len(devices.sections) // 2].offset
    with cut_copy(devices, tmp_path / "cut") as cut:
        for stop in rng.sample(range(middle, devices.eof), 10):
            inside = devices.section_of(stop)
            with Image.open(cut(stop, older_save(devices, rng))) as image:
                found.append((image.complete, Outcome.LOADS in outcomes(image)))
                if inside:
                    assert image.ends_in is not None
                    assert image.ends_in.label == inside.label
    assert set(found) == {(False, False)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["q35-devices", "q35-devices-no-vmdesc", "pc-no-vmdesc"])
def test_whole_save_over_an_older_longer_one_is_complete_and_nothing_is_cut(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    devices = devices_of(location_of(f"sample/{kind}", unpacked_dir))
    older = devices.data[devices.sections[3].body_offset - devices.start :]
    with cut_copy(devices, tmp_path / "cut") as cut:
        location = cut(devices.start + len(devices.data), older)
        with Image.open(location) as image:
            assert image.complete
            ends = [(one.offset, one.body_length) for one in image.sections if one.full]
            assert ends == [(one.offset, one.body_length) for one in devices.sections]
            assert outcomes(image) == {Outcome.LOADS}
            (fix,) = (one.fix for one in validate(image).findings if one.rule.id == "S18")
            assert fix.startswith("leave them")


@pytest.mark.parametrize(
    ("tail", "advice"),
    [(b"\xffjunk of nobody" * 9, "cut the file off"), (b"QFI\xfb" + bytes(99), "leave them")],
)
def test_advice_on_what_follows_depends_on_whose_it_is(
    tail: bytes, advice: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    devices = devices_of(location_of("sample/pc-no-vmdesc", unpacked_dir))
    with (
        cut_copy(devices, tmp_path / "cut") as cut,
        Image.open(cut(devices.start + len(devices.data), tail)) as image,
    ):
        assert image.complete
        (fix,) = (one.fix for one in validate(image).findings if one.rule.id == "S18")
        assert fix.startswith(advice)


# -- an end between two sections -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["q35-devices", "pc-no-vmdesc", "ppc64-pseries", "m68k-virt"])
def test_zeros_where_a_section_should_begin_are_no_end(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    """QEMU takes them for EOF and loads what there is."""
    devices = devices_of(location_of(f"sample/{kind}", unpacked_dir))
    with cut_copy(devices, tmp_path / "cut") as cut:
        for one in devices.sections[1::7]:
            with Image.open(cut(one.offset, bytes(4096))) as image:
                assert not image.complete
                assert outcomes(image) == {Outcome.WRONG_MEMORY}
                assert [f.rule.id for f in validate(image).findings if f.rule.id[0] == "S"] == [
                    "S21"
                ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_junk_after_a_whole_save_are_no_alarm(
    kind: str, unpacked_dir: Path, tmp_path: Path
) -> None:
    location = location_of(f"sample/{kind}", unpacked_dir)
    devices = devices_of(location)
    stop = devices.start + len(devices.data)
    with Image.open(location) as whole:
        # Not every QEMU has the machine of each.
        sound = outcomes(whole)
    assert Outcome.LOADS in sound
    with cut_copy(devices, tmp_path / "cut") as cut:
        for tail in (bytes(-stop % 4096), bytes(100_000), random.Random(1).randbytes(9000)):
            with Image.open(cut(stop, tail)) as image:
                assert image.complete
                assert outcomes(image) == sound


def test_info_says_in_words_where_a_save_ends(unpacked_dir: Path, tmp_path: Path) -> None:
    devices = devices_of(location_of("sample/q35-devices", unpacked_dir))
    xhci = next(one for one in devices.sections if one.name.endswith("xhci"))
    with cut_copy(devices, tmp_path / "cut") as cut:
        with Image.open(cut(xhci.body_offset + 700, b"")) as image:
            stopped = summarize(image, "cut").stopped
        assert stopped is not None
        assert stopped.summary == (
            f"the save ends inside {xhci.label}, which begins at offset {xhci.offset:#x}; "
            "the guest was not completely saved"
        )
        assert builtins(stopped.section) == {
            "id": xhci.section_id, "name": xhci.name, "instance_id": 0,
            "offset": xhci.offset, "inside": True,
        }  # fmt: skip
        with Image.open(cut(xhci.offset, b"")) as image:
            stopped = summarize(image, "cut").stopped
        assert stopped is not None
        assert stopped.summary.startswith("the save ends after ")


@pytest.mark.slow
def test_global_state_has_the_length_that_ends_are_judged_by(unpacked_dir: Path) -> None:
    for kind in KINDS:
        last = devices_of(location_of(f"sample/{kind}", unpacked_dir)).sections[-1]
        assert (last.name, last.body_length) == ("globalstate", 104)
