"""Devices of <devices> beside controllers, disks and character devices: adders by element.

Upstream: libvirt src/qemu/qemu_command.c, the qemuBuild*DevProps() of each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.commandline import virtio
from fixedram_fmt.commandline.fromxml.dimms import add_memory_device
from fixedram_fmt.commandline.fromxml.plan import count, number, on_off, word

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan

    Properties = dict[str, str | int | None]

__all__ = ["ADDERS", "usb_place"]

_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,4}", re.ASCII)
_KIB_PER_MIB = 1024


def usb_place(element: Element) -> Properties:
    """Bus and port of an address of the type usb."""
    address = element.find("address")
    if address is None or address.get("type") != "usb":
        return {}
    bus = number(address, "bus") or 0
    port = address.get("port") or ""
    name = f"usb{bus}" if bus else "usb"
    return {"bus": f"{name}.0", "port": port if _PORT.fullmatch(port) else None}


# -- network ---------------------------------------------------------------------------------------

#: -device names of the models that are no virtio; what has a ROM.
_CARDS = frozenset((
    "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "igb", "i82550", "i82551", "i82557a",
    "i82557b", "i82557c", "i82558a", "i82558b", "i82559a", "i82559b", "i82559c", "i82559er",
    "i82562", "i82801", "ne2k_pci", "pcnet", "rtl8139", "usb-net", "vmxnet3",
))  # fmt: skip


def _interface(plan: Plan, element: Element) -> None:
    model = word(element.find("model"), "type") or "rtl8139"
    own: Properties = {}
    if element.get("type") in ("hostdev", "vdpa", "vhostuser"):
        plan.left_out(f"an interface of the type {element.get('type')}")
        return
    if model.startswith("virtio"):
        driver = plan.virtio_driver("virtio-net", element, model)
        own |= _virtio_net(plan, element)
    elif model == "spapr-vlan":
        driver = model
        reg = number(element.find("address"), "reg")
        own["reg"] = f"{reg:#x}" if reg else None
    elif model in _CARDS:
        driver = model
    else:
        plan.left_out(f"an interface of the model {model}")
        return
    if element.get("type") == "user":
        user = plan.draft.next_user_netdev(plan.evidence.instances("slirp"))
        own["netdev"] = user or own.get("netdev")
    mac = element.find("mac")
    address = mac.get("address") or "" if mac is not None else ""
    own |= {"id": plan.name(element, "net"), "mac": address if _MAC.fullmatch(address) else None}
    if driver == "usb-net":
        own |= usb_place(element)
    else:
        own |= plan.place(element)
        own |= plan.rom(element) if "pci" in driver or driver in _CARDS else {}
    plan.draft.device(driver, own)


def _virtio_net(plan: Plan, element: Element) -> Properties:
    """What the XML says, and the backend that the image's state asks for."""
    driver = element.find("driver")
    queues = count(driver, "queues", 256)
    found: Properties = {}
    section = plan.section(element, "virtio-net")
    device = virtio.virtio_of(plan.evidence, section, "virtio-net") if section else None
    if device is not None:
        vectors = 2 * queues + 2 if queues else 0
        told = virtio.type_properties(plan.evidence, section or "", device, plan.draft, vectors)
        found["netdev"] = told.get("netdev")
        found["mq"] = told.get("mq")
    mtu = element.find("mtu")
    found |= {
        "rx_queue_size": count(driver, "rx_queue_size"),
        "tx_queue_size": count(driver, "tx_queue_size"),
        "host_mtu": count(mtu, "size"),
        "rss": on_off(driver, "rss"),
        "hash": on_off(driver, "rss_hash_report"),
        **plan.virtio_options(element),
    }
    if queues and queues > 1:
        found |= {"mq": "on", "vectors": 2 * queues + 2}
    return found


# -- input, display, sound -------------------------------------------------------------------------

_INPUTS = {"tablet": "tablet", "mouse": "mouse", "keyboard": "kbd"}
_VIRTIO_INPUTS = {"tablet": "virtio-tablet", "mouse": "virtio-mouse", "keyboard": "virtio-keyboard"}


