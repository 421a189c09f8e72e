"""virtio devices that are on no PCI bus: virtio-mmio transports, and channel devices of s390x.

Upstream: QEMU hw/virtio/virtio-mmio.c virtio_mmio_bus_get_dev_path(), hw/s390x/virtio-ccw.c
virtio_ccw_bus_get_dev_path() through hw/s390x/css-bridge.c virtual_css_bus_get_dev_path().
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["MmioBuses", "give_ccw", "give_mmio"]

_MMIO = re.compile(r"virtio-mmio@([0-9a-f]{16})/(virtio-[a-z0-9-]+)")
_CCW = re.compile(r"/([0-9a-f]{1,2}\.[0-3]\.[0-9a-f]{4})/(virtio-[a-z0-9-]+)")

#: The driver, before its transport, of what has a section of this name; and what it stands on.
_DRIVERS = {
    "virtio-9p": "",
    "virtio-balloon": "virtio-balloon",
    "virtio-blk": "virtio-blk",
    "virtio-console": "virtio-serial",
    "virtio-crypto": "",
    "virtio-gpu": "virtio-gpu",
    "virtio-input": "virtio-tablet",
    "virtio-iommu": "",
    "virtio-net": "virtio-net",
    "virtio-rng": "virtio-rng",
    "virtio-scsi": "virtio-scsi",
    "virtio-sound-device": "virtio-sound",
}


@dataclass(frozen=True, slots=True)
class MmioBuses:
    """The transports of a board: where the first lies, how far apart they are, how many."""

    first: int
    step: int
    count: int

    def bus(self, address: int) -> str | None:
        """The bus of the transport at an address; None: there is none."""
        number, rest = divmod(address - self.first, self.step)
        return f"virtio-mmio-bus.{number}" if not rest and 0 <= number < self.count else None


def give_mmio(evidence: Evidence, draft: Draft, buses: MmioBuses) -> None:
    """The devices on virtio-mmio transports, each on its own."""
    for name, instance in evidence.sections:
        match = _MMIO.fullmatch(name)
        bus = buses.bus(int(match[1], 16)) if match else None
        if match and bus:
            _give(draft, (name, instance), match[2], "device", {"bus": bus})


def give_ccw(evidence: Evidence, draft: Draft) -> None:
    """The devices on the channel subsystem, by their device numbers."""
    for name, instance in evidence.sections:
        match = _CCW.fullmatch(name)
        if match:
            _give(draft, (name, instance), match[2], "ccw", {"devno": match[1]})


def _give(
    draft: Draft, section: tuple[str, int], kind: str, transport: str, place: dict[str, str]
) -> None:
    """A device of this kind; nothing where it is not known which."""
    driver = _DRIVERS.get(kind)
    if not driver:
        return
    properties: dict[str, str | int | None] = {**place}
    if kind == "virtio-blk":
        properties["drive"] = draft.disk(None, section[0])
    if kind == "virtio-sound-device":
        properties["audiodev"] = draft.audiodev()
    if kind == "virtio-input":
        draft.doubt(f"{section[0]} may be a keyboard, a mouse or a tablet: a tablet is a guess")
    draft.device(f"{driver}-{transport}", properties)
    draft.claim(*section)
