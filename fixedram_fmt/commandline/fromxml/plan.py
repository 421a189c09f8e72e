"""What the parts of an XML are derived with: the draft, the buses, and words that can be trusted.

A word of the XML becomes part of an argument only by `word` or `number`, and is a value there:
nothing of it is taken for an option, and no file that it names is opened.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import is_id
from fixedram_fmt.container.domaindevices import PciBuses, pci_address
from fixedram_fmt.container.xmlvalues import any_base, decimal, flag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence
    from fixedram_fmt.container.domain import Domain

    Properties = dict[str, str | int | None]

__all__ = ["Plan", "count", "number", "on_off", "word"]

#: What a name of a model, a machine or a feature is made of.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,79}", re.ASCII)
#: -device names end so where a device is one of virtio's two generations alone.
_GENERATIONS = ("-transitional", "-non-transitional")


def word(element: Element | None, name: str) -> str | None:
    """An attribute that is one plain word; None where it is anything else."""
    text = element.get(name) if element is not None else None
    return text if text is not None and _WORD.fullmatch(text) else None


def number(element: Element | None, name: str) -> int | None:
    """An attribute that is a number."""
    return any_base(element.get(name)) if element is not None else None


def on_off(element: Element | None, name: str) -> str | None:
    """`on` or `off` of an attribute; None where it is neither."""
    found = flag(element.get(name)) if element is not None else None
    return None if found is None else "on" if found else "off"


@dataclass(slots=True)
class Plan:
    """A domain that is being derived."""

    evidence: Evidence
    draft: Draft
    domain: Domain
    root: Element
    buses: PciBuses
    pci_root: str
    _counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_express(self) -> bool:
        """Whether the machine's own bus is PCI Express."""
        return self.pci_root == "pcie.0"

    def name(self, element: Element, stem: str) -> str:
        """The id: the alias that the user gave, or stem and the count of those before it."""
        alias = element.find("alias")
        given = alias.get("name") or "" if alias is not None else ""
        count = self._counts[stem]
        self._counts[stem] += 1
        return given if is_id(given) and len(given) < 128 else f"{stem}{count}"

    def bus_name(self, index: int) -> str:
        """The id of a PCI bus by the number that it has in the XML."""
        return self.pci_root if index == 0 else f"pci.{index}"

    def place(self, element: Element) -> Properties:
        """Where a device is: bus and address on PCI, device number on the channel subsystem."""
        address = element.find("address")
        kind = address.get("type") if address is not None else None
        if kind == "ccw":
            parts = [number(address, one) for one in ("cssid", "ssid", "devno")]
            css, subchannel, device = (one if one is not None else 0 for one in parts)
            if css < 0x100 and subchannel < 4 and device < 0x10000:
                return {"devno": f"{css:x}.{subchannel:x}.{device:04x}"}
        found = pci_address(element)
        if found is None:
            return {}
        index, slot = found
        device_slot, _, function = slot.partition(".")
        at = f"0x{int(device_slot, 16):x}" + ("" if function == "0" else f".0x{function}")
        return {
            "bus": self.bus_name(index),
            "addr": at,
            "multifunction": on_off(address, "multifunction"),
        }

    def transport(self, element: Element) -> str:
        """How a virtio device's -device name ends, by its address."""
        address = element.find("address")
        kind = address.get("type") if address is not None else None
        return {"ccw": "ccw", "virtio-mmio": "device"}.get(kind or "", "pci")

    def virtio_driver(self, stem: str, element: Element, model: str | None) -> str:
        """The -device name of a virtio device, of one generation where the model says so."""
        driver = f"{stem}-{self.transport(element)}"
        if not driver.endswith("-pci"):
            return driver
        for generation in _GENERATIONS[::-1]:
            if model is not None and model.endswith(generation):
                return driver + generation
        return driver

    def virtio_options(self, element: Element) -> Properties:
        """What <driver> says to any virtio device (qemuBuildVirtioDevProps())."""
        driver = element.find("driver")
        return {
            "iommu_platform": on_off(driver, "iommu"),
            "ats": on_off(driver, "ats"),
            "packed": on_off(driver, "packed"),
            "page-per-vq": on_off(driver, "page_per_vq"),
        }

    def section(self, element: Element, vmsd: str) -> str | None:
        """The name of a PCI device's section."""
        way = self.buses.place(element)
        return f"{way}/{vmsd}" if way else None

    def rom(self, element: Element) -> Properties:
        """<rom>, and the length that the image's block of it has."""
        rom = element.find("rom")
        if rom is not None and rom.get("enabled") == "no":
            return {"romfile": ""}
        found: Properties = {}
        if on_off(rom, "bar") is not None:
            found["rombar"] = 1 if on_off(rom, "bar") == "on" else 0
        if rom is not None and rom.get("file"):
            self.draft.doubt("a <rom file=> of the XML is not given: the ROM is QEMU's own")
        way = self.buses.place(element)
        for name in self.evidence.owned.get(way or "", ()):
            if name.endswith(".rom") and found.get("rombar") != 0:
                found["romsize"] = self.evidence.length(f"{way}/{name}")
                return found
        return found

    def left_out(self, what: str) -> None:
        """Tell of a part of the XML for which there is no argument."""
        self.draft.doubt(f"the XML has {what[:80]!a}, for which there is no argument here")


def count(element: Element | None, name: str, most: int = 1 << 16) -> int | None:
    """A decimal attribute between 1 and most."""
    found = decimal(element.get(name)) if element is not None else None
    return found if found is not None and 0 < found <= most else None
