"""The overview of a machine's state for people: CPUs, run state, clocks, PCI, virtio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from fixedram_cli.render.terminal import console, count, visible

if TYPE_CHECKING:
    from rich.console import Console

    from fixedram_fmt.vmstate.overview.cpus import Cpu
    from fixedram_fmt.vmstate.overview.fact import Fact
    from fixedram_fmt.vmstate.overview.overview import Overview
    from fixedram_fmt.vmstate.overview.pci import PciDevice
    from fixedram_fmt.vmstate.overview.virtio import VirtioDevice

__all__ = ["print_overview"]

_LABEL = 20
_PATH_COLUMN = 62


def print_overview(told: Overview) -> None:
    """Everything, each item with the path it was read at."""
    out = console()
    _line(out, visible(told.machine or "(no configuration)"), style="bold")
    for one in (*told.run_state, *told.clocks):
        _fact(out, one)
    for cpu in told.cpus:
        _print_cpu(out, cpu)
    if told.pci:
        _line(out, "")
        _line(out, "PCI", style="bold cyan")
        for device in told.pci:
            _print_pci(out, device)
    if told.virtio:
        _line(out, "")
        _line(out, "virtio", style="bold cyan")
        for virtio in told.virtio:
            _print_virtio(out, virtio)
    if not (told.cpus or told.pci or told.run_state):
        _line(out, "  nothing that is known here; fixedram state IMAGE lists the devices")


def _line(out: Console, text: str, path: str = "", style: str = "") -> None:
    line = Text(text, style=style)
    if path:
        line = Text(f"{text:{_PATH_COLUMN}}  ", style=style)
        line.append(visible(path), style="dim")
    out.print(line, soft_wrap=True)


def _fact(out: Console, one: Fact, indent: str = "  ") -> None:
    value = one.text or (f"{one.value:#x}" if isinstance(one.value, int) else visible(one.value))
    _line(out, f"{indent}{one.name:{_LABEL}}{value}", one.path)


def _print_cpu(out: Console, cpu: Cpu) -> None:
    _line(out, "")
    mode = f": {cpu.mode}" if cpu.mode else ""
    halted = ", halted" if cpu.halted else ""
    _line(out, visible(f"{cpu.path}  {cpu.architecture}{mode}{halted}"), style="bold cyan")
    for register in cpu.registers:
        _fact(out, register)


def _print_pci(out: Console, device: PciDevice) -> None:
    depth = device.address.count(".")
    ids = f"{device.vendor_id:04x}:{device.device_id:04x}"
    text = f"{'  ' * depth}{device.address}  {ids}  {device.class_name}, {device.name}"
    _line(out, visible(text), device.path)
    for bar in device.bars:
        _line(out, f"{'  ' * depth}    BAR {bar.number}: {bar.kind} at {bar.address:#x}")


def _print_virtio(out: Console, device: VirtioDevice) -> None:
    status = " ".join(device.status_names) or "reset"
    _line(out, visible(f"  {device.name}  {device.transport}, {status}"), device.path)
    used = [queue for queue in device.queues if queue.desc]
    _line(out, f"    features {device.features:#x}, {count(len(device.queues), 'queue')},"
               f" {len(used)} set up")  # fmt: skip
    for queue in used:
        rings = ", ".join(
            f"{name} {address:#x}"
            for name, address in (
                ("desc", queue.desc),
                ("avail", queue.avail),
                ("used", queue.used),
            )
            if address is not None
        )
        _line(
            out, f"    queue {queue.index}: size {queue.size}, {rings}, next {queue.last_avail_idx}"
        )
