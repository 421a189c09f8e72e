"""Which sections a device of a domain's XML has, as data.

A key is the element's name and what tells its model (MODELS), parts from left to right; the longest
key that fits counts.  A value holds the names that may stand after the slash in a section's name.

Upstream: libvirt src/qemu/qemu_command.c and src/conf/domain_conf.c for the models, QEMU's
VMStateDescriptions for the names, as `-dump-vmstate` of QEMU 10.0 lists them and images of it have
them.  qxl and vhost-user-gpu were read, not tried.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ADDED_BRIDGES", "IMPLICIT", "MODELS", "NAMES", "OFF_PCI"]

#: Where an element has its model: attributes of it, or of a child (CHILD/@ATTRIBUTE).
MODELS: Mapping[str, tuple[str, ...]] = {
    "channel": ("target/@type",),
    "console": ("target/@type",),
    "controller": ("@type", "@model", "model/@name"),
    "crypto": ("@model",),
    "disk": ("target/@bus", "@type"),
    "graphics": ("@type",),
    "filesystem": ("driver/@type",),
    "hostdev": ("@type",),
    "hub": ("@type",),
    "input": ("@bus", "@type"),
    "interface": ("model/@type", "@type"),
    "iommu": ("@model",),
    "memballoon": ("@model",),
    "memory": ("@model",),
    "nvram": (),
    "panic": ("@model",),
    "parallel": ("@type",),
    "redirdev": ("@bus",),
    "rng": ("@model",),
    "serial": ("target/@type",),
    "shmem": ("model/@type",),
    "smartcard": ("@mode",),
    "sound": ("@model",),
    "tpm": ("@model",),
    "video": ("model/@type", "driver/@name"),
    "vsock": ("@model",),
    "watchdog": ("@model",),
}

_EEPRO = {
    f"interface/{model}": (model, "eeprom")
    for model in ("i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b",
                  "i82559a", "i82559b", "i82559c", "i82559er", "i82562", "i82801")
}  # fmt: skip

NAMES: Mapping[str, tuple[str, ...]] = {
    "interface/virtio": ("virtio-net",),
    "interface/virtio-net": ("virtio-net",),
    "interface/virtio/hostdev": (),
    "interface/e1000": ("e1000",),
    "interface/e1000-82544gc": ("e1000",),
    "interface/e1000-82545em": ("e1000",),
    "interface/e1000e": ("e1000e",),
    "interface/igb": ("igb",),
    "interface/rtl8139": ("rtl8139",),
    "interface/vmxnet3": ("vmxnet3",),
    "interface/pcnet": ("pcnet",),
    "interface/ne2k_pci": ("ne2000",),
    "interface/usb-net": ("usb-net",),
    **_EEPRO,
    "disk/virtio": ("virtio-blk",),
    "disk/virtio/vhostuser": ("vhost-user-blk",),
    "disk/virtio/vhostvdpa": (),
    "disk/scsi": ("scsi-disk",),
    "disk/usb": ("usb-storage",),
    "controller/scsi/virtio": ("virtio-scsi",),
    "controller/scsi/virtio-scsi": ("virtio-scsi",),
    "controller/scsi/lsilogic": ("lsiscsi",),
    "controller/scsi/lsisas1068": ("mptsas",),
    "controller/scsi/lsisas1078": ("megasas",),
    "controller/scsi/vmpvscsi": ("pvscsi",),
    "controller/scsi/am53c974": ("pciespscsi",),
    "controller/scsi/dc390": ("pciespscsi", "eeprom"),
    "controller/usb/piix3-uhci": ("uhci",),
    "controller/usb/piix4-uhci": ("uhci",),
    "controller/usb/vt82c686b-uhci": ("uhci",),
    **{f"controller/usb/ich9-uhci{number}": ("uhci",) for number in range(1, 7)},
    "controller/usb/ehci": ("ehci",),
    "controller/usb/ich9-ehci1": ("ehci",),
    "controller/usb/ich9-ehci2": ("ehci",),
    "controller/usb/pci-ohci": ("ohci",),
    "controller/usb/nec-xhci": ("xhci",),
    "controller/usb/qemu-xhci": ("xhci",),
    "controller/sata": ("ich9_ahci",),
    "controller/ide": ("ide",),
    "controller/virtio-serial": ("virtio-console",),
    "controller/pci/pci-bridge": ("pci_bridge",),
    "controller/pci/pci-expander-bus": ("pci_bridge",),
    "controller/pci/dmi-to-pci-bridge": ("i82801b11_bridge",),
    "controller/pci/pcie-to-pci-bridge": ("pcie-pci-bridge",),
    "controller/pci/pcie-root-port": ("pcie-root-port", "ioh-3240-express-root-port"),
    "controller/pci/pcie-root-port/pcie-root-port": ("pcie-root-port",),
    "controller/pci/pcie-root-port/ioh3420": ("ioh-3240-express-root-port",),
    "controller/pci/pcie-switch-upstream-port": ("xio3130-express-upstream-port",),
    "controller/pci/pcie-switch-downstream-port": ("xio3130-express-downstream-port",),
    "crypto/virtio": ("virtio-crypto",),
    "filesystem": ("virtio-9p",),
    "filesystem/virtiofs": ("vhost-user-fs",),
    "hub/usb": ("usb-hub",),
    "input/virtio": ("virtio-input",),
    "input/virtio/passthrough": ("virtio-input-host",),
    "input/usb/keyboard": ("usb-kbd",),
    "input/usb/mouse": ("usb-ptr",),
    "input/usb/tablet": ("usb-ptr",),
    "iommu/virtio": ("virtio-iommu",),
    "iommu/intel": ("iommu-intel",),
    "memballoon/virtio": ("virtio-balloon",),
    "memory/virtio-mem": ("virtio-mem", "virtio-mem-device-early"),
    "panic/isa": (),
    "panic/pvpanic": ("pvpanic-pci",),
    "redirdev/usb": ("usb-redir",),
    "rng/virtio": ("virtio-rng",),
    "serial/isa-serial": ("serial",),
    "serial/pci-serial": ("pci-serial",),
    "shmem/ivshmem-plain": ("ivshmem-plain",),
    "shmem/ivshmem-doorbell": ("ivshmem-doorbell",),
    "sound/ac97": ("ac97",),
    "sound/es1370": ("es1370",),
    "sound/ich6": ("intel-hda",),
    "sound/ich7": ("intel-hda",),
    "sound/ich9": ("intel-hda",),
    "sound/virtio": ("virtio-sound-device",),
    "sound/usb": ("usb-audio",),
    "sound/sb16": ("sb16",),
    "tpm/tpm-tis": ("tpm-tis",),
    "tpm/tpm-crb": ("tpm-crb",),
    "video/bochs": ("bochs-display",),
    "video/cirrus": ("cirrus_vga",),
    "video/qxl": ("qxl",),
    "video/ramfb": ("ramfb-dev",),
    "video/vga": ("vga",),
    "video/virtio": ("virtio-gpu", "virtio-vga"),
    "video/virtio/vhostuser": ("vhost-user-gpu", "virtio-gpu", "virtio-vga"),
    "video/vmvga": ("vmware_vga",),
    "vsock/virtio": ("virtio-vhost_vsock",),
    "watchdog/i6300esb": ("i6300esb_wdt",),
    "watchdog/ib700": ("ib700_wdt",),
}

#: Devices that take no place on a PCI bus, unless their address says so.
OFF_PCI = frozenset((
    "channel", "console", "controller/ccid", "controller/fdc", "controller/isa",
    "controller/pci/pci-root", "controller/pci/pcie-root", "controller/usb/none",
    "controller/xenbus", "disk/fdc", "disk/ide", "disk/sata", "disk/scsi", "disk/sd", "disk/usb",
    "graphics", "hostdev/scsi", "hostdev/usb", "hub", "input/evdev", "input/ps2", "input/usb",
    "input/xen", "interface/usb-net", "iommu/intel", "iommu/smmuv3", "memballoon/none",
    "memory/dimm", "memory/nvdimm", "memory/sgx-epc", "nvram", "panic/hyperv", "panic/isa",
    "panic/pseries", "panic/s390", "parallel", "redirdev", "serial/isa-debug", "serial/isa-serial",
    "serial/sclp-serial", "serial/spapr-vio-serial", "serial/system-serial", "serial/usb-serial",
    "smartcard", "sound/pcspk", "sound/sb16", "sound/usb", "tpm", "video/none", "video/ramfb",
    "watchdog/diag288", "watchdog/ib700", "watchdog/itco",
))  # fmt: skip

#: Bridges that libvirt adds when it finds places for devices that have none.
ADDED_BRIDGES = frozenset(("i82801b11_bridge", "pci_bridge", "pcie-pci-bridge", "pcie-root-port"))

#: By the machine's name: PCI places that it has without being asked, and the names there.
IMPLICIT: tuple[tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]], ...] = (
    (
        re.compile(r"q35|pc-q35-.*"),
        {
            "0000:00:00.0": ("mch",),
            "0000:00:1f.0": ("ICH9LPC",),
            "0000:00:1f.2": ("ich9_ahci",),
            "0000:00:1f.3": ("ich9_smb",),
        },
    ),
    (
        re.compile(r"pc|pc-i440fx-.*|pc-[0-9].*"),
        {
            "0000:00:00.0": ("I440FX",),
            "0000:00:01.0": ("PIIX3",),
            "0000:00:01.1": ("ide",),
            "0000:00:01.3": ("piix4_pm",),
        },
    ),
    (re.compile(r"virt|virt-.*"), {"0000:00:00.0": ("gpex_root",)}),
)
