"""What virtio_save() writes by hand before it uses a description; big-endian like the stream.

Upstream: QEMU hw/virtio/virtio.c virtio_save(), hw/virtio/virtio-pci.c virtio_pci_save_config(),
virtio_pci_save_queue(), hw/virtio/virtio-mmio.c virtio_mmio_save_config().
"""

from __future__ import annotations

from dataclasses import dataclass

import construct as cs

from fixedram_fmt.schema.base import Schema

__all__ = [
    "DEVICE",
    "MMIO_CONFIG",
    "PCI_IRQ_STATE",
    "QUEUE",
    "QUEUE_COUNT",
    "RINGS",
    "VIRTIO_QUEUE_MAX",
    "VRING_ALIGN",
    "WORD",
    "Device",
    "MmioConfig",
    "PciIrqState",
    "Queue",
    "QueueCount",
    "Rings",
    "VringAlign",
    "Word",
]

#: include/hw/virtio/virtio.h
VIRTIO_QUEUE_MAX = 1024


@dataclass(frozen=True, slots=True)
class Word:
    """16 bits: the MSI-X vector of the configuration, or of a queue."""

    word: int


WORD = Schema(
    cs.Struct("word" / cs.Int16ub), Word, "hw/virtio/virtio-pci.c virtio_pci_save_queue()"
)


@dataclass(frozen=True, slots=True)
class PciIrqState:
    """Level of each of the four interrupt pins, 0 or 1."""

    pin_a: int
    pin_b: int
    pin_c: int
    pin_d: int


PCI_IRQ_STATE = Schema(
    cs.Struct(*(f"pin_{pin}" / cs.Int32ub for pin in "abcd")),
    PciIrqState,
    "hw/pci/pci.c put_pci_irq_state()",
)


@dataclass(frozen=True, slots=True)
class MmioConfig:
    """What virtio-mmio saves of its own registers."""

    host_features_sel: int
    guest_features_sel: int
    guest_page_shift: int


MMIO_CONFIG = Schema(
    cs.Struct(
        "host_features_sel" / cs.Int32ub,
        "guest_features_sel" / cs.Int32ub,
        "guest_page_shift" / cs.Int32ub,
    ),
    MmioConfig,
    "hw/virtio/virtio-mmio.c virtio_mmio_save_config()",
)


@dataclass(frozen=True, slots=True)
class Device:
    """Status and features (their low 32 bits), then the device's configuration space."""

    status: int
    isr: int
    queue_sel: int
    guest_features: int
    config: bytes


DEVICE = Schema(
    cs.Struct(
        "status" / cs.Int8ub,
        "isr" / cs.Int8ub,
        "queue_sel" / cs.Int16ub,
        "guest_features" / cs.Int32ub,
        "config_len" / cs.Rebuild(cs.Int32ub, cs.len_(cs.this.config)),
        "config" / cs.Bytes(cs.this.config_len),
    ),
    Device,
    "hw/virtio/virtio.c virtio_save()",
)


@dataclass(frozen=True, slots=True)
class QueueCount:
    """How many queues follow: up to the first without a size."""

    count: int


QUEUE_COUNT = Schema(
    cs.Struct("count" / cs.Int32ub), QueueCount, "hw/virtio/virtio.c virtio_save()"
)


@dataclass(frozen=True, slots=True)
class VringAlign:
    """Only transports whose rings can be aligned by the guest send it: mmio."""

    align: int


VRING_ALIGN = Schema(
    cs.Struct("align" / cs.Int32ub), VringAlign, "hw/virtio/virtio.c virtio_save()"
)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: its size is sent before, and after it the alignment where there is one."""

    desc: int
    last_avail_idx: int


QUEUE = Schema(
    cs.Struct("desc" / cs.Int64ub, "last_avail_idx" / cs.Int16ub),
    Queue,
    "hw/virtio/virtio.c virtio_save()",
)


@dataclass(frozen=True, slots=True)
class Rings:
    """One of VIRTIO_QUEUE_MAX in the subsection virtio/virtqueues."""

    avail: int
    used: int


RINGS = Schema(
    cs.Struct("avail" / cs.Int64ub, "used" / cs.Int64ub),
    Rings,
    "hw/virtio/virtio.c vmstate_virtqueue",
)
