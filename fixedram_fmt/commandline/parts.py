"""Devices without a place in their sections' names: on ISA, in the system, codecs, serial ports.

Names are those of `-device help`; sections those of the devices' VMStateDescriptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.virtio import serial_ports
from fixedram_fmt.memory.ranges import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

    Properties = dict[str, str | int | None]

__all__ = ["contribute", "first"]

_HDA = frozenset({"ich9-intel-hda", "intel-hda"})
#: hw/audio/hda-codec.c desc_*: a duplex codec records with its second stream.
_RECORDING = "st[1]/format"
_ATI = "ati-vga"
#: Instances of one kind that a machine can have.
_CEILING = 16


def _plain(draft: Draft) -> Properties:
    del draft
    return {}


def _with_chardev(draft: Draft) -> Properties:
    return {"chardev": draft.chardev()}


def _with_audiodev(draft: Draft) -> Properties:
    return {"audiodev": draft.audiodev()}


def _with_bmc(draft: Draft) -> Properties:
    return {"bmc": draft.bmc()}


#: By the name of the section: the device, and the properties without which it is refused.
_PARTS: dict[str, tuple[str, Callable[[Draft], Properties]]] = {
    "serial": ("isa-serial", _with_chardev),
    "parallel_isa": ("isa-parallel", _with_chardev),
    "fdc": ("isa-fdc", _plain),
    "sb16": ("sb16", _with_audiodev),
    "cs4231a": ("cs4231a", _with_audiodev),
    "gus": ("gus", _with_audiodev),
    "ib700_wdt": ("ib700", _plain),
    "vmcoreinfo": ("vmcoreinfo", _plain),
    "vmgenid": ("vmgenid", _plain),
    "ramfb-dev": ("ramfb", _plain),
    "ipmi-interface": ("isa-ipmi-kcs", _with_bmc),
    "ipmi-interface-isa-bt": ("isa-ipmi-bt", _with_bmc),
    "ne2000": ("ne2k_isa", _plain),
    "vga": ("isa-vga", _plain),
    "cirrus_vga": ("isa-cirrus-vga", _plain),
    "hv-syndbg": ("hv-syndbg", _plain),
    "pvpanic": ("pvpanic", _plain),
}
_TPM = {"tpm-tis": "tpm-tis", "tpm-crb": "tpm-crb"}


def first(evidence: Evidence, draft: Draft) -> None:
    """What has to be there before any PCI device: an IOMMU."""
    if evidence.has("iommu-intel"):
        draft.device("intel-iommu", {})
        draft.claim("iommu-intel")


def contribute(evidence: Evidence, draft: Draft) -> None:
    """A -device for each part, codec and port."""
    for name, (driver, properties) in _PARTS.items():
        for instance in evidence.instances(name)[:_CEILING]:
            if (name, instance) in draft.claimed:
                continue
            if draft.device(driver, properties(draft)):
                draft.claim(name, instance)
    for name in _TPM:
        if evidence.has(name):
            draft.doubt(f"{name} needs a TPM (swtpm) behind it: give -tpmdev and -device yourself")
    _ati(evidence, draft)
    _codecs(evidence, draft)
    _ports(evidence, draft)
    # Of a card without a -device of its own, as boards have them: the state is there without one.
    while draft.next_user_netdev(evidence.instances("slirp")):
        pass


def _ati(evidence: Evidence, draft: Draft) -> None:
    """ati-vga has no state of its own (QEMU 10.0): it is there by its blocks, and its DDC."""
    for way, names in evidence.owned.items():
        if f"{_ATI}.rom" not in names or way in evidence.functions:
            continue
        bus, _, slot = way.rpartition(":")
        length = evidence.length(f"{way}/vga.vram") or 0
        if bus not in draft.pci_buses:
            continue
        place: Properties = {"bus": draft.pci_buses[bus], "addr": slot}
        draft.device(_ATI, {**place, "vgamem_mb": length // MIB or None})
        draft.claim("i2c-ddc")
        draft.doubt(f"the model= of {_ATI} at {way} is not told")


def _codecs(evidence: Evidence, draft: Draft) -> None:
    """Codecs of HDA, whose sections do not say on which controller they are: the first."""
    controllers = [one.id for one in draft.placed.values() if one.driver in _HDA]
    if not controllers:
        return
    for instance in evidence.instances("hda-audio")[:_CEILING]:
        records = evidence.number("hda-audio", _RECORDING, instance)
        driver = "hda-output" if records == 0 else "hda-duplex"
        properties: Properties = {"bus": f"{controllers[0]}.0", "audiodev": draft.audiodev()}
        if draft.device(driver, properties):
            draft.claim("hda-audio", instance)
        if records != 0:
            draft.doubt("whether a codec is hda-duplex or hda-micro is not told: hda-duplex")
    if len(controllers) > 1:
        draft.doubt("on which HDA controller the codecs are is not told: all on the first")


def _ports(evidence: Evidence, draft: Draft) -> None:
    """Ports of virtio-serial: number 0 is for a console, of others that is not told."""
    for way, controller in list(draft.placed.items()):
        if not controller.driver.startswith("virtio-serial"):
            continue
        for number in serial_ports(evidence, f"{way}/virtio-console"):
            driver = "virtserialport" if number else "virtconsole"
            properties: Properties = {"bus": f"{controller.id}.0", "nr": number}
            draft.device(driver, {**properties, "chardev": draft.chardev()})
            if number:
                draft.doubt("names of virtserialports are not in the image, nor whether it is one")
