"""<serial>, <parallel>, <console> and <channel>: null character devices, whatever they were.

Upstream: libvirt src/qemu/qemu_command.c qemuBuildSerialChrDeviceProps(),
qemuBuildVirtioSerialPortDevProps(), qemuBuildConsoleCommandLine().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import is_sayable
from fixedram_fmt.commandline.fromxml.devices import usb_place
from fixedram_fmt.commandline.fromxml.plan import number, word

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan

    Properties = dict[str, str | int | None]

__all__ = ["add_character"]

_NAME_LENGTH = 128
#: Types of serial ports by the type of their address, and by the machine.
_BY_ADDRESS = {
    "spapr-vio": "spapr-vio-serial", "pci": "pci-serial", "usb": "usb-serial", "isa": "isa-serial",
}  # fmt: skip
_BY_PROGRAM = {
    "x86_64": "isa-serial", "i386": "isa-serial", "ppc64": "spapr-vio-serial",
    "s390x": "sclp-serial",
}  # fmt: skip


def add_character(plan: Plan, element: Element) -> None:
    """The -device of a character device, with a -chardev that is null."""
    target = element.find("target")
    kind = word(target, "type") or ""
    if element.tag == "serial":
        _serial(plan, element, kind)
    elif element.tag == "parallel":
        own: Properties = {"chardev": plan.draft.chardev(), "index": number(target, "port")}
        plan.draft.device("isa-parallel", {**own, "id": plan.name(element, "parallel")})
    elif element.tag == "console":
        _console(plan, element, kind)
    elif kind == "virtio" or element.tag == "channel":
        _channel(plan, element, kind)


def _serial(plan: Plan, element: Element, kind: str) -> None:
    port = number(element.find("target"), "port")
    own: Properties = {"id": plan.name(element, "serial")}
    kind = kind or _usual_serial(plan, element)
    if kind == "isa-serial":
        own |= {"chardev": plan.draft.chardev(), "index": port}
        plan.draft.device("isa-serial", own)
    elif kind == "pci-serial":
        plan.draft.device(kind, {**own, "chardev": plan.draft.chardev(), **plan.place(element)})
    elif kind == "usb-serial":
        plan.draft.device(kind, {**own, "chardev": plan.draft.chardev(), **usb_place(element)})
    elif kind == "spapr-vio-serial":
        reg = number(element.find("address"), "reg")
        own |= {"chardev": plan.draft.chardev(), "reg": f"{reg:#x}" if reg else None}
        plan.draft.device("spapr-vty", own)
    elif kind == "sclp-serial":
        plan.draft.device("sclpconsole", {**own, "chardev": plan.draft.chardev()})
    else:
        plan.draft.others.append(("-serial", f"chardev:{plan.draft.chardev()}"))


def _usual_serial(plan: Plan, element: Element) -> str:
    """What a serial port is where its target does not say: by its address, or the machine.

    qemuDomainChrDefPostParse(), qemuDomainChrDefAutoType().
    """
    address = element.find("address")
    told = _BY_ADDRESS.get((address.get("type") if address is not None else None) or "")
    return told or _BY_PROGRAM.get(plan.draft.program.removeprefix("qemu-system-"), "")


def _console(plan: Plan, element: Element, kind: str) -> None:
    """The first console of a serial port is that port: libvirt writes it twice."""
    if kind == "virtio":
        own: Properties = {"chardev": plan.draft.chardev(), "id": plan.name(element, "console")}
        plan.draft.device("virtconsole", {**_port(element), **own})
    elif kind in ("sclp", "sclplm"):
        driver = f"{kind}console"
        own = {"chardev": plan.draft.chardev(), "id": plan.name(element, "console")}
        plan.draft.device(driver, own)


def _channel(plan: Plan, element: Element, kind: str) -> None:
    if kind != "virtio":
        if kind != "guestfwd":
            plan.left_out(f"a channel of the type {kind}")
        return
    target = element.find("target")
    name = (target.get("name") or "") if target is not None else ""
    if element.get("type") == "spicevmc" and not name:
        name = "com.redhat.spice.0"
    own: Properties = {"chardev": plan.draft.chardev(), "id": plan.name(element, "channel")}
    if is_sayable(name) and len(name) <= _NAME_LENGTH:
        own["name"] = name
    plan.draft.device("virtserialport", {**_port(element), **own})


def _port(element: Element) -> Properties:
    """The controller's bus, and the number of the port on it."""
    address = element.find("address")
    if address is None or address.get("type") != "virtio-serial":
        return {}
    controller = number(address, "controller") or 0
    return {"bus": f"virtio-serial{controller}.0", "nr": number(address, "port")}
