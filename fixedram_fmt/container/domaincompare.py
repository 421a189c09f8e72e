"""Which devices of an image a domain's XML has not, and the other way round.

PCI alone: there a section's name tells the device's place.  Upstream: migration/savevm.c
qemu_loadvm_section_start_full(), vmstate_register_with_alias_id(); libvirt
src/qemu/qemu_domain.c qemuDomainDefAddDefaultDevices() for what is added to an XML.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fixedram_fmt.container.devicetable import ADDED_BRIDGES, IMPLICIT, NAMES
from fixedram_fmt.schema.pci import ADDRESS

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Mapping

    from fixedram_fmt.container.domain import Domain
    from fixedram_fmt.container.domaindevices import DomainDevice

__all__ = ["Difference", "compared", "implicit"]

_Section = tuple[str, int]
#: What libvirt adds where the XML has no such device, and for whom: () is always.
_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "memballoon": (),
    "controller/usb": (),
    "controller/scsi": ("disk/scsi", "hostdev/scsi"),
    "controller/virtio-serial": ("channel", "console"),
    "video": ("graphics",),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where image and XML differ.

    no-device: the machine has nothing where the image's section belongs.  other-device: it has
    another kind of device there.  not-in-image: the image has no section for the XML's device.
    """

    kind: Literal["no-device", "other-device", "not-in-image"]
    section: _Section | None
    device: DomainDevice | None
    words: str


def implicit(machine: str | None) -> Mapping[str, tuple[str, ...]] | None:
    """The PCI places that a machine has by itself, with the names there; None: not known."""
    for pattern, places in IMPLICIT:
        if machine is not None and pattern.fullmatch(machine):
            return places
    return None


def compared(domain: Domain, sections: Iterable[_Section]) -> Iterator[Difference]:
    """Where the sections (names and instances) of an image and the domain differ.

    Nothing is told of a machine that is not known, nor where no device has a PCI address: then
    libvirt chooses the places.
    """
    fixed = implicit(domain.machine)
    placed: defaultdict[str, list[DomainDevice]] = defaultdict(list)
    for device in domain.devices:
        if device.path is not None:
            placed[device.path].append(device)
    if fixed is None or not placed:
        return
    found = [(one, match) for one in sections if (match := ADDRESS.fullmatch(one[0]))]
    chosen = _chosen_places(domain, ((match[1], match[2] or "") for _, match in found))
    allowed = {
        path: _names(placed.get(path, []), fixed.get(path, ())) for path in {*placed, *fixed}
    }
    for section, match in found:
        path = match[1]
        if path in allowed:
            names, first = allowed[path], next(iter(placed.get(path, [])), None)
            # What has another slash hangs on the device: a disk, a USB device.
            name = match[2] or ""
            if names is not None and "/" not in name and name not in names:
                yield _other(section, match, first, fixed.get(path, ()))
        elif path not in chosen:
            yield Difference("no-device", section, None, f"the XML has no device at {path}")
    there = {match[1] for _, match in found}
    for path, devices in placed.items():
        if path not in there:
            yield from (_missing(device) for device in devices if device.names)


def _names(devices: list[DomainDevice], fixed: tuple[str, ...]) -> frozenset[str] | None:
    """Names of sections at a place; None where that of a device is unknown."""
    if any(not device.names for device in devices):
        return None
    return frozenset((*fixed, *(name for device in devices for name in device.names)))


def _other(
    section: _Section, match: re.Match[str], device: DomainDevice | None, fixed: tuple[str, ...]
) -> Difference:
    """A section whose name is none of those that the devices at its place can have."""
    path, name = match[1], match[2] or ""
    has = f"{device.kind} {device.model[:60]!r}" if device else f"the machine's {fixed[0]}"
    words = f"the XML has {has} at {path}, not {name[:60]!r}"
    return Difference("other-device", section, device, words)


def _missing(device: DomainDevice) -> Difference:
    words = f"the image has no section of {device.kind} {device.model[:60]!r} at {device.path}"
    return Difference("not-in-image", None, device, words)


def _chosen_places(domain: Domain, found: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Places where a device can be that libvirt has put there: for which the XML has no address."""
    added = _added(domain)
    return frozenset(path for path, name in found if added is None or name in added)


def _added(domain: Domain) -> frozenset[str] | None:
    """Names of devices whose places libvirt chooses; None where any may be among them."""
    names: set[str] = set()
    for device in domain.devices:
        if device.is_unplaced:
            if not device.names:
                return None
            names.update(device.names)
    for kind, reasons in _DEFAULTS.items():
        if not _has(domain, kind) and (not reasons or any(_has(domain, one) for one in reasons)):
            names.update(name for key in NAMES if _fits(key, kind) for name in NAMES[key])
    return frozenset(names | ADDED_BRIDGES) if names else frozenset()


def _has(domain: Domain, kind: str) -> bool:
    return any(_fits(f"{device.kind}/{device.model}", kind) for device in domain.devices)


def _fits(key: str, kind: str) -> bool:
    """Whether a key begins with the parts of kind."""
    return f"{key}/".startswith(f"{kind}/")
