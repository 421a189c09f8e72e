"""Names of virtio feature bits, those of the device type and those that all share.

Upstream: linux-headers virtio_config.h, virtio_net.h, virtio_blk.h, virtio_scsi.h,
virtio_balloon.h, virtio_gpu.h, virtio_console.h, virtio_crypto.h, virtio_mem.h; OASIS virtio 1.3,
chapters 5 and 6.
"""

from __future__ import annotations

__all__ = ["feature_names"]

_SHARED = {
    24: "NOTIFY_ON_EMPTY", 27: "ANY_LAYOUT", 28: "RING_INDIRECT_DESC", 29: "RING_EVENT_IDX",
    30: "BAD_FEATURE", 32: "VERSION_1", 33: "ACCESS_PLATFORM", 34: "RING_PACKED", 35: "IN_ORDER",
    36: "ORDER_PLATFORM", 37: "SR_IOV", 38: "NOTIFICATION_DATA", 39: "NOTIF_CONFIG_DATA",
    40: "RING_RESET", 41: "ADMIN_VQ",
}  # fmt: skip
_NET = {
    0: "CSUM", 1: "GUEST_CSUM", 2: "CTRL_GUEST_OFFLOADS", 3: "MTU", 5: "MAC", 6: "GSO",
    7: "GUEST_TSO4", 8: "GUEST_TSO6", 9: "GUEST_ECN", 10: "GUEST_UFO", 11: "HOST_TSO4",
    12: "HOST_TSO6", 13: "HOST_ECN", 14: "HOST_UFO", 15: "MRG_RXBUF", 16: "STATUS", 17: "CTRL_VQ",
    18: "CTRL_RX", 19: "CTRL_VLAN", 20: "CTRL_RX_EXTRA", 21: "GUEST_ANNOUNCE", 22: "MQ",
    23: "CTRL_MAC_ADDR", 52: "HASH_TUNNEL", 53: "VQ_NOTF_COAL", 54: "GUEST_USO4", 55: "GUEST_USO6",
    56: "HOST_USO", 57: "HASH_REPORT", 59: "GUEST_HDRLEN", 60: "RSS", 61: "RSC_EXT", 62: "STANDBY",
    63: "SPEED_DUPLEX",
}  # fmt: skip
_BLK = {
    0: "BARRIER", 1: "SIZE_MAX", 2: "SEG_MAX", 4: "GEOMETRY", 5: "RO", 6: "BLK_SIZE", 7: "SCSI",
    9: "FLUSH", 10: "TOPOLOGY", 11: "CONFIG_WCE", 12: "MQ", 13: "DISCARD", 14: "WRITE_ZEROES",
    15: "LIFETIME", 16: "SECURE_ERASE", 17: "ZONED",
}  # fmt: skip
_BY_VMSD = {
    "virtio-net": _NET,
    "virtio-blk": _BLK,
    "vhost-user-blk": _BLK,
    "virtio-scsi": {0: "INOUT", 1: "HOTPLUG", 2: "CHANGE", 3: "T10_PI"},
    "virtio-balloon": {
        0: "MUST_TELL_HOST", 1: "STATS_VQ", 2: "DEFLATE_ON_OOM", 3: "FREE_PAGE_HINT",
        4: "PAGE_POISON", 5: "REPORTING",
    },
    "virtio-gpu": {
        0: "VIRGL", 1: "EDID", 2: "RESOURCE_UUID", 3: "RESOURCE_BLOB", 4: "CONTEXT_INIT",
    },
    "virtio-console": {0: "SIZE", 1: "MULTIPORT", 2: "EMERG_WRITE"},
    "virtio-mem": {0: "ACPI_PXM", 1: "UNPLUGGED_INACCESSIBLE", 2: "PERSISTENT_SUSPEND"},
    "virtio-crypto": {
        0: "REVISION_1", 1: "CIPHER_STATELESS", 2: "HASH_STATELESS", 3: "MAC_STATELESS",
        4: "AEAD_STATELESS", 5: "AKCIPHER_STATELESS",
    },
}  # fmt: skip


def feature_names(vmsd: str, features: int) -> list[str]:
    """Names of the bits that are set, for a device of that vmsd; `bit 25` without a name."""
    names = {**_SHARED, **_BY_VMSD.get(vmsd, {})}
    return [names.get(bit, f"bit {bit}") for bit in range(64) if features >> bit & 1]
