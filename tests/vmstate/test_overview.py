"""The overview of what is in device state: clocks in every form, and virtio blobs that lie."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixedram_fmt import Image
from fixedram_fmt.vmstate import values
from fixedram_fmt.vmstate.overview.clock import clocks
from fixedram_fmt.vmstate.overview.cpus import cpus
from fixedram_fmt.vmstate.overview.virtio import virtio_devices
from fixedram_fmt.vmstate.state import MachineState
from fixedram_fmt.vmstate.values import Value, toward
from support.builders import open_bytes
from support.real_files import location_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Registers of the MC146818 (hw/rtc/mc146818rtc_regs.h): register B has the form of the others.
SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, REGISTER_B, CENTURY = 0, 2, 4, 7, 8, 9, 11, 0x32
BINARY, HOURS_24, PM = 4, 2, 0x80


def packed(number: int) -> int:
    """Two decimal digits, four bits each."""
    return number // 10 << 4 | number % 10


def cmos_of(told: datetime, form: int) -> dict[int, int]:
    """What the chip's registers hold at a time."""
    hours = told.hour if form & HOURS_24 else (told.hour + 11) % 12 + 1
    numbers = {
        SECONDS: told.second, MINUTES: told.minute, HOURS: hours, DAY: told.day,
        MONTH: told.month, YEAR: told.year % 100, CENTURY: told.year // 100,
    }  # fmt: skip
    held = {at: one if form & BINARY else packed(one) for at, one in numbers.items()}
    if not form & HOURS_24 and told.hour >= 12:
        held[HOURS] |= PM
    return {**held, REGISTER_B: form}


def rtc_time(path: str, registers: dict[int, int]) -> str | None:
    """The time that is told when the image's CMOS holds these registers."""
    with Image.open(path) as image:
        cmos = image.state.value("mc146818rtc/cmos_data")
        assert cmos is not None
        raw = bytearray(image.source.read_exact(0, image.source.size))
        for at, value in registers.items():
            raw[cmos.offset + at] = value
    with open_bytes(bytes(raw)) as image:
        return next(
            (str(fact.value) for fact in clocks(image.state) if fact.name == "RTC time"), None
        )


@pytest.mark.parametrize("form", [0, BINARY, HOURS_24, BINARY | HOURS_24])
@pytest.mark.parametrize("hour", [0, 1, 11, 12, 13, 23])
def test_the_chips_time_is_told_in_whatever_form_it_is_kept(
    form: int, hour: int, unpacked_dir: Path
) -> None:
    told = datetime(2031, 12, 31, hour, 58, 59)
    path = location_of("sample/pc-once", unpacked_dir)
    assert rtc_time(path, cmos_of(told, form)) == told.isoformat(sep=" ")


@pytest.mark.slow
def test_a_date_that_does_not_exist_is_not_told(unpacked_dir: Path) -> None:
    path = location_of("sample/pc-once", unpacked_dir)
    good = cmos_of(datetime(2031, 2, 28), HOURS_24)
    assert rtc_time(path, good) == "2031-02-28 00:00:00"
    assert rtc_time(path, {**good, DAY: packed(30)}) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample/pc-dirty-bitmap", "sample/q35-dimm"])
def test_a_virtio_blob_that_lies_changes_what_is_told_of_its_device_only(
    name: str, unpacked_dir: Path
) -> None:
    with Image.open(location_of(name, unpacked_dir)) as image:
        whole = image.source.read_exact(0, image.source.size)
        sound = list(virtio_devices(image.state))
        blob = image.state.value(sound[0].path)
        assert blob is not None
    # The list of capabilities, then what lies after the configuration space.
    for place in (0x34, 0x35, *range(0x40, 0x70, 7), *range(256, 340, 3)):
        raw = bytearray(whole)
        raw[blob.offset + place] ^= 0xFF
        with open_bytes(bytes(raw)) as image:
            told = list(virtio_devices(image.state))
        assert [one for one in told if one.path != blob.path] == sound[1:]
        for queue in (queue for one in told for queue in one.queues):
            assert 0 < queue.size <= 1 << 15
    raw = bytearray(whole)
    raw[blob.offset : blob.offset + blob.size] = b"\xff" * blob.size
    with open_bytes(bytes(raw)) as image:
        assert list(virtio_devices(image.state)) == sound[1:]


def test_the_work_grows_with_the_vcpus_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0

    def counted(value: Value, goal: str) -> Iterator[Value]:
        nonlocal steps
        steps += 1
        return toward(value, goal)

    monkeypatch.setattr(values, "toward", counted)
    with Image.open(Path(__file__).parents[2] / "samples" / "pc-live.img.xz") as image:
        once = len(list(cpus(image.state)))
        of_one, steps = steps, 0
        many = MachineState(image.state.devices * 16)
        assert once
        assert len(list(cpus(many))) == 16 * once
    assert steps == 16 * of_one
