"""What the overview says of a machine is what its QEMU says of it at that moment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

import make
from fixedram_fmt import Image
from fixedram_fmt.vmstate.overview import Overview, overview
from qemu_vm import QemuVM, require_qemu

pytestmark = pytest.mark.qemu

_REGISTERS = {
    # of `info registers`: x86's RIP=..., aarch64's PC=..., riscv's " pc   ...."
    "rip": r"\bRIP=([0-9a-f]+)",
    "rsp": r"\bRSP=([0-9a-f]+)",
    "cr0": r"\bCR0=([0-9a-f]+)",
    "cr3": r"\bCR3=([0-9a-f]+)",
    "efer": r"\bEFER=([0-9a-f]+)",
}


def saved(vm: QemuVM, argv: tuple[str, ...], path: Path) -> tuple[Overview, dict[str, str]]:
    """The overview of an image of a stopped machine, and what its monitor said before."""
    vm.start(argv)
    told = {line: vm.hmp(line) for line in ("info registers -a", "info pci", "info status")}
    vm.set_capabilities("mapped-ram")
    assert vm.migrate_to_file(path) == "completed"
    with Image.open(path) as image:
        return overview(image, image.state), told


DEVICES = (
    *("-device", "virtio-net-pci,mac=52:54:00:12:34:56"),
    *("-device", "virtio-rng-pci,disable-legacy=on"),
    *("-device", "virtio-serial-pci,disable-modern=on"),
    *("-device", "e1000e", "-device", "pcie-root-port,id=rp,slot=3"),
    *("-device", "virtio-balloon-pci,bus=rp"),
)


def test_cpus_pci_and_virtio_of_a_pc(tmp_path: Path) -> None:
    make.write_guests(tmp_path)
    bios = next(word for word in make.SAMPLES["pc-once"].argv if word.endswith(".bin"))
    machine = ("-accel", "tcg", "-machine", "q35", "-smp", "2", "-m", "64", "-S", "-bios", bios)
    with QemuVM(require_qemu("x86_64"), cwd=tmp_path) as vm:
        told, monitor = saved(vm, (*machine, *DEVICES), tmp_path / "image")
    _same_registers(told, monitor["info registers -a"])
    # No firmware has given the root port a bus: QEMU does not list what is after it, qdev does.
    after = [one for one in told.pci if one.address.count(".") > 1]
    assert [one.address for one in after] == ["0000:00:05.0:00.0"]
    seen = re.findall(
        r"Bus +0, device +(\d+), function (\d+):\s+.*?PCI device ([0-9a-f]{4}):([0-9a-f]{4})",
        monitor["info pci"],
    )
    assert {(one.address, one.vendor_id, one.device_id) for one in told.pci} - {
        (one.address, one.vendor_id, one.device_id) for one in after
    } == {
        (f"0000:00:{int(slot):02x}.{function}", int(vendor, 16), int(device, 16))
        for slot, function, vendor, device in seen
    }
    kinds = {one.name.rpartition("/")[2]: one for one in told.virtio}
    assert set(kinds) == {"virtio-net", "virtio-rng", "virtio-console", "virtio-balloon"}
    assert len(kinds["virtio-net"].queues) == 3
    assert [one.value for one in told.run_state] == ["prelaunch"]


def _same_registers(told: Overview, text: str) -> None:
    cpus = re.split(r"CPU#\d+", text)[1:]
    assert len(told.cpus) == len(cpus) == 2
    for cpu, dump in zip(told.cpus, cpus, strict=True):
        registers = {one.name: one.value for one in cpu.registers}
        for name, pattern in _REGISTERS.items():
            found = re.search(pattern, dump) or re.search(pattern.replace("R", "E", 1), dump)
            assert found, name
            assert registers[name] == int(found[1], 16), name


@pytest.mark.parametrize(
    ("arch", "machine", "pc"),
    [
        ("aarch64", ("virt", "-cpu", "max"), r"\bPC=([0-9a-f]+)"),
        ("riscv64", ("virt", "-bios", "none"), r"\bpc +([0-9a-f]+)"),
        ("s390x", ("s390-ccw-virtio",), r"PSW=mask [0-9a-f]+ addr ([0-9a-f]+)"),
        ("ppc64", ("pseries",), r"NIP ([0-9a-f]+)"),
        ("loongarch64", ("virt",), r"PC=([0-9a-f]+)"),
        ("m68k", ("virt",), r"PC = ([0-9a-f]+)"),
    ],
)
def test_the_program_counter_of_other_machines(
    arch: str, machine: tuple[str, ...], pc: str, tmp_path: Path
) -> None:
    argv = ("-accel", "tcg", "-m", "1G", "-S", "-machine", *machine)
    with QemuVM(require_qemu(arch)) as vm:
        vm.start(argv)
        dump = vm.hmp("info registers")
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
    with Image.open(tmp_path / "image") as image:
        cpu = overview(image, image.state).cpus[0]
    found = re.search(pc, dump)
    assert found, dump
    assert cpu.registers[0].value == int(found[1], 16)
    assert cpu.registers[0].path.startswith("cpu/")


def test_the_clock_is_the_one_the_machine_was_started_with(tmp_path: Path) -> None:
    base = ("-rtc", "base=2031-05-06T07:08:09,clock=vm", "-accel", "tcg", "-S", "-m", "32")
    for arch, machine in (("x86_64", "pc"), ("aarch64", "virt")):
        with QemuVM(require_qemu(arch)) as vm:
            vm.start(("-machine", machine, *base))
            vm.set_capabilities("mapped-ram")
            assert vm.migrate_to_file(tmp_path / arch) == "completed"
        with Image.open(tmp_path / arch) as image:
            clocks = {one.name: one.value for one in overview(image, image.state).clocks}
        assert clocks["RTC time"] == "2031-05-06 07:08:09"


def test_queues_that_a_driver_has_set_up(tmp_path: Path) -> None:
    """The monitor's view of a virtio queue (x-query-virtio-queue-status), driver or not."""
    argv = ("-accel", "tcg", "-machine", "pc", "-m", "32", "-S", "-device", "virtio-rng-pci,id=r")
    with QemuVM(require_qemu("x86_64")) as vm:
        vm.start(argv)
        listed = cast("list[dict[str, Any]]", vm.execute("x-query-virtio"))
        path = next(one["path"] for one in listed if one["name"] == "virtio-rng")
        status = cast(
            "dict[str, Any]",
            vm.execute("x-query-virtio-queue-status", {"path": path, "queue": 0}),
        )
        vm.set_capabilities("mapped-ram")
        assert vm.migrate_to_file(tmp_path / "image") == "completed"
    with Image.open(tmp_path / "image") as image:
        (device,) = overview(image, image.state).virtio
    assert len(device.queues) == 1
    queue = device.queues[0]
    assert (queue.size, queue.desc) == (status["vring-num"], status["vring-desc"])
    assert (queue.avail, queue.used) == (status["vring-avail"], status["vring-used"])
    assert queue.last_avail_idx == status["last-avail-idx"]
