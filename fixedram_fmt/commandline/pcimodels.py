"""Which -device a PCI function is: by the name of its section, its ids, and what tells it apart.

Names are those of `-device help`; the rows were read from images of each device that QEMU 10.0 has,
and in the class_init functions of those that it does not build everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixedram_fmt.commandline.evidence import Evidence, PciFunction

__all__ = ["Model", "model_of"]


@dataclass(frozen=True, slots=True)
class Model:
    """A device: ids are (vendor, device), None for any; class_code and revision as in config.

    with_section is the name of another section that only it has, rom its usual option ROM: without
    a block for it the receiver's has to be switched off.  companions are the names of its other
    sections.
    """

    driver: str
    vmsd: str
    ids: tuple[int, int] | None = None
    class_code: int | None = None
    with_section: str = ""
    rom: bool = False
    companions: tuple[str, ...] = ()


_REDHAT = 0x1B36
_INTEL = 0x8086
_LSI = 0x1000
_AMD = 0x1022


def _eepro(name: str) -> Model:
    return Model(name, name, rom=True, companions=("eeprom",))


#: The first that fits counts.
_MODELS = (
    # -- virtio
    Model("virtio-net-pci", "virtio-net", rom=True),
    Model("virtio-blk-pci", "virtio-blk"),
    Model("virtio-scsi-pci", "virtio-scsi"),
    Model("virtio-serial-pci", "virtio-console"),
    Model("virtio-balloon-pci", "virtio-balloon"),
    Model("virtio-rng-pci", "virtio-rng"),
    Model("virtio-vga", "virtio-gpu", class_code=0x0300, companions=("virtio-vga",)),
    Model("virtio-gpu-pci", "virtio-gpu"),
    Model("virtio-keyboard-pci", "virtio-input", class_code=0x0900),
    Model("virtio-mouse-pci", "virtio-input", class_code=0x0902),
    Model("virtio-tablet-pci", "virtio-input"),
    Model("virtio-iommu-pci", "virtio-iommu"),
    Model("virtio-mem-pci", "virtio-mem", companions=("virtio-mem-device-early",)),
    Model("virtio-pmem-pci", "virtio-pmem"),
    Model("virtio-9p-pci", "virtio-9p"),
    Model("virtio-crypto-pci", "virtio-crypto"),
    Model("virtio-sound-pci", "virtio-sound"),
    Model("vhost-vsock-pci", "virtio-vhost_vsock"),
    # -- bridges
    Model("pcie-root-port", "pcie-root-port"),
    Model("ioh3420", "ioh-3240-express-root-port"),
    Model("x3130-upstream", "xio3130-express-upstream-port"),
    Model("xio3130-downstream", "xio3130-express-downstream-port"),
    Model("pci-bridge", "pci_bridge", (_REDHAT, 0x0001)),
    Model("pci-bridge-seat", "pci_bridge", (_REDHAT, 0x000A)),
    Model("pcie-pci-bridge", "pcie-pci-bridge"),
    Model("i82801b11-bridge", "i82801b11_bridge"),
    # -- USB
    Model("qemu-xhci", "xhci", (_REDHAT, 0x000D)),
    Model("nec-usb-xhci", "xhci", (0x1033, 0x0194)),
    Model("usb-ehci", "ehci", (_INTEL, 0x24CD)),
    Model("ich9-usb-ehci1", "ehci", (_INTEL, 0x293A)),
    Model("ich9-usb-ehci2", "ehci", (_INTEL, 0x293C)),
    Model("pci-ohci", "ohci"),
    Model("piix3-usb-uhci", "uhci", (_INTEL, 0x7020)),
    Model("piix4-usb-uhci", "uhci", (_INTEL, 0x7112)),
    *(
        Model(f"ich9-usb-uhci{number}", "uhci", (_INTEL, 0x2933 + number))
        for number in range(1, 7)
    ),
    # -- storage
    Model("ich9-ahci", "ich9_ahci"),
    Model("piix3-ide", "ide", (_INTEL, 0x7010)),
    Model("piix4-ide", "ide", (_INTEL, 0x7111)),
    Model("dc390", "pciespscsi", (_AMD, 0x2020), with_section="eeprom", companions=("eeprom",)),
    Model("am53c974", "pciespscsi", (_AMD, 0x2020)),
    Model("lsi53c810", "lsiscsi", (_LSI, 0x0001)),
    Model("lsi53c895a", "lsiscsi", (_LSI, 0x0012)),
    Model("megasas", "megasas"),
    Model("megasas-gen2", "megasas-gen2"),
    Model("mptsas1068", "mptsas"),
    Model("pvscsi", "pvscsi"),
    Model("sdhci-pci", "sdhci"),
    Model("nvme", "nvme"),
    # -- network
    Model("e1000", "e1000", (_INTEL, 0x100E), rom=True),
    Model("e1000-82544gc", "e1000", (_INTEL, 0x100C), rom=True),
    Model("e1000-82545em", "e1000", (_INTEL, 0x100F), rom=True),
    Model("e1000e", "e1000e", rom=True),
    Model("igb", "igb"),
    Model("rtl8139", "rtl8139", rom=True),
    Model("ne2k_pci", "ne2000", rom=True),
    Model("pcnet", "pcnet", rom=True),
    Model("tulip", "tulip", companions=("eeprom",)),
    Model("vmxnet3", "vmxnet3", rom=True),
    *(
        _eepro(name)
        for name in (
            "i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b", "i82559a",
            "i82559b", "i82559c", "i82559er", "i82562", "i82801",
        )
    ),
    # -- displays and sound
    Model("secondary-vga", "vga", (0x1234, 0x1111), class_code=0x0380),
    Model("VGA", "vga", (0x1234, 0x1111), rom=True),
    Model("bochs-display", "bochs-display", rom=True),
    Model("cirrus-vga", "cirrus_vga", rom=True),
    Model("qxl-vga", "qxl", class_code=0x0300, rom=True),
    Model("qxl", "qxl"),
    Model("vmware-svga", "vmware_vga", rom=True),
    Model("AC97", "ac97"),
    Model("ES1370", "es1370"),
    Model("ich9-intel-hda", "intel-hda", (_INTEL, 0x293E)),
    Model("intel-hda", "intel-hda", (_INTEL, 0x2668)),
    # -- serial ports and others
    Model("pci-serial", "pci-serial"),
    Model("pci-serial-2x", "pci-serial-multi", (_REDHAT, 0x0003)),
    Model("pci-serial-4x", "pci-serial-multi", (_REDHAT, 0x0004)),
    Model("acpi-erst", "acpi-erst"),
    Model("ivshmem-plain", "ivshmem-plain"),
    Model("pvpanic-pci", "pvpanic-pci"),
    Model("tpci200", "tpci200"),
    Model("i6300esb", "i6300esb_wdt"),
    Model("pci-ipmi-bt", "ipmi-interface-pci-bt"),
    Model("pci-ipmi-kcs", "ipmi-interface-pci-kcs"),
    Model("edu", "edu"),
    Model("pci-testdev", "pci-testdev"),
)  # fmt: skip
_BY_VMSD: dict[str, list[Model]] = {}
for _model in _MODELS:
    _BY_VMSD.setdefault(_model.vmsd, []).append(_model)


def model_of(evidence: Evidence, function: PciFunction) -> Model | None:
    """The device that a function is; None: none is known by its section and ids."""
    for model in _BY_VMSD.get(function.vmsd, ()):
        fits_ids = model.ids is None or model.ids == function.ids
        fits_class = model.class_code is None or model.class_code == function.word(0x0A)
        section = model.with_section
        if fits_ids and fits_class and (
            not section or evidence.has(f"{function.way}/{section}")
        ):  # fmt: skip
            return model
    return None
