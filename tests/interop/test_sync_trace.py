"""What a real QEMU traces while it loads with channels, against our timeline of the same image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from conftest import run_cli
from fixedram_fmt.image import Image
from fixedram_fmt.loaders import LOADERS
from fixedram_fmt.multifd.timeline import timeline
from qemu_vm import QemuVM, require_qemu
from two_blocks import BLOCKS, GUEST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu

EVENTS = ("ram_load_start", "ram_load_complete", "multifd_recv_sync_main*")
NAME = re.compile(r"\b(ram_load_start|ram_load_complete|multifd_recv_sync_main\w*)\b")


def traced(image: Path, log: Path, channels: int) -> list[str]:
    """The trace events of a load that completes, in order."""
    with QemuVM(require_qemu("x86_64"), timeout=30) as vm:
        vm.start(
            (*GUEST, *(word for event in EVENTS for word in ("-trace", event)), "-D", str(log))
        )
        vm.set_capabilities("mapped-ram", "multifd")
        vm.set_parameters({"multifd-channels": channels})
        assert vm.incoming_from_file(image) == "completed"
    return NAME.findall(log.read_text())


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("rounds", [1, 4])
def test_real_load_syncs_where_the_timeline_says(
    channels: int, rounds: int, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    options = [word for block in BLOCKS for word in ("--block", block)]
    assert run_cli("synth", "-o", path, *options, "--rounds", str(rounds), "--multifd").code == 0
    with Image.open(path) as image:
        line = timeline(image, LOADERS["qemu-10.0"], channels=channels)
    events = traced(path, tmp_path / "log", channels)
    calls = [event for event in events if event.startswith("ram_load_")]
    assert calls == ["ram_load_start", "ram_load_complete"] * len(line.calls)
    syncs = [event for event in events if event.startswith("multifd_recv_sync_main")]
    signals = [event for event in syncs if event.endswith("_signal")]
    waits = [event for event in syncs if event.endswith("_wait")]
    assert len(signals) == len(waits) == line.syncs * channels
    # All of it within the first ram_load(): behind the list of blocks, whatever comes later.
    assert set(events[1 : 1 + len(syncs)]) == set(syncs)
    assert events[0] == "ram_load_start"
    first = next(iter(line.calls))
    assert [event.action for event in first.events] == ["sync", "none"]
    assert not any(event.action == "sync" for call in line.calls[1:] for event in call.events)
