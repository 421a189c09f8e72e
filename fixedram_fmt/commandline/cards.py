"""PCI devices but bridges and virtio: properties by their state, their blocks and capabilities.

Names are those of `-device NAME,help`; what makes which state differ is in receiver/properties.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline import bridges
from fixedram_fmt.commandline.memory import add_named_backend
from fixedram_fmt.memory.ranges import MIB
from fixedram_fmt.schema.pci import CAP_ID_MSIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence, PciFunction

    Properties = dict[str, str | int | None]
    Reader = Callable[[Evidence, PciFunction, Draft], Properties]

__all__ = ["NETWORK", "card_properties"]

_CAP_MSI = 0x05
NETWORK = frozenset({
    "virtio-net-pci", "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "igb", "rtl8139",
    "ne2k_pci", "pcnet", "tulip", "vmxnet3",
})  # fmt: skip


def card_properties(
    driver: str, evidence: Evidence, function: PciFunction, draft: Draft
) -> Properties:
    """Properties of a device by its own state; none where nothing of it can be told."""
    reader = _READERS.get(driver)
    return {} if reader is None else reader(evidence, function, draft)


def _section(function: PciFunction) -> str:
    return f"{function.way}/{function.vmsd}"


def _without_msi(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, draft
    return {"msi": "off" if function.capability(_CAP_MSI) is None else None}


# -- displays ------------------------------------------------------------------------------------


def _vram(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    length = evidence.length(f"{function.way}/vga.vram") or 0
    return {"vgamem_mb": length // MIB or None}


def _vga(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """The revision says whether there are QEMU's registers; a BAR that they are mapped at all."""
    found = _vram(evidence, function, draft)
    if function.ids[0] == _QEMU_VGA and function.word(0x08, 1) < _WITH_REGISTERS:
        mapped = function.word(0x10, 4) & ~15 and not function.word(0x18, 4) & ~15
        found["mmio" if mapped else "qemu-extended-regs"] = "off"
    return found


_QEMU_VGA, _WITH_REGISTERS = 0x1234, 2


