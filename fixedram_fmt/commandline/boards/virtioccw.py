"""virtio devices on the channel subsystem of s390x, by their device numbers.

Upstream: QEMU hw/s390x/css-bridge.c virtual_css_bus_get_dev_path(), hw/s390x/virtio-ccw.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import Placed
from fixedram_fmt.commandline.virtio import disk_of, type_properties, virtio_of

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["give_ccw"]

_SECTION = re.compile(
    r"(?P<way>/(?P<devno>[0-9a-f]{1,2}\.[0-3]\.[0-9a-f]{4}))/(?P<vmsd>virtio-[a-z0-9-]+)"
)
#: Drivers by the name of the section.
_DRIVERS = {
    "virtio-balloon": "virtio-balloon-ccw",
    "virtio-blk": "virtio-blk-ccw",
    "virtio-console": "virtio-serial-ccw",
    "virtio-gpu": "virtio-gpu-ccw",
    "virtio-input": "virtio-tablet-ccw",
    "virtio-net": "virtio-net-ccw",
    "virtio-rng": "virtio-rng-ccw",
    "virtio-scsi": "virtio-scsi-ccw",
}


def give_ccw(evidence: Evidence, draft: Draft) -> None:
    """A -device for each, at its device number."""
    for name, instance in evidence.sections:
        match = _SECTION.fullmatch(name)
        driver = _DRIVERS.get(match["vmsd"]) if match else None
        if match is None or driver is None:
            continue
        device = virtio_of(evidence, name, match["vmsd"])
        device_id = draft.new_id("ccw")
        properties: dict[str, str | int | None] = {"id": device_id, "devno": match["devno"]}
        if device is not None:
            properties |= type_properties(evidence, name, device, draft)
        if match["vmsd"] == "virtio-blk":
            properties["drive"] = disk_of(device, draft, name)
        if match["vmsd"] == "virtio-input":
            draft.doubt(f"{name} may be a keyboard, a mouse or a tablet: a tablet is a guess")
        if match["vmsd"] == "virtio-scsi":
            draft.scsi_buses[match["way"]] = f"{device_id}.0"
        if draft.device(driver, properties):
            draft.claim(name, instance)
            draft.placed[match["way"]] = Placed(driver, device_id)