def _input(plan: Plan, element: Element) -> None:
    kind, bus = element.get("type") or "", element.get("bus")
    own: Properties = {"id": plan.name(element, "input")} if bus in ("usb", "virtio") else {}
    if bus == "usb" and kind in _INPUTS:
        plan.draft.device(f"usb-{_INPUTS[kind]}", {**own, **usb_place(element)})
    elif bus == "virtio" and kind in _VIRTIO_INPUTS:
        driver = plan.virtio_driver(_VIRTIO_INPUTS[kind], element, element.get("model"))
        plan.draft.device(driver, {**own, **plan.virtio_options(element), **plan.place(element)})
    elif bus not in ("ps2", "xen", None):
        plan.left_out(f"an input {kind} on {bus}")


_VIDEOS = {"vga": "VGA", "cirrus": "cirrus-vga", "vmvga": "vmware-svga", "bochs": "bochs-display",
           "qxl": "qxl-vga", "ramfb": "ramfb"}  # fmt: skip
_SECONDARY = {"qxl": "qxl"}


def _video(plan: Plan, element: Element) -> None:
    model = element.find("model")
    kind = word(model, "type") or ""
    if kind in ("none", ""):
        return
    is_first = element is plan.root.find("devices/video") or on_off(model, "primary") == "on"
    own: Properties = {"id": plan.name(element, "video"), **plan.place(element)}
    if kind == "virtio":
        driver = "virtio-vga" if is_first and "x86" in plan.draft.program else None
        driver = driver or plan.virtio_driver("virtio-gpu", element, None)
        own["max_outputs"] = count(model, "heads", 16)
        own |= plan.virtio_options(element)
    elif kind in _VIDEOS:
        driver = _VIDEOS[kind] if is_first else _SECONDARY.get(kind, _VIDEOS[kind])
        own |= _video_memory(model, kind)
    else:
        plan.left_out(f"a video of the type {kind}")
        return
    if driver in ("VGA", "cirrus-vga", "qxl-vga", "virtio-vga", "vmware-svga", "qxl"):
        own |= plan.rom(element)
    plan.draft.device(driver, own)


