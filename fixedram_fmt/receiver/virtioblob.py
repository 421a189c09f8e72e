"""What is compared of the blob that virtio_save() writes by hand.

Upstream: hw/virtio/virtio.c virtio_load(), hw/virtio/virtio-pci.c virtio_pci_load_config(),
hw/char/virtio-serial-bus.c virtio_serial_load_device().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fixedram_fmt.schema.pci import CONFIG_TYPE, IRQ_STATE_TYPE
from fixedram_fmt.vmstate.overview.virtio import blob_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.vmstate.values import DeviceState

__all__ = [
    "ACTIVE_PORTS",
    "OUTPUTS",
    "OUTPUTS_CEILING",
    "PORTS",
    "BlobContent",
    "outputs",
    "virtio_contents",
]

PORTS, ACTIVE_PORTS = "virtio-serial ports", "virtio-serial active ports"
#: Bytes of a port: its number, two flags, and whether a part of its data waits.
_PORT = 4 + 1 + 1 + 4
#: cols, rows and max_nr_ports stand before the map of ports.
_BEFORE_PORTS = 2 + 2 + 4
#: Ports that a virtio-serial device can have: one vector of queues.
_PORTS_CEILING = 511
#: Bytes of version_id of the PCI device, before its configuration space.
_VERSION = 4
_IRQ_STATE = 16
OUTPUTS = "virtio-gpu outputs"
#: VIRTIO_GPU_MAX_SCANOUTS, and the bytes of one: sixteen numbers, or ten without its framebuffer.
#: scanout_vmstate_after_v2() looks for the version beside the first one, so of the others each may
#: be of either length.
_MOST_OUTPUTS, _OUTPUT, _OLD_OUTPUT = 16, 64, 40
#: Before their number: the end of the list of resources, and enable.
_BEFORE_OUTPUTS = 4 + 4
#: Bytes from there to the end.
OUTPUTS_CEILING = _BEFORE_OUTPUTS + 4 + _MOST_OUTPUTS * _OUTPUT


class BlobContent(NamedTuple):
    """A value in the blob: its name, its type, its bytes and where they begin in the blob."""

    name: str
    type: str
    raw: bytes
    start: int


def virtio_contents(device: DeviceState, raw: bytes) -> Iterator[BlobContent]:
    """What is compared of the blob raw of a device."""
    blob = blob_of(device)
    if blob is None or blob.device is None:
        return
    if blob.config is not None:
        pins = _VERSION + len(blob.config)
        yield BlobContent("config", CONFIG_TYPE, blob.config, _VERSION)
        yield BlobContent("irq_state", IRQ_STATE_TYPE, raw[pins : pins + _IRQ_STATE], pins)
    if device.name.endswith("virtio-console"):
        yield from _ports(raw, blob.at)


def _ports(raw: bytes, at: int) -> Iterator[BlobContent]:
    start = at + _BEFORE_PORTS
    most = int.from_bytes(raw[start - 4 : start], "big")
    if not 0 < most <= _PORTS_CEILING:
        return
    stop = start + -(-most // 32) * 4
    yield BlobContent("ports_map", PORTS, raw[start:stop], start)
    count = int.from_bytes(raw[stop : stop + 4], "big")
    if count <= most:
        numbers = _active(raw, stop + 4, count)
        yield BlobContent("active_ports", ACTIVE_PORTS, b"".join(numbers), stop)


def _active(raw: bytes, at: int, count: int) -> Iterator[bytes]:
    """Numbers of the ports in use, four bytes each, up to one whose data has been read in part."""
    for _ in range(count):
        port = raw[at : at + _PORT]
        if len(port) < _PORT:
            return
        yield port[:4]
        if any(port[-4:]):
            return
        at += _PORT


def outputs(raw: bytes) -> Iterator[BlobContent]:
    """Number of scanouts of a virtio-gpu; what comes before them is of unknown length.

    Upstream: hw/display/virtio-gpu.c virtio_gpu_save(), vmstate_virtio_gpu_scanouts.
    """
    for count in range(1, _MOST_OUTPUTS + 1):
        for old in range(count + 1):
            start = len(raw) - count * _OUTPUT + old * (_OUTPUT - _OLD_OUTPUT) - 4
            number = raw[start : start + 4] if start >= _BEFORE_OUTPUTS else b""
            if number != count.to_bytes(4, "big"):
                continue
            if not any(raw[start - _BEFORE_OUTPUTS : start - 4]):
                yield BlobContent("outputs", OUTPUTS, number, start)
                return
