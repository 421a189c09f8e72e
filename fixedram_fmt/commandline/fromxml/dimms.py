"""<memory> of <devices>: DIMMs, NVDIMMs and virtio-mem.

Upstream: libvirt src/qemu/qemu_command.c qemuBuildMemoryDeviceProps().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.memory import add_named_backend
from fixedram_fmt.container.domaindevices import DEVICES_CEILING
from fixedram_fmt.container.xmlvalues import size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan
    from fixedram_fmt.container.domainmemory import MemoryDevice

    Properties = dict[str, str | int | None]

__all__ = ["add_memory_device"]


def add_memory_device(plan: Plan, element: Element) -> None:
    """The device and its backend, by what the reader of domains says of it."""
    elements = plan.root.findall("devices/memory")[:DEVICES_CEILING]
    found = zip(elements, plan.domain.memory_devices, strict=False)
    device = next((told for one, told in found if one is element), None)
    if device is not None:
        _add(plan, element, device)


def _add(plan: Plan, element: Element, device: MemoryDevice) -> None:
    if device.model not in ("dimm", "nvdimm", "virtio-mem") or not device.alias or not device.size:
        plan.left_out(f"a memory of the model {device.model}")
        return
    backend = f"mem{device.alias}"
    if not add_named_backend(plan.draft, backend, device.size):
        return
    own: Properties = {"id": device.alias, "memdev": backend, "node": device.node}
    if device.model == "virtio-mem":
        own |= {
            "block-size": size(element.find("target/block")),
            "requested-size": size(element.find("target/requested")),
            **plan.place(element),
        }
        plan.draft.device(plan.virtio_driver("virtio-mem", element, None), own)
        return
    own |= {"slot": device.slot, "addr": device.address}
    if device.model == "nvdimm":
        plan.draft.machine["nvdimm"] = "on"
    plan.draft.device("pc-dimm" if device.model == "dimm" else "nvdimm", own)
