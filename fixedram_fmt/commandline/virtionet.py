"""virtio-net: its properties, and the kind of backend that its guest was offered.

Upstream: QEMU hw/net/virtio-net.c vmstate_virtio_net_device, virtio_net_get_features(),
virtio_net_has_vnet_hdr_post_load(); linux virtio_net.h struct virtio_net_config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.commandline.draft import option

if TYPE_CHECKING:
    from fixedram_fmt.commandline.draft import Draft
    from fixedram_fmt.commandline.virtiostate import Virtio

    Properties = dict[str, str | int | None]

__all__ = ["net_properties"]

#: Bytes of the configuration with its last field: max_virtqueue_pairs, mtu.
_WITH_PAIRS, _WITH_MTU = 10, 12
_PAIRS_AT, _MTU_AT = 8, 10
_MTU = 1500
#: Fields of the state: mac_table.in_use after 18 bytes, then 6 bytes for each, and the VLANs.
_IN_USE, _MAC, _VLANS = 18, 6, 512
#: has_vnet_hdr, six flags, has_ufo: then max_queue_pairs, where it is not 1.
_VNET_HDR, _FLAGS = 4, 7
_MACS_CEILING = 64
#: Offloads that a backend without the header of vnet takes away again.
_OFFLOADS = frozenset({
    "CSUM", "GUEST_CSUM", "GSO", "GUEST_TSO4", "GUEST_TSO6", "GUEST_ECN", "GUEST_UFO", "HOST_TSO4",
    "HOST_TSO6", "HOST_ECN", "HOST_UFO", "GUEST_USO4", "GUEST_USO6", "HOST_USO",
})  # fmt: skip
_OFFERS = {
    "MQ": ("mq", "on"), "RSS": ("rss", "on"), "HASH_REPORT": ("hash", "on"),
    "RSC_EXT": ("guest_rsc_ext", "on"), "STANDBY": ("failover", "on"),
    "GUEST_ANNOUNCE": ("guest_announce", "on"),
}  # fmt: skip


def net_properties(device: Virtio, draft: Draft, vectors: int) -> Properties:
    """Properties of a virtio-net, and its -netdev where it needs one; vectors are its MSI-X's."""
    found: Properties = {}
    for feature, (name, value) in _OFFERS.items():
        if feature in device.features:
            found[name] = value
    length = len(device.config)
    mac = device.config[:6]
    if any(mac) and not mac[0] & 1:
        found["mac"] = mac.hex(":")
    if length == _WITH_PAIRS:
        found["mq"] = "on"
    if length == _WITH_MTU or "MTU" in device.features:
        found["host_mtu"] = device.number(_MTU_AT, 2) or _MTU
    if device.queues and 256 < device.queues[0] <= 1024:
        found["rx_queue_size"] = device.queues[0]
    header, pairs = _backend(device, vectors)
    if header or pairs > 1 or device.features & _OFFLOADS:
        found["netdev"] = _tap(draft, pairs)
        if pairs > 1:
            found["mq"] = "on"
    return found


def _backend(device: Virtio, vectors: int) -> tuple[bool, int]:
    """Whether the backend had the header of vnet, and how many pairs of queues."""
    rest = device.rest
    macs = int.from_bytes(rest[_IN_USE : _IN_USE + 4], "big")
    if macs > _MACS_CEILING:
        return False, 1
    at = _IN_USE + 4 + macs * _MAC + _VLANS
    header = any(rest[at : at + _VNET_HDR])
    at += _VNET_HDR + _FLAGS
    pairs = int.from_bytes(rest[at : at + 2], "big")
    current = int.from_bytes(rest[at + 2 : at + 4], "big")
    # Without the field there are other things: it counts where something else says the same.
    others = (len(device.queues) // 2, (vectors - 2) // 2, device.number(_PAIRS_AT, 2))
    return header, pairs if pairs > 1 and 0 < current <= pairs and pairs in others else 1


def _tap(draft: Draft, pairs: int) -> str:
    name = draft.new_id("net")
    properties: dict[str, str | int] = {"id": name, "script": "no", "downscript": "no"}
    if pairs > 1:
        properties["queues"] = pairs
    draft.others.append(("-netdev", option("tap", properties)))
    draft.doubt(
        f"{name} was a backend with offloads or several queues, as only tap and the like have: QEMU"
        " needs the right to make one, or another in its place"
    )
    return name
