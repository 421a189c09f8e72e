"""The device state on the page: an overview, then every device as a tree that is folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_cli.render.htmlparts import Budget, facts, number, shown, table
from fixedram_cli.render.statetree import shown as value_text
from fixedram_cli.render.statetree import string_of
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.vmstate.values import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.overview.cpus import Cpu
    from fixedram_fmt.vmstate.overview.fact import Fact
    from fixedram_fmt.vmstate.overview.overview import Overview
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["devices_part", "overview_part"]

#: Characters that all trees together may take, and one device of them.
_TREES, _TREE = 1_500_000, 200_000
_DEVICES_SHOWN = 400
_CHILDREN_SHOWN = 256
_DEPTH = 12
_VALUE = 160
_ROWS_SHOWN = 64


# -- overview -------------------------------------------------------------------------------------


def overview_part(image: Image) -> str:
    """CPUs, clocks, PCI, virtio; empty where the state says nothing of them."""
    from fixedram_fmt.vmstate.overview.overview import overview

    try:
        told = overview(image, image.state)
    except FixedRamError as error:
        return f'<p class="warn">{shown(str(error))}</p>'
    parts = []
    general = [*told.run_state, *told.clocks]
    if general:
        parts.append(facts(_fact(one) for one in general[:_ROWS_SHOWN]))
    parts += [_cpu(cpu) for cpu in told.cpus[:_ROWS_SHOWN]]
    parts += [_pci(told), _virtio(told)]
    return "".join(parts)


def _fact(one: Fact) -> tuple[str, str]:
    value = one.text or (f"{one.value:#x}" if isinstance(one.value, int) else str(one.value))
    return one.name, f'<span class="m">{shown(value)}</span>'


def _cpu(cpu: Cpu) -> str:
    what = [cpu.architecture, cpu.mode, "halted" if cpu.halted else ""]
    about = ", ".join(filter(None, what))
    registers = facts(_fact(one) for one in cpu.registers[:_ROWS_SHOWN])
    return (
        f"<details><summary><b>{shown(cpu.path)}</b> "
        f'<span class="pale">{shown(about)}</span></summary>{registers}</details>'
    )


def _pci(told: Overview) -> str:
    if not told.pci:
        return ""
    rows = [
        (
            f'<span class="m">{shown(one.address)}</span>',
            f'<span class="m">{one.vendor_id:04x}:{one.device_id:04x}</span>',
            shown(one.class_name),
            shown(one.name),
            "<br>".join(f"{bar.number}: {shown(bar.kind)} at {bar.address:#x}" for bar in one.bars),
        )
        for one in told.pci[:_ROWS_SHOWN]
    ]
    head = ("address", "id", "class", "device", "regions (BAR)")
    return "<h3>PCI</h3>" + table("PCI devices by address", head, rows, right=frozenset())


def _virtio(told: Overview) -> str:
    if not told.virtio:
        return ""
    rows = [
        (
            shown(one.name),
            shown(one.transport),
            shown(" ".join(one.status_names) or "reset"),
            f"{one.features:#x}",
            f"{sum(queue.desc != 0 for queue in one.queues)} of {len(one.queues)}",
        )
        for one in told.virtio[:_ROWS_SHOWN]
    ]
    head = ("device", "transport", "status", "features", "queues set up")
    named = table("virtio devices", head, rows, right=frozenset({3, 4}))
    return f"<h3>virtio</h3>{named}"


# -- trees ----------------------------------------------------------------------------------------


def devices_part(machine: MachineState) -> str:
    """Every device with its values, as far as there is room for them."""
    from itertools import islice

    budget = Budget(_TREES)
    parts = []
    for device in islice(machine.devices, _DEVICES_SHOWN):
        tree = _device(device, min(_TREE, budget.left))
        if not budget.take(tree):
            tree = f"<details>{_summary(device)}{_left_out()}</details>"
        parts.append(tree)
    if len(machine.devices) > _DEVICES_SHOWN:
        more = number(len(machine.devices) - _DEVICES_SHOWN)
        parts.append(f'<p class="pale">… and {more} more devices</p>')
    return "".join(parts)


def _left_out() -> str:
    return (
        '<p class="pale">left out to keep this page small; <code>fixedram state</code> shows it</p>'
    )


def _summary(device: DeviceState) -> str:
    about = f"version {device.version_id}, {number(device.size)} bytes at {device.offset:#x}"
    return f'<summary><b>{shown(device.path)}</b> <span class="pale">{about}</span></summary>'


def _device(device: DeviceState, room: int) -> str:
    parts = [f"<details>{_summary(device)}"]
    if device.problem:
        parts.append(f'<p class="warn">{shown(device.problem)}</p>')
    budget = Budget(room)
    try:
        for piece in _below(device.root, 0):
            if not budget.take(piece):
                # What is open is closed: the pieces are whole elements or come in pairs.
                parts.append(_close(parts) + _left_out())
                break
            parts.append(piece)
    except FixedRamError as error:
        parts.append(_close(parts) + f'<p class="warn">{shown(str(error))}</p>')
    if device.structure is None and not device.problem:
        parts.append('<p class="pale">no description: kept as bytes</p>')
    return "".join([*parts, "</details>"])


def _close(parts: list[str]) -> str:
    """What ends the elements that are open after the device's own."""
    text = "".join(parts[1:])
    tables = text.count("<table>") - text.count("</table>")
    open_details = text.count("<details>") - text.count("</details>")
    return "</table>" * tables + "</details>" * open_details


def _below(value: Value, depth: int) -> Iterator[str]:
    """Values of a structure: plain ones in a table, those with values of their own folded."""
    in_table = False
    for count, child in enumerate(children(value, elements=False)):
        if count == _CHILDREN_SHOWN:
            if in_table:
                yield "</table>"
            yield _left_out()
            return
        name = child.path[len(value.path) :].lstrip("/")
        leaf = child.is_leaf or (child.is_array and child.structure is None)
        if leaf is not in_table:
            yield "<table>" if leaf else "</table>"
            in_table = leaf
        if leaf:
            yield f"<tr><td>{shown(name)}</td><td class=m>{shown(_text(child), _VALUE)}</td></tr>"
        elif depth < _DEPTH:
            yield f"<details><summary>{shown(name)}</summary>"
            yield from _below(child, depth + 1)
            yield "</details>"
        else:
            yield f"<p>{shown(name)} …</p>"
    if in_table:
        yield "</table>"


def _text(value: Value) -> str:
    """A value in few words, however long it is."""
    try:
        if value.size <= _VALUE:
            return value_text(value.value, value.size)
        first = next(value.pieces())[:_VALUE]
    except FixedRamError as error:
        return error.message
    text = string_of(first) if value.type == "buffer" else ""
    if text:
        return f'"{text}"'
    return f"{value.size:,} bytes: {first[:32].hex(' ')} …"
