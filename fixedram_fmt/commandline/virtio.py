"""virtio devices on PCI: properties by the configuration space and by what virtio_save() wrote.

Upstream: QEMU hw/virtio/virtio-pci.c virtio_pci_device_plugged(); linux virtio_{net,blk,scsi}.h for
the layouts of their configurations; hw/virtio/virtio.c virtio_set_features_nocheck(), which refuses
features that the receiver does not offer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import is_sayable, option
from fixedram_fmt.commandline.virtionet import net_properties
from fixedram_fmt.commandline.virtiostate import Virtio, virtio_of
from fixedram_fmt.receiver.virtioblob import ACTIVE_PORTS, OUTPUTS_CEILING, outputs, virtio_contents
from fixedram_fmt.schema.pci import CAP_ID_MSIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence, PciFunction

    Properties = dict[str, str | int | None]

__all__ = [
    "Virtio",
    "disk_of",
    "is_virtio",
    "pci_transport",
    "serial_ports",
    "share_of",
    "type_properties",
    "virtio_of",
]

_SECTOR = 512
_USUAL_SIZE, _LARGEST_SIZE = 256, 1024
_USUAL_PORTS = 31


# -- what all have on PCI --------------------------------------------------------------------------

_VIRTIO_VENDOR, _MODERN_IDS = 0x1AF4, 0x1040
_CAP_VENDOR, _EXT_ATS, _EXT_AER = 0x09, 0x0F, 0x01
#: virtio_pci_cap: its type and BAR, and notify_off_multiplier of virtio_pci_notify_cap.
_CAP_TYPE, _CAP_NOTIFY, _MULTIPLIER, _PAGE = 3, 2, 16, 0x1000
#: Devices that are there without their legacy half too.
_TRANSITIONAL = frozenset({
    "virtio-net-pci", "virtio-blk-pci", "virtio-scsi-pci", "virtio-serial-pci",
    "virtio-balloon-pci", "virtio-rng-pci", "virtio-9p-pci", "vhost-scsi-pci",
})  # fmt: skip
_WITHOUT_VECTORS = frozenset({"virtio-iommu-pci", "virtio-pmem-pci"})


def is_virtio(driver: str) -> bool:
    """Whether a driver is one of virtio."""
    return driver.startswith(("virtio-", "vhost-"))


def pci_transport(function: PciFunction, driver: str) -> Properties:
    """Properties that any virtio device on PCI has, by its configuration space."""
    found: Properties = {}
    msix = function.capability(CAP_ID_MSIX)
    if driver not in _WITHOUT_VECTORS:
        found["vectors"] = 0 if msix is None else (function.word(msix + 2) & 0x7FF) + 1
    notify = [at for at in function.capabilities(_CAP_VENDOR) if _is_notify(function, at)]
    if driver in _TRANSITIONAL:
        modern = function.word(2) >= _MODERN_IDS
        found["disable-legacy"] = "on" if modern else "off"
        found["disable-modern"] = None if notify else "on"
    if any(function.word(at + _MULTIPLIER, 4) == _PAGE for at in notify):
        found["page-per-vq"] = "on"
    if len(notify) > 1:
        found["modern-pio-notify"] = "on"
    if function.extended(_EXT_ATS) is not None:
        found["ats"] = "on"
    if function.extended(_EXT_AER) is not None:
        found["aer"] = "on"
    return found


def _is_notify(function: PciFunction, at: int) -> bool:
    return function.word(at + _CAP_TYPE, 1) == _CAP_NOTIFY


# -- by type ---------------------------------------------------------------------------------------

#: Properties that offer a feature which is off as a rule.
_OFFERS = {
    "RING_PACKED": ("packed", "on"), "ACCESS_PLATFORM": ("iommu_platform", "on"),
    "IN_ORDER": ("in_order", "on"),
    "DEFLATE_ON_OOM": ("deflate-on-oom", "on"), "REPORTING": ("free-page-reporting", "on"),
    "RESOURCE_BLOB": ("blob", "on"), "T10_PI": ("t10_pi", "on"),
}  # fmt: skip


def _size_above(size: int) -> int | None:
    """A size of queues that is no default: others a guest may have made smaller itself."""
    return size if _USUAL_SIZE < size <= _LARGEST_SIZE else None


def _blk(evidence: Evidence, section: str, device: Virtio) -> Properties:
    del evidence, section
    size = device.queues[0] if device.queues else 0
    return {"num-queues": len(device.queues) or None, "queue-size": _size_above(size)}


def _scsi(evidence: Evidence, section: str, device: Virtio) -> Properties:
    """A control queue and one of events come first."""
    del evidence, section
    size = device.queues[0] if device.queues else 0
    return {
        "num_queues": max(len(device.queues) - 2, 0) or None,
        "virtqueue_size": _size_above(size),
    }


def _console(evidence: Evidence, section: str, device: Virtio) -> Properties:
    del evidence, section
    most = int.from_bytes(device.rest[4:8], "big")
    return {"max_ports": most if 0 < most < 512 and most != _USUAL_PORTS else None}


def _balloon(evidence: Evidence, section: str, device: Virtio) -> Properties:
    """Three queues of 128 buffers; one of 32 is that of reports."""
    del evidence, section
    return {"free-page-reporting": "on" if 32 in device.queues else None}


def _vsock(evidence: Evidence, section: str, device: Virtio) -> Properties:
    """guest_cid of virtio_vsock_config; QEMU takes none below 3."""
    del evidence, section
    return {"guest-cid": max(device.number(0, 8), 3)}


def _gpu(evidence: Evidence, section: str, device: Virtio) -> Properties:
    del device
    found = [*outputs(evidence.raw(section, "virtio-gpu")[-OUTPUTS_CEILING:])]
    count = int.from_bytes(found[0].raw, "big") if found else 1
    return {"max_outputs": count if count > 1 else None}


_BY_VMSD: dict[str, Callable[[Evidence, str, Virtio], Properties]] = {
    "virtio-blk": _blk,
    "virtio-scsi": _scsi,
    "virtio-console": _console,
    "virtio-balloon": _balloon,
    "virtio-gpu": _gpu,
    "virtio-vhost_vsock": _vsock,
}


def type_properties(
    evidence: Evidence, section: str, device: Virtio, draft: Draft, vectors: int = 0
) -> Properties:
    """Properties by the type of the device, the features that its guest took, and its queues."""
    found: Properties = {}
    for feature, (name, value) in _OFFERS.items():
        if feature in device.features:
            found[name] = value
    if device.vmsd == "virtio-net":
        found |= net_properties(device, draft, vectors)
    reader = _BY_VMSD.get(device.vmsd)
    if reader is not None:
        found |= reader(evidence, section, device)
    return found


def disk_of(device: Virtio | None, draft: Draft, whose: str) -> str:
    """The node of a virtio-blk's disk: of the capacity that the guest read, if it did."""
    capacity = device.number(0, 8) if device is not None else 0
    size = capacity * _SECTOR if 0 < capacity < 1 << 54 else None
    return draft.disk(size, whose, read_only=device is not None and "RO" in device.features)


def share_of(device: Virtio | None, draft: Draft) -> Properties:
    """A file system for a virtio-9p, under the tag that its configuration has, if the guest asked.

    Upstream: linux virtio_9p.h struct virtio_9p_config.
    """
    tag = device.config[2 : 2 + device.number(0, 2)] if device is not None else b""
    name = draft.new_id("share")
    draft.others.append(("-fsdev", option("synth", {"id": name})))
    draft.doubt(f"{name} is a file system of nothing: put the shared folder in its place")
    text = tag.decode("ascii", "replace")
    return {"fsdev": name, "mount_tag": text if is_sayable(text) else name}


def serial_ports(evidence: Evidence, section: str) -> list[int]:
    """Numbers of the ports of a virtio-serial device, in the order in which they were made."""
    device = evidence.device(section)
    raw = evidence.raw(section, "virtio")
    for one in virtio_contents(device, raw) if device is not None and raw else ():
        if one.type == ACTIVE_PORTS:
            return [int.from_bytes(one.raw[at : at + 4], "big") for at in range(0, len(one.raw), 4)]
    return []
