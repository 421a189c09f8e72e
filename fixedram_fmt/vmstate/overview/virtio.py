"""virtio devices and their queues, from the blob that virtio_save() writes by hand.

To a description it is one field of type `virtio`.  How its head is laid out depends on the
transport, which is not named: each is tried, and one counts whose fields make sense.  Behind the
queues the device's own state follows, of unknown length; the subsections at its end name
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from fixedram_fmt.errors import FormatError
from fixedram_fmt.results import Result, Unsigned
from fixedram_fmt.schema import pci, virtio
from fixedram_fmt.vmstate.structure import subsection_header_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.schema.base import Schema
    from fixedram_fmt.vmstate.state import MachineState
    from fixedram_fmt.vmstate.values import DeviceState, Value

__all__ = ["VirtioDevice", "VirtioQueue", "blob_of", "features_of", "virtio_devices"]

_BLOB_CEILING = 1 << 24
_CONFIG_CEILING = 4096
_RING_CEILING = 1 << 15
_PCI_CONFIG_SIZES = (256, 4096)
_MSIX_ENTRY = 16
#: PCI_CAP_ID_EXP
_CAP_EXPRESS = 0x10

#: Bits of the status (virtio 1.2, 2.1), in the order a driver sets them.
_STATUS = {
    1: "ACKNOWLEDGE",
    2: "DRIVER",
    8: "FEATURES_OK",
    4: "DRIVER_OK",
    64: "NEEDS_RESET",
    128: "FAILED",
}


Transport = Literal["pci", "mmio", "ccw"]


class VirtioQueue(Result, frozen=True):
    """A virtqueue: size in descriptors, rings as guest-physical addresses (0: not set up)."""

    index: Unsigned
    size: Unsigned
    desc: int
    avail: int | None
    used: int | None
    last_avail_idx: int


class VirtioDevice(Result, frozen=True):
    """A virtio device; path is that of the blob, status_names are the bits of status by name."""

    name: str
    transport: Transport
    status: Unsigned
    status_names: tuple[str, ...]
    features: Unsigned
    queues: tuple[VirtioQueue, ...]
    path: str


@dataclass(slots=True)
class _Blob:
    """The head of a blob as one transport lays it out; config is the PCI configuration space."""

    value: Value
    transport: Transport
    raw: bytes
    at: int = 0
    config: bytes | None = None
    device: virtio.Device | None = None
    queues: list[tuple[int, virtio.Queue]] = field(default_factory=list)

    def take(self, schema: Schema[Any]) -> Any:
        """The structure at the current place, which moves after it."""
        found, length = schema.parse(self.raw[self.at :], offset=self.value.offset + self.at)
        self.at += length
        return found

    def skip(self, length: int) -> bytes:
        """The next length bytes."""
        found = self.raw[self.at : self.at + length]
        if len(found) < length:
            raise FormatError("the blob ends early", offset=self.value.offset)
        self.at += length
        return found


def virtio_devices(state: MachineState) -> Iterator[VirtioDevice]:
    """Every virtio device whose blob could be read, in the order of the stream."""
    for device in state.devices:
        blob = blob_of(device)
        if blob is not None and blob.device is not None:
            yield VirtioDevice(
                name=device.path,
                transport=blob.transport,
                status=blob.device.status,
                status_names=_names(blob.device.status),
                features=features_of(blob, blob.device),
                queues=tuple(_queues(blob)),
                path=blob.value.path,
            )


def _names(status: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _STATUS.items() if status & bit)


def blob_of(device: DeviceState) -> _Blob | None:
    """The blob of a device, read by the first transport that makes sense; None without one."""
    value = device.value("virtio")
    if value is None or value.type != "virtio" or value.size > _BLOB_CEILING:
        return None
    raw = value.raw
    for transport, head, aligned in _TRANSPORTS:
        blob = _Blob(value, transport, raw)
        try:
            vectors = head(blob)
            _read_device(blob, aligned=aligned, vectors=vectors)
        except FormatError:
            continue
        return blob
    return None


# -- transports: each goes after its head and tells whether queues have an MSI-X vector ----------


def _pci(blob: _Blob, size: int) -> bool:
    """pci_device_save(), then msix_save() and the vector of the configuration, if there is one."""
    # version_id of vmstate_pci_device
    blob.skip(4)
    blob.config = blob.skip(size)
    if (size > _PCI_CONFIG_SIZES[0]) != (_capability(blob.config, _CAP_EXPRESS) is not None):
        raise FormatError("a space of 4 KiB is that of a device on PCI Express")
    pins = blob.take(virtio.PCI_IRQ_STATE)
    if max(pins.pin_a, pins.pin_b, pins.pin_c, pins.pin_d) > 1:
        raise FormatError("no interrupt pins")
    entries = _msix_entries(blob.config)
    if entries:
        blob.skip(entries * _MSIX_ENTRY + -(-entries // 8))
        blob.take(virtio.WORD)
    return bool(entries)


def _msix_entries(config: bytes) -> int:
    """Entries of the MSI-X table by the capability in a configuration space; 0 without one."""
    at = _capability(config, pci.CAP_ID_MSIX)
    return 0 if at is None else (int.from_bytes(config[at + 2 : at + 4], "little") & 0x7FF) + 1


def _capability(config: bytes, number: int) -> int | None:
    """Where a capability of a configuration space begins; None: there is none."""
    header, _ = pci.CONFIG_HEADER.parse(config)
    at, steps = header.capability_list & ~3, 0
    while 0x40 <= at < 0xFC and steps < 48:
        if config[at] == number:
            return at
        at, steps = config[at + 1] & ~3, steps + 1
    return None


def _mmio(blob: _Blob) -> bool:
    config = blob.take(virtio.MMIO_CONFIG)
    if config.guest_page_shift > 63:
        raise FormatError("no page shift")
    return False


_TRANSPORTS: tuple[tuple[Transport, Callable[[_Blob], bool], bool], ...] = (
    *(("pci", partial(_pci, size=size), False) for size in _PCI_CONFIG_SIZES),
    ("mmio", _mmio, True),
)


def _read_device(blob: _Blob, *, aligned: bool, vectors: bool) -> None:
    """What virtio_save() writes on every transport, up to the device's own state."""
    device = blob.take(virtio.DEVICE)
    count = blob.take(virtio.QUEUE_COUNT).count
    if len(device.config) > _CONFIG_CEILING or count > virtio.VIRTIO_QUEUE_MAX:
        raise FormatError("no virtio device")
    for _ in range(count):
        size = blob.take(virtio.QUEUE_COUNT).count
        if not 0 < size <= _RING_CEILING:
            raise FormatError("no queue of that size")
        if aligned:
            align = blob.take(virtio.VRING_ALIGN).align
            if align & (align - 1):
                raise FormatError("no alignment")
        blob.queues.append((size, blob.take(virtio.QUEUE)))
        if vectors:
            blob.take(virtio.WORD)
    blob.device = device


def _subsection(blob: _Blob, name: str) -> bytes:
    """The bytes after the header of a subsection of vmstate_virtio; empty if it is not there."""
    header = subsection_header_of(name, 1)
    at = blob.raw.rfind(header, blob.at)
    return b"" if at < 0 else blob.raw[at + len(header) :]


def features_of(blob: _Blob, device: virtio.Device) -> int:
    """All 64 bits of the features, where the high ones were sent."""
    body = _subsection(blob, "virtio/64bit_features")
    return int.from_bytes(body[:8], "big") if len(body) >= 8 else device.guest_features


def _queues(blob: _Blob) -> Iterator[VirtioQueue]:
    rings = _subsection(blob, "virtio/virtqueues")
    step = virtio.RINGS.size
    for index, (size, queue) in enumerate(blob.queues):
        avail: int | None = None
        used: int | None = None
        if len(rings) >= step * virtio.VIRTIO_QUEUE_MAX:
            pair, _ = virtio.RINGS.parse(rings[index * step :])
            avail, used = pair.avail, pair.used
        yield VirtioQueue(index, size, queue.desc, avail, used, queue.last_avail_idx)
