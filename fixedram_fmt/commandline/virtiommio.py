"""virtio devices on buses of virtio-mmio, whose sections are called after their addresses.

Upstream: QEMU hw/virtio/virtio-mmio.c virtio_mmio_bus_get_dev_path().
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import Placed
from fixedram_fmt.commandline.virtio import disk_of, type_properties, virtio_of

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence
    from fixedram_fmt.commandline.virtio import Virtio

__all__ = ["contribute"]

_SECTION = re.compile(r"(?P<way>virtio-mmio@(?P<address>[0-9a-f]{16}))/(?P<vmsd>[\w-]+)")
#: Drivers by the name of the section.
_DRIVERS = {
    "virtio-net": "virtio-net-device",
    "virtio-blk": "virtio-blk-device",
    "virtio-scsi": "virtio-scsi-device",
    "virtio-console": "virtio-serial-device",
    "virtio-balloon": "virtio-balloon-device",
    "virtio-rng": "virtio-rng-device",
    "virtio-gpu": "virtio-gpu-device",
    "virtio-iommu": "virtio-iommu-device",
    "virtio-crypto": "virtio-crypto-device",
    "virtio-9p": "virtio-9p-device",
}
#: Bytes of the configuration of a keyboard, by its longest answer (hw/input/virtio-input-hid.c).
_INPUT, _KEYBOARD = "virtio-input", 37


def contribute(evidence: Evidence, draft: Draft) -> None:
    """A -device for each, on the bus of its address; draft.mmio is the first and the step."""
    if draft.mmio is None:
        return
    base, step = draft.mmio
    modern = False
    for name, instance in evidence.sections:
        match = _SECTION.fullmatch(name)
        if match is None or (name, instance) in draft.claimed:
            continue
        number, rest = divmod(int(match["address"], 16) - base, step)
        device = virtio_of(evidence, name, match["vmsd"])
        driver = _DRIVERS.get(match["vmsd"])
        if match["vmsd"] == _INPUT:
            driver = _input(device, name, draft)
        if driver is None or rest or number < 0:
            continue
        device_id = draft.new_id("mmio")
        properties: dict[str, str | int | None] = {
            "id": device_id,
            "bus": f"virtio-mmio-bus.{number}",
        }
        if device is not None:
            properties |= type_properties(evidence, name, device, draft)
            modern = modern or device.has_rings
        if match["vmsd"] == "virtio-blk":
            properties["drive"] = disk_of(device, draft, name)
        if draft.device(driver, properties):
            draft.claim(name, instance)
            draft.placed[match["way"]] = Placed(driver, device_id)
    if modern:
        draft.set_global("virtio-mmio", "force-legacy", "off")


def _input(device: Virtio | None, section: str, draft: Draft) -> str:
    if device is not None and len(device.config) == _KEYBOARD:
        return "virtio-keyboard-device"
    draft.doubt(f"what {section} is for is not told: a tablet")
    return "virtio-tablet-device"
