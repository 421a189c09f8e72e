"""A domain's XML as a command line: the machine, then buses, then what is on them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.fromxml.characters import add_character
from fixedram_fmt.commandline.fromxml.controllers import add_controller, order_of_controllers
from fixedram_fmt.commandline.fromxml.devices import ADDERS
from fixedram_fmt.commandline.fromxml.disks import add_disk
from fixedram_fmt.commandline.fromxml.machine import PROGRAMS, add_machine
from fixedram_fmt.commandline.fromxml.plan import Plan, word
from fixedram_fmt.container.domain import DomainError, domain_of, well_formed
from fixedram_fmt.container.domaincompare import compared
from fixedram_fmt.container.domaindevices import DEVICES_CEILING, PciBuses
from fixedram_fmt.container.libvirt import LibvirtSave

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["contribute"]

_CHARACTERS = ("serial", "parallel", "console", "channel")
#: Elements that are no device of the guest's.
_NO_DEVICES = frozenset({"emulator", "graphics", "audio", "controller", "lease", "nvram"})
#: The section of the USB controller of i440fx.
_UHCI = "0000:00:01.2/uhci"
#: <qemu:commandline>, in which users give QEMU arguments of their own.
_OWN_ARGUMENTS = "commandline"


def contribute(evidence: Evidence, draft: Draft) -> bool:
    """Derive a libvirt save by the XML in it; False where there is none that tells the machine."""
    save = evidence.image.container.find(LibvirtSave)
    if save is None or not save.xml.lstrip().startswith(b"<"):
        return False
    try:
        domain, root = domain_of(save.xml), well_formed(save.xml)
    except DomainError as error:
        draft.doubt(f"the XML of the save is not used: {error.message[:120]!a}")
        return False
    program = PROGRAMS.get(domain.arch or "")
    machine = word(root.find("os/type"), "machine")
    if program is None or machine is None or not domain.tells_devices:
        draft.doubt("the XML of the save is not used: it does not tell machine and devices")
        return False
    draft.program, draft.machine_type = f"qemu-system-{program}", machine
    devices = root.find("devices")
    buses = PciBuses(devices)
    plan = Plan(evidence, draft, domain, root, buses, _root_bus(devices, machine))
    add_machine(plan, program)
    _devices(plan, [*islice(devices if devices is not None else (), DEVICES_CEILING)])
    _others(plan)
    for one in compared(domain, evidence.sections):
        if one.section is not None:
            draft.doubt(f"the image has a section {one.section[0][:60]!a}, and {one.words}")
    draft.claim_all(evidence.sections)
    return True


def _root_bus(devices: Element | None, machine: str) -> str:
    """The id of the machine's own PCI bus, by the model of the controller that stands for it."""
    for one in islice(devices if devices is not None else (), DEVICES_CEILING):
        if one.tag == "controller" and one.get("type") == "pci" and one.get("index") == "0":
            return "pcie.0" if one.get("model") == "pcie-root" else "pci.0"
    return "pcie.0" if machine.startswith(("q35", "pc-q35", "virt")) else "pci.0"


def _devices(plan: Plan, elements: list[Element]) -> None:
    controllers = [one for one in elements if one.tag == "controller"]
    for one in sorted(controllers, key=order_of_controllers):
        add_controller(plan, one)
    if not any(one.get("type") == "usb" for one in controllers):
        _usual_usb(plan)
    for one in elements:
        if one.tag == "disk":
            add_disk(plan, one)
        elif one.tag in _CHARACTERS:
            add_character(plan, one)
        elif one.tag in ADDERS:
            ADDERS[one.tag](plan, one)
        elif one.tag not in _NO_DEVICES:
            plan.left_out(f"a {one.tag}")


def _usual_usb(plan: Plan) -> None:
    """What libvirt adds without saying so (qemuDomainDefAddDefaultDevices())."""
    if plan.evidence.has(_UHCI):
        plan.draft.device("piix3-usb-uhci", {"id": "usb", "bus": plan.pci_root, "addr": "0x1.0x2"})


def _others(plan: Plan) -> None:
    """Devices that stand elsewhere in the XML, and what is not taken from it."""
    if plan.root.find("genid") is not None:
        plan.draft.device("vmgenid", {"id": "vmgenid0"})
    vmcoreinfo = plan.root.find("features/vmcoreinfo")
    if vmcoreinfo is not None and vmcoreinfo.get("state", "on") == "on":
        plan.draft.device("vmcoreinfo", {})
    if any(one.tag.endswith(_OWN_ARGUMENTS) for one in plan.root):
        plan.draft.doubt("the XML has arguments for QEMU of the user's own, which are not taken")
