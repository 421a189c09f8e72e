"""The devices of a domain's XML, and where QEMU puts them.

Upstream: libvirt src/conf/device_conf.c virPCIDeviceAddressParseXML() and
virPCIDeviceAddressIsEmpty(); QEMU hw/pci/pci.c pcibus_get_dev_path() writes the places.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.container.devicetable import MODELS, NAMES, OFF_PCI
from fixedram_fmt.container.xmlvalues import any_base, decimal, flag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = [
    "DEVICES_CEILING", "DeviceRom", "DomainDevice", "PciBuses", "devices_of", "pci_address",
]  # fmt: skip

#: How many children of <devices> are looked at.
DEVICES_CEILING = 4096
#: A root bus without a bridge before it.
_ROOT = "0000:00"
_ROOTS = frozenset(("pci-root", "pcie-root"))
_EXPANDERS = frozenset(("pci-expander-bus", "pcie-expander-bus"))
_TRANSITIONAL = ("-non-transitional", "-transitional")


@dataclass(frozen=True, slots=True)
class DeviceRom:
    """<rom>: whether the guest sees it, whether there is one, and the file; None: not said."""

    bar: bool | None
    enabled: bool | None
    file: str | None


@dataclass(frozen=True, slots=True)
class DomainDevice:
    """A device of <devices>; strings are the file's.

    kind is its element, model what tells the model in it (parts joined by /).  path is its place as
    QEMU writes it before the slash in a section's name; None where it is on no PCI bus or the XML
    does not tell.  names may stand after that slash; () is unknown.  address is the type of its
    <address>, None where it has none.  xml_path leads to the element: devices/interface[2].
    """

    kind: str
    model: str
    path: str | None
    names: tuple[str, ...]
    address: str | None
    alias: str | None
    xml_path: str
    rom: DeviceRom | None = None

    @property
    def is_unplaced(self) -> bool:
        """Whether libvirt will find it a place on a PCI bus that the XML does not tell."""
        if self.path is not None or self.address not in (None, "pci"):
            return False
        return self.address == "pci" or _key(self.kind, self.model, OFF_PCI) is None


class PciBuses:
    """The PCI buses by their numbers in the XML, which are indexes of controllers."""

    def __init__(self, devices: Element | None) -> None:
        self._controllers: dict[int, Element] = {}
        self._paths: dict[int, str | None] = {0: _ROOT}
        for element in _children(devices):
            index = decimal(element.get("index"))
            if element.tag == "controller" and element.get("type") == "pci" and index is not None:
                self._controllers.setdefault(index, element)

    def place(self, element: Element) -> str | None:
        """Where the element's PCI address leads; None where it has none, or it leads nowhere."""
        found = pci_address(element)
        if found and element.get("model") == "pci-expander-bus":
            # What has a section is the bridge inside.
            return _expander_bus(element, found[1])
        bus = self._bus(found[0]) if found else None
        return f"{bus}:{found[1]}" if found and bus else None

    def _bus(self, index: int) -> str | None:
        """What the places of devices on a bus begin with; a walk up to a bus that is known."""
        way: list[tuple[int, str]] = []
        while index not in self._paths:
            controller = self._controllers.get(index)
            # Until it is known: a bridge that is on its own bus has no place.
            self._paths[index] = None
            if controller is None:
                break
            found = pci_address(controller)
            if not found or controller.get("model") in _ROOTS:
                break
            if controller.get("model") in _EXPANDERS:
                self._paths[index] = _expander_bus(controller, found[1])
                break
            way.append((index, found[1]))
            index = found[0]
        path = self._paths[index]
        for bridge, place in reversed(way):
            path = f"{path}:{place}" if path and len(path) < _LONGEST else None
            self._paths[bridge] = path
        return path


#: An idstr has 255 bytes at most: a way that is longer is none.
_LONGEST = 255


def devices_of(devices: Element | None) -> Iterator[DomainDevice]:
    """What is in <devices>, as far as it is a device."""
    buses = PciBuses(devices)
    count: Counter[str] = Counter()
    for element in _children(devices):
        if element.tag not in MODELS:
            continue
        kind = element.tag
        count[kind] += 1
        model = "/".join(_model(element))
        key = _key(kind, model, NAMES)
        address, alias = element.find("address"), element.find("alias")
        yield DomainDevice(
            kind=kind,
            model=model,
            path=buses.place(element),
            names=NAMES[key] if key else (),
            address=address.get("type") if address is not None else None,
            alias=alias.get("name") if alias is not None else None,
            xml_path=f"devices/{kind}[{count[kind]}]",
            rom=_rom(element.find("rom")),
        )


def _children(devices: Element | None) -> Iterator[Element]:
    return islice(devices if devices is not None else (), DEVICES_CEILING)


def _model(element: Element) -> Iterator[str]:
    """What tells the model, up to the first part that is not said."""
    for where in MODELS[element.tag]:
        child, _, attribute = where.rpartition("@")
        holder = element.find(child.rstrip("/")) if child else element
        value = holder.get(attribute) if holder is not None else None
        if not value:
            return
        for end in _TRANSITIONAL:
            value = value.removesuffix(end)
        yield value


def _key(kind: str, model: str, table: object) -> str | None:
    """The longest key of a table that fits."""
    assert isinstance(table, dict | frozenset)
    key = f"{kind}/{model}" if model else kind
    while key and key not in table:
        key = key.rpartition("/")[0]
    return key or None


def pci_address(element: Element) -> tuple[int, str] | None:
    """Bus number, and slot.function; libvirt finds a place itself for slot 0 of bus 0."""
    address = element.find("address")
    if address is None or address.get("type") != "pci":
        return None
    parts = [any_base(address.get(name, "0")) for name in ("domain", "bus", "slot", "function")]
    domain, bus, slot, function = parts
    if domain != 0 or bus is None or slot is None or function is None:
        return None
    if bus > 0xFF or slot > 0x1F or function > 7 or not (bus or slot):
        return None
    return bus, f"{slot:02x}.{function}"


def _expander_bus(controller: Element, place: str) -> str | None:
    """The bus of an expander: a root with a number of its own, then the expander's place."""
    target = controller.find("target")
    number = any_base(target.get("busNr")) if target is not None else None
    if number is None or number > 0xFF:
        return None
    # pxb has a bridge of its own between its root bus and its devices; pxb-pcie has none.
    inner = ":00.0" if controller.get("model") == "pci-expander-bus" else ""
    return f"0000:{number:02x}:{place}{inner}"


def _rom(element: Element | None) -> DeviceRom | None:
    if element is None:
        return None
    return DeviceRom(flag(element.get("bar")), flag(element.get("enabled")), element.get("file"))