def _bochs(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    return {"vgamem": evidence.length(f"{function.way}/bochs-display-vram")}


def _vmware(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """Its VGA has a section of its own, without a place."""
    draft.claim("vga")
    return _vram(evidence, function, draft)


def _qxl(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    main = evidence.length(f"{function.way}/qxl.vgavram")
    vga = evidence.length(f"{function.way}/vga.vram")
    return {
        "ram_size": main if main is not None else vga,
        "vram_size": evidence.length(f"{function.way}/qxl.vram"),
    }


# -- network and storage ---------------------------------------------------------------------------


def _e1000(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    section = _section(function)
    if not evidence.described(section):
        return {}
    subsections = evidence.subsections(section)
    return {
        "extra_mac_registers": None if "e1000/full_mac_state" in subsections else "off",
        "migrate_tso_props": None if "e1000/tx_tso_state" in subsections else "off",
    }


def _e1000e(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    section = _section(function)
    return {name: evidence.number(section, name) for name in ("subsys", "subsys_ven")}


def _vmxnet3(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, draft
    return {"x-old-msi-offsets": "on" if function.capability(_CAP_MSI) == 0x50 else None}


def _pvscsi(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, draft
    old = function.config and not function.word(0x08, 1)
    return {"x-old-pci-configuration": "on" if old else None}


def _megasas(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    missing = function.capability(CAP_ID_MSIX) is None
    return {**_without_msi(evidence, function, draft), "msix": "off" if missing else None}


def _disk(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence
    return {"serial": "unknown", "drive": draft.disk(None, f"the NVMe at {function.way}")}


# -- USB and sound ---------------------------------------------------------------------------------

#: Ports of both kinds, and slots and interrupters, of an xhci where nothing else was asked for.
_XHCI_PORTS, _XHCI_SLOTS, _XHCI_INTRS = 8, 64, 16


def _xhci(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    section = _section(function)
    found: Properties = {}
    ports = evidence.count(section, "xhci/ports")
    if ports and ports != _XHCI_PORTS:
        found |= {"p2": ports - ports // 2, "p3": ports // 2}
        draft.doubt(f"how many of the ports of {section} are of USB 2 is not told: half of them")
    has_msi = function.capability(_CAP_MSI) is not None
    has_msix = function.capability(CAP_ID_MSIX) is not None
    found["msix"] = None if has_msix else "off"
    if function.ids == (0x1033, 0x0194):
        slots, intrs = evidence.count(section, "xhci/slots"), evidence.count(section, "xhci/intr")
        found |= {
            "msi": None if has_msi else "off",
            "slots": slots if slots != _XHCI_SLOTS else None,
            "intrs": intrs if intrs != _XHCI_INTRS else None,
        }
    elif has_msi:
        found["msi"] = "on"
    return found


def _ohci(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del draft
    return {"num-ports": evidence.number(_section(function), "state/num_ports")}


def _companion(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """A UHCI beside an EHCI of its chip takes the slow devices of that one's ports.

    Not where a device is connected to the UHCI itself.
    """
    number = function.word(2) - 0x2934
    slot = function.way.rpartition(".")[0]
    master = draft.placed.get(f"{slot}.7")
    alone = len(evidence.under(function.way)) > 1
    if master is None or alone or not master.driver.startswith("ich9-usb-ehci"):
        return {}
    return {"masterbus": f"{master.id}.0", "firstport": number % 3 * 2}


def _hda(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    at = function.capability(_CAP_MSI)
    old = "on" if at == 0x50 else None
    return {**_without_msi(evidence, function, draft), "old_msi_addr": old}


def _audio(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, function
    return {"audiodev": draft.audiodev()}


# -- serial ports, memory of backends --------------------------------------------------------------


def _serial(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, function
    return {"chardev": draft.chardev()}


def _serials(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence
    count = 4 if function.word(2) == 0x0004 else 2
    return {f"chardev{number}": draft.chardev() for number in range(1, count + 1)}


def _owned_backend(evidence: Evidence, function: PciFunction, draft: Draft) -> str | None:
    """The backend whose block is called after the device; None: there is none."""
    for name, block in evidence.blocks_of(function.way).items():
        shared = function.vmsd.startswith("ivshmem")
        if add_named_backend(draft, name, block.used_length, shared=shared):
            return name
    return None


def _ivshmem(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    """Only one that is master can be saved."""
    return {"memdev": _owned_backend(evidence, function, draft), "master": "on"}


def _virtio_mem(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    early = f"{function.way}/virtio-mem-device-early"
    return {
        "memdev": _owned_backend(evidence, function, draft),
        "block-size": evidence.number(early, "tmp/block_size"),
        "memaddr": evidence.number(early, "tmp/addr"),
        "node": evidence.number(early, "tmp/node") or None,
        "requested-size": evidence.number(early, "size") or None,
    }


def _crypto(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, function
    name = draft.new_id("crypto")
    draft.object("cryptodev-backend-builtin", {"id": name})
    return {"cryptodev": name}


def _erst(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    name = next(iter(evidence.device_backends), None)
    if name is not None:
        add_named_backend(draft, name, evidence.length(name) or 0)
    record = evidence.length(f"{function.way}/erst.exchange")
    return {"memdev": name, "record_size": record}


def _ipmi(evidence: Evidence, function: PciFunction, draft: Draft) -> Properties:
    del evidence, function
    return {"bmc": draft.bmc()}


_READERS: dict[str, Reader] = {
    **dict.fromkeys(("pcie-root-port", "ioh3420", "xio3130-downstream"), bridges.pcie_port),
    **dict.fromkeys(("pci-bridge", "pci-bridge-seat"), bridges.pci_bridge),
    "pcie-pci-bridge": bridges.pcie_pci_bridge,
    "VGA": _vga,
    "secondary-vga": _vga,
    **dict.fromkeys(("cirrus-vga", "ati-vga"), _vram),
    "vmware-svga": _vmware,
    "bochs-display": _bochs,
    **dict.fromkeys(("qxl", "qxl-vga"), _qxl),
    **dict.fromkeys(("e1000", "e1000-82544gc", "e1000-82545em"), _e1000),
    "e1000e": _e1000e,
    "vmxnet3": _vmxnet3,
    "pvscsi": _pvscsi,
    **dict.fromkeys(("megasas", "megasas-gen2"), _megasas),
    "mptsas1068": _without_msi,
    "nvme": _disk,
    **dict.fromkeys(("qemu-xhci", "nec-usb-xhci"), _xhci),
    "pci-ohci": _ohci,
    **{f"ich9-usb-uhci{number}": _companion for number in range(1, 7)},
    **dict.fromkeys(("ich9-intel-hda", "intel-hda"), _hda),
    **dict.fromkeys(("AC97", "ES1370", "virtio-sound-pci"), _audio),
    "pci-serial": _serial,
    **dict.fromkeys(("pci-serial-2x", "pci-serial-4x"), _serials),
    "ivshmem-plain": _ivshmem,
    "virtio-mem-pci": _virtio_mem,
    "virtio-crypto-pci": _crypto,
    "acpi-erst": _erst,
    **dict.fromkeys(("pci-ipmi-bt", "pci-ipmi-kcs"), _ipmi),
}
