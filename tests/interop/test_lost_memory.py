"""Memory without bits, as a real QEMU leaves it: a cleared DIMM, background snapshots, none."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from fixedram_fmt import Image
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.validation import Receiver, validate
from qemu_vm import QemuError, QemuVM, file_uri, require_qemu

pytestmark = pytest.mark.qemu

_PC = ("-machine", "pc", "-m", "16M,slots=1,maxmem=64M")
_DIMM = ("-object", "memory-backend-ram,id=mem1,size=8M", "-device", "pc-dimm,memdev=mem1")


def say(monitor: BinaryIO, line: str) -> None:
    monitor.write(line.encode() + b"\n")
    while (answer := monitor.readline()).startswith(b"IRQ"):
        pass
    assert answer.startswith(b"OK")


def syncs(vm: QemuVM) -> int:
    """How often the dirty pages were collected; nothing is told before the set-up is done."""
    ram = vm.query_migrate().get("ram")
    return int(ram["dirty-sync-count"]) if isinstance(ram, dict) else 0


def save_with_cleared_dimm(image: Path) -> None:
    """A live save during which the guest's 8 MiB at 4 GiB are filled, then cleared."""
    path = image.with_name("qtest")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        accepted: list[socket.socket] = []
        waiting = threading.Thread(target=lambda: accepted.append(server.accept()[0]), daemon=True)
        waiting.start()
        with QemuVM(require_qemu("x86_64")) as vm:
            # TCG of QEMU 10.0 dies of such writes (tlb_reset_dirty_range_all).
            vm.start(("-accel", "kvm", "-S", "-qtest", f"unix:{path}", *_PC, *_DIMM))
            waiting.join(10)
            with accepted[0], accepted[0].makefile("rwb", buffering=0) as monitor:
                vm.cont()
                say(monitor, f"memset {1 << 32:#x} {8 << 20:#x} 0x41")
                vm.set_capabilities("mapped-ram")
                vm.set_parameters({"max-bandwidth": 4 << 20, "downtime-limit": 1})
                vm._forget_events()
                vm.execute("migrate", {"uri": file_uri(image)})
                deadline = time.monotonic() + 30
                fill = 1
                while syncs(vm) < 2:
                    assert time.monotonic() < deadline
                    fill = fill % 200 + 1
                    say(monitor, f"memset 0x200000 0x100000 {fill:#x}")
                say(monitor, f"memset {1 << 32:#x} {8 << 20:#x} 0x0")
                vm.set_parameters({"max-bandwidth": 1 << 30, "downtime-limit": 100_000})
                assert vm._wait_migration() == "completed"


@pytest.mark.skipif(not os.access("/dev/kvm", os.W_OK), reason="no /dev/kvm")
def test_block_that_a_running_guest_cleared_is_no_lost_bitmap(tmp_path: Path) -> None:
    path = tmp_path / "image"
    save_with_cleared_dimm(path)
    with Image.open(str(path)) as image:
        dimm = next(block for block in image.blocks if block.name == "mem1")
        bitmap = image.bitmap(dimm)
        assert bitmap is not None
        assert bitmap.count() == 0
        assert image.source.read_exact(dimm.pages_offset, 2) == b"AA"
        report = validate(image, deep=True)
        assert report.verdict(LOADERS["qemu-10.0"], multifd=False).outcome is Outcome.LOADS
    told = {one.rule.id for one in report.findings}
    assert "B08" in told
    assert "B07" not in told


@pytest.mark.parametrize("mapped", [False, True])
def test_background_snapshot_is_sound_unless_it_is_mapped(mapped: bool, tmp_path: Path) -> None:
    path, caps = tmp_path / "image", ["mapped-ram"] if mapped else []
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(("-accel", "tcg", "-machine", "pc", "-m", "16M"))
        time.sleep(1)  # the firmware fills memory, and kvmvapic finds its ROM
        try:
            vm.set_capabilities("background-snapshot", *caps)
        except QemuError as error:
            pytest.skip(f"no background snapshots here: {error}")
        assert vm.migrate_to_file(path) == "completed"
    with Image.open(str(path)) as image:
        assert image.complete
        report = validate(image)
        verdict = report.verdict(LOADERS["qemu-10.0"], multifd=False)
    found = {one.rule.id: one for one in report.findings}
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(("-S", "-accel", "tcg", "-machine", "pc", "-m", "16M", "-incoming", "defer"))
        vm.set_capabilities(*caps)
        status = vm.incoming_from_file(path)
        stderr = vm.stderr
    assert status == ("failed" if mapped else "completed")
    assert verdict.outcome is (Outcome.REFUSES if mapped else Outcome.LOADS)
    assert verdict.message in stderr
    assert ("B03" in found) is mapped
    if mapped:
        assert "background snapshot" in found["B03"].message
    else:
        assert "S16" not in found


@pytest.mark.parametrize("mapped", [False, True])
def test_machine_without_memory_is_whole(mapped: bool, tmp_path: Path) -> None:
    path, caps = tmp_path / "image", ["mapped-ram"] if mapped else []
    none = ("-S", "-machine", "none", "-nodefaults", "-display", "none")
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(none)
        vm.set_capabilities(*caps)
        assert vm.migrate_to_file(path) == "completed"
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start((*none, "-incoming", "defer"))
        vm.set_capabilities(*caps)
        assert vm.incoming_from_file(path) == "completed"
    with Image.open(str(path)) as image:
        found = validate(image).findings
        there = validate(image, Receiver(blocks={"pc.ram": 1 << 24})).findings
    assert not found
    assert {"R05"} <= {one.rule.id for one in there}
