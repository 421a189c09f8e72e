"""<controller>: the buses on which other devices are.

Upstream: libvirt src/qemu/qemu_command.c qemuBuildControllerDevProps(), qemu_alias.c
qemuAssignDeviceControllerAlias().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.fromxml.plan import count, number, on_off, word
from fixedram_fmt.container.domaincompare import implicit
from fixedram_fmt.container.xmlvalues import decimal

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan

    Properties = dict[str, str | int | None]

__all__ = ["add_controller", "order_of_controllers"]

_EXPRESS_PORTS = frozenset(("pcie-root-port", "ioh3420", "xio3130-downstream"))
#: -device names of PCI controllers, where <model name=> does not say another.
_PCI = {
    "pci-bridge": "pci-bridge",
    "dmi-to-pci-bridge": "i82801b11-bridge",
    "pcie-root-port": "pcie-root-port",
    "pcie-switch-upstream-port": "x3130-upstream",
    "pcie-switch-downstream-port": "xio3130-downstream",
    "pci-expander-bus": "pxb",
    "pcie-expander-bus": "pxb-pcie",
    "pcie-to-pci-bridge": "pcie-pci-bridge",
}
_USB = {
    "piix3-uhci": "piix3-usb-uhci", "piix4-uhci": "piix4-usb-uhci", "ehci": "usb-ehci",
    "vt82c686b-uhci": "vt82c686b-usb-uhci", "pci-ohci": "pci-ohci", "nec-xhci": "nec-usb-xhci",
    "qemu-xhci": "qemu-xhci", "ich9-ehci1": "ich9-usb-ehci1", "ich9-ehci2": "ich9-usb-ehci2",
    **{f"ich9-uhci{one}": f"ich9-usb-uhci{one}" for one in range(1, 7)},
}  # fmt: skip
#: Companions of an EHCI, and the first of its ports that each has.
_FIRST_PORT = {"ich9-uhci1": 0, "ich9-uhci2": 2, "ich9-uhci3": 4,
               "ich9-uhci4": 0, "ich9-uhci5": 2, "ich9-uhci6": 4}  # fmt: skip
_SCSI = {
    "lsilogic": "lsi", "lsisas1068": "mptsas1068", "lsisas1078": "megasas",
    "vmpvscsi": "pvscsi", "am53c974": "am53c974", "dc390": "dc-390",
}  # fmt: skip
_ORDER = ("pci", "usb", "sata", "ide", "scsi", "virtio-serial", "ccid", "fdc")


def order_of_controllers(element: Element) -> tuple[int, bool, int]:
    """PCI first, by index; a USB controller before its companions."""
    kind = element.get("type") or ""
    place = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
    is_companion = (element.get("model") or "") in _FIRST_PORT
    return place, is_companion, decimal(element.get("index")) or 0


def add_controller(plan: Plan, element: Element) -> None:
    """The -device of a controller that the machine does not have by itself."""
    adder = _ADDERS.get(element.get("type") or "")
    if adder is not None:
        adder(plan, element)
    else:
        plan.left_out(f"controller {element.get('type')}")


def _index(element: Element) -> int:
    return decimal(element.get("index")) or 0


def _pci(plan: Plan, element: Element) -> None:
    model, index = element.get("model") or "", _index(element)
    target = element.find("target")
    if model == "pci-root" and index and "ppc64" in plan.draft.program:
        unit = number(target, "index") or index
        plan.draft.device("spapr-pci-host-bridge", {"index": unit, "id": f"pci.{index}"})
        return
    if model in ("pci-root", "pcie-root") or model not in _PCI:
        return
    driver = word(element.find("model"), "name") or _PCI[model]
    own: Properties = {"id": f"pci.{index}", **plan.place(element)}
    if driver in _EXPRESS_PORTS:
        own |= {"port": number(target, "port"), "chassis": number(target, "chassis") or index}
        own["hotplug"] = on_off(target, "hotplug")
    elif driver == "pci-bridge":
        own["chassis_nr"] = number(target, "chassisNr") or index
    elif driver in ("pxb", "pxb-pcie"):
        own["bus_nr"] = number(target, "busNr")
    if driver in (*_PCI.values(), "ioh3420"):
        plan.draft.device(driver, own)
    else:
        plan.left_out(f"PCI controller {driver}")


def _usb(plan: Plan, element: Element) -> None:
    model, index = element.get("model") or "", _index(element)
    driver = _USB.get(model or _usual_usb(plan))
    if model == "none":
        return
    if driver is None:
        plan.left_out(f"USB controller {model}")
        return
    name = f"usb{index}" if index else "usb"
    own: Properties = dict(plan.place(element))
    if model in _FIRST_PORT:
        own |= {"masterbus": f"{name}.0", "firstport": _FIRST_PORT[model]}
    else:
        ports = count(element, "ports", 15)
        own["id"] = name
        if "xhci" in driver:
            own |= {"p2": ports, "p3": ports}
    plan.draft.device(driver, own)


def _usual_usb(plan: Plan) -> str:
    """The model where none is said: qemuDomainControllerDefPostParse() and its -device name."""
    if "ppc" in plan.draft.program:
        return "pci-ohci"
    return "piix3-uhci" if plan.pci_root == "pci.0" else "qemu-xhci"


def _sata(plan: Plan, element: Element) -> None:
    """The first of a q35 is the machine's own."""
    if (plan.buses.place(element) or "") in (implicit(plan.domain.machine) or {}):
        return
    if plan.is_express and not _index(element) and not plan.place(element):
        return
    plan.draft.device("ahci", {"id": f"sata{_index(element)}", **plan.place(element)})


