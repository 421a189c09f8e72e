"""What virtio_save() wrote of a device, as far as its command line can be told by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.schema.virtiofeatures import feature_names
from fixedram_fmt.vmstate.overview.virtio import blob_of, features_of
from fixedram_fmt.vmstate.structure import subsection_header_of

if TYPE_CHECKING:
    from fixedram_fmt.commandline.evidence import Evidence

__all__ = ["Virtio", "virtio_of"]


@dataclass(frozen=True, slots=True)
class Virtio:
    """What virtio_save() wrote of a device: its configuration, queue sizes, the guest's features.

    rest is what comes after the queues: the device's own state.
    """

    vmsd: str
    config: bytes
    queues: tuple[int, ...]
    features: frozenset[str]
    rest: bytes

    @property
    def has_rings(self) -> bool:
        """Whether its rings have addresses of their own: only on a device that is not legacy."""
        return subsection_header_of("virtio/virtqueues", 1) in self.rest

    def number(self, offset: int, size: int) -> int:
        """A little-endian number of the configuration; 0 beyond its end, or not yet asked for."""
        return int.from_bytes(self.config[offset : offset + size], "little")


def virtio_of(evidence: Evidence, section: str, vmsd: str, instance: int = 0) -> Virtio | None:
    """The virtio part of a section; None where it cannot be read."""
    device = evidence.device(section, instance)
    try:
        blob = None if device is None else blob_of(device)
    except FixedRamError:
        return None
    if blob is None or blob.device is None:
        return None
    names = feature_names(vmsd, features_of(blob, blob.device))
    queues = tuple(size for size, _ in blob.queues)
    return Virtio(vmsd, blob.device.config, queues, frozenset(names), blob.raw[blob.at :])
