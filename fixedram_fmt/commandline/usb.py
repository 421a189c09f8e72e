"""USB devices at their ports: by the ways of their sections, `0000:00:02.0/1.2/usb-kbd`.

Upstream: QEMU hw/usb/bus.c usb_get_dev_path(): the way to the controller, where the machine type
has full paths, then the ports from hub to hub.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

    Properties = dict[str, str | int | None]

__all__ = ["contribute"]

_SECTION = re.compile(
    r"(?:(?P<way>.+)/)?(?P<port>[0-9]{1,3}(?:\.[0-9]{1,3}){0,5})/(?P<vmsd>usb-[\w-]+)"
)
_DISK = "0:0:0/scsi-disk"
#: PORT_STAT_POWER: only ports that the hub has are under power at first.
_POWER, _HUB_PORTS = 1 << 8, 8


def contribute(evidence: Evidence, draft: Draft) -> None:
    """A -device for each USB device, hubs first."""
    found = []
    for name, instance in evidence.sections:
        match = _SECTION.fullmatch(name)
        if match and (name, instance) not in draft.claimed:
            found.append((match["port"].count("."), match["port"], name, instance, match))
    for _, port, name, instance, match in sorted(found, key=lambda one: one[:4]):
        bus = None
        if match["way"] is not None:
            controller = draft.placed.get(match["way"])
            if controller is None:
                continue
            bus = f"{controller.id}.0"
        device_id = draft.new_id("usb")
        place: Properties = {"id": device_id, "bus": bus, "port": port}
        if _device(evidence, draft, name, match["vmsd"], place):
            draft.claim(name, instance)


def _device(evidence: Evidence, draft: Draft, section: str, vmsd: str, place: Properties) -> bool:
    prefix = section.removesuffix(f"/{vmsd}")
    if vmsd == "usb-storage":
        return _storage(evidence, draft, prefix, place)
    if vmsd == "usb-ptr":
        draft.doubt(f"whether {section} is a tablet or a mouse is not told: usb-tablet")
        return draft.device("usb-tablet", place)
    if vmsd == "usb-hub":
        return draft.device("usb-hub", {**place, "ports": _ports(evidence, section)})
    if vmsd == "usb-redir":
        draft.doubt(f"what {section} was connected to is not told: nothing")
        return draft.device("usb-redir", {**place, "chardev": draft.chardev()})
    if vmsd in ("usb-kbd", "usb-ccid"):
        return draft.device(vmsd, place)
    return False


def _storage(evidence: Evidence, draft: Draft, prefix: str, place: Properties) -> bool:
    """usb-storage brings its disk with it; where there is none, or several, it is usb-bot."""
    disks = [name for name in evidence.under(prefix) if name != f"{prefix}/usb-storage"]
    if disks == [f"{prefix}/{_DISK}"]:
        draft.claim(disks[0])
        drive = draft.disk(None, f"{prefix}/usb-storage")
        return draft.device("usb-storage", {**place, "drive": drive})
    draft.scsi_buses[prefix] = f"{place['id']}.0"
    return draft.device("usb-bot", place)


def _ports(evidence: Evidence, section: str) -> int | None:
    ports = evidence.get(section, "ports")
    if not isinstance(ports, list):
        return None
    statuses = [one.get("wPortStatus", 0) if isinstance(one, dict) else 0 for one in ports]
    powered = [
        number for number, one in enumerate(statuses) if isinstance(one, int) and one & _POWER
    ]
    count = powered[-1] + 1 if powered else _HUB_PORTS
    return count if count < _HUB_PORTS else None
