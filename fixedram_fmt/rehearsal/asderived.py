"""Devices and memory that an image tells, put into a VM that lacks them or has them otherwise.

What the image tells is its derived command line (fixedram_fmt.commandline); taken from it is what a
message is about, the rest of the VM stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.commandline import command_line
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.rehearsal.vm import Vm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.rehearsal.keyvalues import KeyValues

__all__ = ["as_derived", "block_as_derived"]

#: A device on the first bus, as sections and ROMs name it: `0000:00:03.0/virtio-net`.
_PLACE = re.compile(r"0000:00:(?P<slot>[0-9a-f]{2}\.[0-7])/")
#: Properties that say where a device is, or what stands behind it: those of the VM's own are kept.
_OWN = frozenset({"driver", "id", "bus", "addr", "drive", "netdev", "chardev", "memdev", "mac",
                  "rng", "fsdev", "audiodev"})  # fmt: skip
#: Options whose value has the name that a device gives, by the device's property.
_BACKENDS = {"drive": ("blockdev", "drive"), "netdev": ("netdev",), "chardev": ("chardev",),
             "rng": ("object",), "fsdev": ("fsdev",), "audiodev": ("audiodev",)}  # fmt: skip


def as_derived(name: str, vm: Vm, image: Image) -> str | None:
    """The device of a section or ROM, as the image tells it; None where that changes nothing."""
    place = _PLACE.match(name)
    told = _told(image, vm) if place else None
    if told is None or place is None:
        return None
    wanted = next((one for _, one in told.values("device") if _is_at(one, place["slot"])), None)
    if wanted is None:
        return None
    for number, own in _like(wanted, place["slot"], vm):
        changed = {key: value for key, value in wanted.members.items() if key not in _OWN}
        changed |= {"driver": wanted.members["driver"]}
        if all(own.members.get(key) == value for key, value in changed.items()):
            return None
        own.members.update(changed)
        return vm.replace(number, own)
    for key, options in _BACKENDS.items():
        for option, backend in _named(told, options, wanted.get(key)):
            vm.add(option, str(backend))
    return vm.add("device", str(wanted))


def block_as_derived(name: str, vm: Vm, image: Image) -> str | None:
    """The memory device whose backend is called name; None where the image tells none."""
    told = _told(image, vm)
    backends = list(_named(told, ("object",), name)) if told else []
    if told is None or not backends or any(_named(vm, ("object",), name)):
        return None
    for _, members in told.values("m"):
        for key, value in members.members.items():
            vm.set("m", key, value)
    added = [vm.add(option, str(backend)) for option, backend in backends]
    for _, device in told.values("device"):
        if device.get("memdev") == name:
            added.append(vm.add("device", str(device)))
    return " ".join(added)


def _told(image: Image, vm: Vm) -> Vm | None:
    """The VM that the image tells; None where it tells none."""
    try:
        return Vm.of(command_line(image).vm, vm.accel, vm.folder)
    except FixedRamError:
        return None


def _like(wanted: KeyValues, slot: str, vm: Vm) -> Iterator[tuple[int, KeyValues]]:
    """Devices of the VM that are meant: that at the place, else those of the kind, in order."""
    devices = list(vm.values("device"))
    yield from (one for one in devices if _is_at(one[1], slot))
    kind = _kind(wanted)
    yield from (one for one in devices if _kind(one[1]) == kind and not one[1].get("addr"))


def _kind(device: KeyValues) -> str:
    """`virtio-net` is virtio-net-pci (QEMU system/qdev-monitor.c qdev_alias_table)."""
    return (device.get("driver") or "").removesuffix("-pci")


def _is_at(device: KeyValues, slot: str) -> bool:
    """Whether a device is on the first bus, at a slot as names of sections have it (`03.1`)."""
    number, _, function = (device.get("addr") or "").partition(".")
    if device.get("bus") not in {None, "pci.0", "pcie.0", "pci"}:
        return False
    try:
        return f"{int(number, 16):02x}.{int(function or '0', 16):x}" == slot
    except ValueError:
        return False


def _named(vm: Vm, options: tuple[str, ...], name: str | None) -> Iterator[tuple[str, KeyValues]]:
    """Options of these kinds that define name."""
    for option in options:
        for _, members in vm.values(option):
            if name is not None and name in (members.get("id"), members.get("node-name")):
                yield option, members
