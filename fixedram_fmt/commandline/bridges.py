"""PCI bridges and root ports: what their configuration spaces tell of their properties.

Upstream: QEMU hw/pci/pcie.c pcie_cap_slot_init(), pcie_cap_fill_lnk(); hw/pci/pci_bridge.c
pci_bridge_ssvid_init(), pci_bridge_qemu_reserve_cap_init(); hw/pci/slotid_cap.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.memory import size_text

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence, PciFunction

    Properties = dict[str, str | int | None]

__all__ = ["PORTS", "pci_bridge", "pcie_pci_bridge", "pcie_port"]

_CAP_SLOT_ID, _CAP_MSI, _CAP_VENDOR, _CAP_SHPC, _CAP_EXPRESS = 0x04, 0x05, 0x09, 0x0C, 0x10
_EXT_ACS = 0x0D
#: Offsets in the PCI Express capability, and bits there.
_LNKCAP, _SLTCAP = 0x0C, 0x14
_SLOT_POWER, _SLOT_HOTPLUG = 1 << 1, 1 << 6
_SPEEDS = {1: "2_5", 2: "5", 3: "8", 4: "16", 5: "32", 6: "64"}
#: REDHAT_PCI_CAP_RESOURCE_RESERVE: type at 3, then the hints: property, offset, bytes.
_RESERVE_TYPE = 1
_RESERVES = (
    ("bus-reserve", 4, 4), ("io-reserve", 8, 8), ("mem-reserve", 16, 4), ("pref32-reserve", 20, 4),
    ("pref64-reserve", 24, 8),
)  # fmt: skip
_AER_LOG = "parent_obj.parent_obj.parent_obj.exp.aer_log/log_max"
#: Drivers with slots, and whether they have a property for ACS, for the link, for reserves.
PORTS = {"pcie-root-port": True, "ioh3420": False, "xio3130-downstream": False}


def pcie_port(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """Root ports and downstream ports."""
    del evidence
    found: Properties = {"chassis": len(draft.devices) % 255 + 1}
    at = function.capability(_CAP_EXPRESS)
    if at is None:
        return found
    link, slot = function.word(at + _LNKCAP, 4), function.word(at + _SLTCAP, 4)
    found |= {"port": link >> 24, "slot": slot >> 19}
    found["hotplug"] = None if slot & _SLOT_HOTPLUG else "off"
    found["power_controller_present"] = None if slot & _SLOT_POWER else "off"
    driver_is_generic = function.vmsd == "pcie-root-port"
    if driver_is_generic:
        width, speed = link >> 4 & 0x3F, _SPEEDS.get(link & 0xF)
        found |= {"x-width": width or None, "x-speed": speed, **_reserves(function)}
    if function.vmsd != "xio3130-express-downstream-port":
        found["disable-acs"] = "on" if function.extended(_EXT_ACS) is None else None
    return found


def _reserves(function: PciFunction) -> Properties:
    """Hints of the vendor-specific capability; all ones are none."""
    at = function.capability(_CAP_VENDOR)
    if at is None or function.word(at + 3, 1) != _RESERVE_TYPE:
        return {}
    found: Properties = {}
    for name, offset, size in _RESERVES:
        value = function.word(at + offset, size)
        if value != (1 << 8 * size) - 1:
            found[name] = value if name == "bus-reserve" else size_text(value)
    return found


def pci_bridge(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """pci-bridge: its chassis is in the slot numbering capability."""
    del evidence
    at = function.capability(_CAP_SLOT_ID)
    chassis = function.word(at + 3, 1) if at is not None else 0
    return {
        "chassis_nr": chassis or len(draft.devices) % 255 + 1,
        "msi": "off" if function.capability(_CAP_MSI) is None else None,
        "shpc": "on" if function.capability(_CAP_SHPC) is not None else "off",
        **_reserves(function),
    }


def pcie_pci_bridge(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """pcie-pci-bridge: only MSI can be left out."""
    del evidence, draft
    return {"msi": "off" if function.capability(_CAP_MSI) is None else None}