def _ide(plan: Plan, element: Element) -> None:
    """Machines that have one have it by themselves."""
    if _index(element):
        plan.left_out("a second IDE controller")


def _scsi(plan: Plan, element: Element) -> None:
    model = element.get("model") or ""
    name = f"scsi{_index(element)}"
    if model in ("ibmvscsi", "") and "ppc64" in plan.draft.program:
        reg = number(element.find("address"), "reg")
        plan.draft.device("spapr-vscsi", {"id": name, "reg": f"{reg:#x}" if reg else None})
        return
    if model in _SCSI:
        plan.draft.device(_SCSI[model], {"id": name, **plan.place(element)})
        return
    options = element.find("driver")
    driver = plan.virtio_driver("virtio-scsi", element, model)
    own: Properties = {
        "id": name,
        "num_queues": count(options, "queues"),
        "cmd_per_lun": count(options, "cmd_per_lun"),
        "max_sectors": count(options, "max_sectors"),
    }
    plan.draft.device(driver, {**own, **plan.virtio_options(element), **plan.place(element)})


def _virtio_serial(plan: Plan, element: Element) -> None:
    own: Properties = {
        "id": f"virtio-serial{_index(element)}",
        "max_ports": count(element, "ports", 511),
        "vectors": number(element, "vectors"),
    }
    driver = plan.virtio_driver("virtio-serial", element, element.get("model"))
    plan.draft.device(driver, {**own, **plan.virtio_options(element), **plan.place(element)})


def _ccid(plan: Plan, element: Element) -> None:
    plan.draft.device("usb-ccid", {"id": f"ccid{_index(element)}"})


def _fdc(plan: Plan, element: Element) -> None:
    """i440fx has one by itself; elsewhere libvirt adds one where there is a floppy."""
    del element
    if plan.is_express:
        plan.draft.device("isa-fdc", {"id": "fdc0"})


def _nothing(plan: Plan, element: Element) -> None:
    del plan, element


_ADDERS: dict[str, Callable[[Plan, Element], None]] = {
    "pci": _pci,
    "usb": _usb,
    "sata": _sata,
    "ide": _ide,
    "scsi": _scsi,
    "virtio-serial": _virtio_serial,
    "ccid": _ccid,
    "fdc": _fdc,
    "isa": _nothing,
}