def _video_memory(model: Element | None, kind: str) -> Properties:
    """Sizes in KiB in the XML, in MiB or bytes for QEMU."""
    sizes = {one: count(model, one, 1 << 22) for one in ("vram", "ram", "vgamem", "vram64")}
    in_bytes = {one: value * 1024 if value else None for one, value in sizes.items()}
    in_mib = {one: value // _KIB_PER_MIB if value else None for one, value in sizes.items()}
    if kind == "qxl":
        return {
            "ram_size": in_bytes["ram"],
            "vram_size": in_bytes["vram"],
            "vram64_size_mb": in_mib["vram64"] or 0,
            "vgamem_mb": in_mib["vgamem"],
            "max_outputs": count(model, "heads", 15),
        }
    if kind in ("vga", "vmvga"):
        return {"vgamem_mb": in_mib["vram"]}
    return {"vgamem": in_bytes["vram"]} if kind == "bochs" else {}


_SOUNDS = {"ac97": "AC97", "es1370": "ES1370", "sb16": "sb16", "usb": "usb-audio"}
_HDA = {"ich6": "intel-hda", "ich9": "ich9-intel-hda", "ich7": "intel-hda"}
_CODECS = {"duplex": "hda-duplex", "micro": "hda-micro", "output": "hda-output"}


def _sound(plan: Plan, element: Element) -> None:
    model = element.get("model") or ""
    if model == "pcspk":
        return
    name = plan.name(element, "sound")
    if model in _HDA:
        plan.draft.device(_HDA[model], {"id": name, **plan.place(element)})
        codecs = [one.get("type") or "" for one in element.findall("codec")[:15]] or ["duplex"]
        for cad, codec in enumerate(codecs):
            own: Properties = {"id": f"{name}-codec{cad}", "bus": f"{name}.0", "cad": cad}
            own["audiodev"] = plan.draft.audiodev()
            plan.draft.device(_CODECS.get(codec, "hda-duplex"), own)
    elif model in _SOUNDS:
        place = usb_place(element) if model == "usb" else plan.place(element)
        own = {"id": name, "audiodev": plan.draft.audiodev(), **place}
        plan.draft.device(_SOUNDS[model], own)
    elif model == "virtio":
        driver = plan.virtio_driver("virtio-sound", element, None)
        plan.draft.device(
            driver, {"id": name, "audiodev": plan.draft.audiodev(), **plan.place(element)}
        )
    else:
        plan.left_out(f"a sound of the model {model}")


# -- the rest --------------------------------------------------------------------------------------


def _memballoon(plan: Plan, element: Element) -> None:
    model = element.get("model") or ""
    if not model.startswith("virtio"):
        return
    own: Properties = {
        "id": plan.name(element, "balloon"),
        "deflate-on-oom": on_off(element, "autodeflate"),
        "free-page-reporting": on_off(element, "freePageReporting"),
    }
    driver = plan.virtio_driver("virtio-balloon", element, model)
    plan.draft.device(driver, {**own, **plan.virtio_options(element), **plan.place(element)})


def _rng(plan: Plan, element: Element) -> None:
    driver = plan.virtio_driver("virtio-rng", element, element.get("model"))
    own: Properties = {"id": plan.name(element, "rng")}
    plan.draft.device(driver, {**own, **plan.virtio_options(element), **plan.place(element)})


def _watchdog(plan: Plan, element: Element) -> None:
    model = element.get("model") or ""
    if model in ("i6300esb", "ib700", "diag288"):
        plan.draft.device(model, {"id": plan.name(element, "watchdog"), **plan.place(element)})
    elif model != "itco":  # the machine's own
        plan.left_out(f"a watchdog of the model {model}")


def _panic(plan: Plan, element: Element) -> None:
    model = element.get("model") or "isa"
    if model == "isa":
        port = number(element.find("address"), "iobase")
        plan.draft.device("pvpanic", {"ioport": port})
    elif model == "pvpanic":
        plan.draft.device("pvpanic-pci", plan.place(element))


def _hub(plan: Plan, element: Element) -> None:
    plan.draft.device("usb-hub", {"id": plan.name(element, "hub"), **usb_place(element)})


def _iommu(plan: Plan, element: Element) -> None:
    model = element.get("model")
    options = element.find("driver")
    if model == "intel":
        own: Properties = {
            "id": "iommu0",
            "intremap": on_off(options, "intremap"),
            "caching-mode": on_off(options, "caching_mode"),
            "eim": on_off(options, "eim"),
            "device-iotlb": on_off(options, "iotlb"),
            "aw-bits": count(options, "aw_bits", 64),
        }
        plan.draft.devices.insert(0, _first(plan, own))
        plan.draft.machine["kernel-irqchip"] = "split"
    elif model == "virtio":
        plan.draft.device("virtio-iommu-pci", {"id": "iommu0", **plan.place(element)})


def _first(plan: Plan, own: Properties) -> str:
    """An IOMMU, which has to be there before the devices that it is for."""
    plan.draft.device("intel-iommu", own)
    return plan.draft.devices.pop()


def _crypto(plan: Plan, element: Element) -> None:
    name = plan.name(element, "crypto")
    plan.draft.object("cryptodev-backend-builtin", {"id": f"obj{name}"})
    driver = plan.virtio_driver("virtio-crypto", element, None)
    plan.draft.device(driver, {"id": name, "cryptodev": f"obj{name}", **plan.place(element)})


def _redirdev(plan: Plan, element: Element) -> None:
    own: Properties = {"chardev": plan.draft.chardev(), "id": plan.name(element, "redir")}
    plan.draft.device("usb-redir", {**own, **usb_place(element)})


def _tpm(plan: Plan, element: Element) -> None:
    del element
    plan.draft.doubt(
        "the XML has a TPM, which has its state in swtpm: give -tpmdev with an swtpm that has it"
    )


def _of_host(plan: Plan, element: Element) -> None:
    plan.left_out(f"a {element.tag}")


ADDERS: dict[str, Callable[[Plan, Element], None]] = {
    "crypto": _crypto, "filesystem": _of_host, "hostdev": _of_host, "hub": _hub, "input": _input,
    "interface": _interface, "iommu": _iommu, "memballoon": _memballoon,
    "memory": add_memory_device,
    "panic": _panic, "redirdev": _redirdev, "rng": _rng, "shmem": _of_host,
    "smartcard": _of_host, "sound": _sound, "tpm": _tpm, "video": _video, "vsock": _of_host,
    "watchdog": _watchdog,
}  # fmt: skip
