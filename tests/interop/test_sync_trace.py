"""What a real QEMU traces while it loads with channels, against our timeline of the same image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import make
from conftest import SAMPLES, run_cli, unpack
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.timeline import Timeline, timeline
from qemu_vm import QemuVM, require_qemu
from support.two_blocks import BLOCKS, GUEST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.qemu

EVENTS = ("ram_load*", "multifd_recv_sync*")
NAME = re.compile(r"^(?:\d+@[\d.]+:)?(ram_load_\w+|multifd_recv_sync_main\w*)\b", re.MULTILINE)
#: In the log, but about neither a call of ram_load() nor a sync of main with the channels.
OTHERS = ("ram_load_loop", "ram_load_postcopy_loop")


def traced(guest: Sequence[str], image: Path, channels: int) -> list[str]:
    """The trace events of a load that completes, in order."""
    log = image.parent / "log"
    words = [word for event in EVENTS for word in ("-trace", event)]
    with QemuVM(require_qemu("x86_64"), timeout=30, cwd=image.parent) as vm:
        vm.start((*guest, *words, "-D", str(log)))
        vm.set_capabilities("mapped-ram", "multifd")
        vm.set_parameters({"multifd-channels": channels})
        assert vm.incoming_from_file(image) == "completed"
    return [name for name in NAME.findall(log.read_text()) if name not in OTHERS]


def expected(line: Timeline) -> list[str]:
    """What QEMU would trace if it did what the timeline says: each call, each channel of a sync."""
    events: list[str] = []
    for call in line.calls:
        events.append("ram_load_start")
        for sync in line.syncs:
            if sync.event in call.events:
                events += ["multifd_recv_sync_main_signal"] * sync.waits
                events += ["multifd_recv_sync_main_wait"] * sync.waits
        events.append("ram_load_complete")
    return events


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("rounds", [1, 4])
def test_real_load_of_an_image_of_ours_traces_what_the_timeline_says(
    channels: int, rounds: int, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    options = [word for block in BLOCKS for word in ("--block", block)]
    assert run_cli("synth", "-o", path, *options, "--rounds", str(rounds), "--multifd").code == 0
    with Image.open(path) as image:
        line = timeline(image, LOADERS["qemu-10.0"], channels=channels)
    assert len(line.calls) == rounds + 2
    assert traced(GUEST, path, channels) == expected(line)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("name", ["pc-live", "pc-live-multifd-flush"])
def test_real_load_of_a_live_save_traces_what_the_timeline_says(
    name: str, channels: int, tmp_path: Path
) -> None:
    path = unpack(SAMPLES / f"{name}.img.xz", tmp_path / "image")
    make.write_guests(tmp_path)
    with Image.open(path) as image:
        # The property is the receiver's here: QEMU syncs once, whatever it says.
        lines = [
            timeline(image, LOADERS["mapped-ram"], channels=channels, property_on=on)
            for on in (False, True)
        ]
    assert len(lines[0].calls) > 2
    assert len(lines[0].syncs) == 1
    events = traced((*make.SAMPLES[name].argv, "-incoming", "defer"), path, channels)
    assert events == expected(lines[0]) == expected(lines[1])
