"""<disk>: devices, with disks of zeros in the place of the real ones.

Upstream: libvirt src/qemu/qemu_command.c qemuBuildDiskDeviceProps(), qemuBuildFloppyCommandLine().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline import virtio
from fixedram_fmt.commandline.fromxml.devices import usb_place
from fixedram_fmt.commandline.fromxml.plan import count, number

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan

    Properties = dict[str, str | int | None]

__all__ = ["add_disk"]

_CONTROLLERS_CEILING = 1 << 16


def add_disk(plan: Plan, element: Element) -> None:
    """The -device of a disk, by its bus."""
    target = element.find("target")
    bus = target.get("bus") if target is not None else None
    kind = element.get("device") or "disk"
    if element.get("type") in ("vhostuser", "vhostvdpa", "nvme"):
        plan.left_out(f"a disk of the type {element.get('type')}")
    elif bus == "virtio":
        _virtio(plan, element)
    elif bus in ("ide", "sata"):
        _ide(plan, element, bus, kind)
    elif bus == "scsi":
        _scsi(plan, element, kind)
    elif bus == "usb":
        _usb(plan, element)
    elif bus == "fdc":
        unit = _drive(element)["unit"]
        plan.draft.device(
            "floppy",
            {"unit": unit, "drive": _medium(plan, element), **_named(plan, element, "fdc0-0-")},
        )
    else:
        plan.left_out(f"a disk on a bus of {bus}")


def _named(plan: Plan, element: Element, stem: str) -> Properties:
    return {"id": plan.name(element, stem)}


def _drive(element: Element) -> dict[str, int]:
    """controller, bus, target and unit of an address of the type drive."""
    address = element.find("address")
    found = {}
    for one in ("controller", "bus", "target", "unit"):
        value = number(address, one)
        found[one] = value if value is not None and value < _CONTROLLERS_CEILING else 0
    return found


def _whose(element: Element) -> str:
    target = element.find("target")
    name = target.get("dev") if target is not None else None
    return f"{name or 'a disk'!s:.20}" if (name or "").isalnum() else "the XML"


def _medium(plan: Plan, element: Element) -> str | None:
    """A node in the place of what is in a drive; None for one that is empty."""
    source = element.find("source")
    if element.get("device") in ("cdrom", "floppy") and (source is None or not source.attrib):
        return None
    read_only = element.find("readonly") is not None or element.get("device") == "cdrom"
    return plan.draft.disk(None, _whose(element), read_only=read_only)


def _virtio(plan: Plan, element: Element) -> None:
    driver = element.find("driver")
    section = plan.section(element, "virtio-blk")
    device = virtio.virtio_of(plan.evidence, section, "virtio-blk") if section else None
    own: Properties = {
        "id": plan.name(element, "virtio-disk"),
        "num-queues": count(driver, "queues"),
        "queue-size": count(driver, "queue_size"),
        "drive": virtio.disk_of(device, plan.draft, _whose(element)),
    }
    name = plan.virtio_driver("virtio-blk", element, element.get("model"))
    own |= {**plan.virtio_options(element), **plan.place(element)}
    if name.startswith("virtio-blk-pci"):
        own |= plan.rom(element)
    plan.draft.device(name, own)


def _ide(plan: Plan, element: Element, bus: str, kind: str) -> None:
    """On IDE two buses of two, on AHCI a bus for each; the first AHCI of a q35 is `ide`."""
    at = _drive(element)
    own: Properties = {"drive": _medium(plan, element), **_named(plan, element, f"{bus}-disk")}
    if bus == "ide":
        own |= {"bus": f"ide.{at['bus']}", "unit": at["unit"]}
    elif at["controller"] == 0 and plan.is_express:
        own["bus"] = f"ide.{at['unit']}"
    else:
        own["bus"] = f"sata{at['controller']}.{at['unit']}"
    plan.draft.device("ide-cd" if kind == "cdrom" else "ide-hd", own)


def _scsi(plan: Plan, element: Element, kind: str) -> None:
    at = _drive(element)
    own: Properties = {"drive": _medium(plan, element), **_named(plan, element, "scsi-disk")}
    own["bus"] = f"scsi{at['controller']}.0"
    if _is_lsi(plan, at["controller"]):
        own["scsi-id"] = at["unit"]
    else:
        own |= {"channel": at["bus"], "scsi-id": at["target"], "lun": at["unit"]}
    plan.draft.device("scsi-cd" if kind == "cdrom" else "scsi-hd", own)


def _is_lsi(plan: Plan, index: int) -> bool:
    """Whether a controller has its disks by one number (qemuBuildDiskDeviceProps())."""
    for one in plan.root.iterfind("devices/controller"):
        if one.get("type") == "scsi" and number(one, "index") == index:
            return one.get("model") in ("lsilogic", "am53c974", "dc390")
    return False


def _usb(plan: Plan, element: Element) -> None:
    own: Properties = {"drive": _medium(plan, element), **_named(plan, element, "usb-disk")}
    plan.draft.device("usb-storage", {**own, **usb_place(element)})
