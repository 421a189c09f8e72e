"""Which bytes of a PCI configuration space QEMU compares, by the standard and the space itself.

QEMU compares under cmask & ~wmask & ~w1cmask.  The masks are in no image, but they follow from what
the space contains: the header, the kinds of BARs, and capabilities, all of which are compared but
for the bits that a driver writes.

Upstream: hw/pci/pci.c pci_init_cmask(), pci_register_bar(), pci_add_capability(); hw/pci/msi.c
msi_init(), hw/pci/msix.c msix_init(), hw/pci/pcie.c pcie_cap_init(), pcie_cap_slot_init();
hw/virtio/virtio-pci.c virtio_pci_realize().  The standards: PCI Local Bus 3.0 chapter 6, PCI
Express Base 3.0 chapter 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MSIX_COUNT", "compared", "has_capability"]

#: The register whose low byte is the number of MSI-X vectors less one.
MSIX_COUNT = "MSI-X: byte 2"

_SIZE, _EXTENDED_SIZE = 256, 4096
_STATUS, _HEADER_TYPE, _BARS, _CAPABILITIES = 0x06, 0x0E, 0x10, 0x34
_CAP_LIST = 0x10
_BRIDGE = 1
#: Capabilities lie behind the header, in steps of four bytes; more than fit are none.
_FIRST_CAPABILITY, _MOST = 0x40, 48


#: Bytes of the header that are compared whole.
_HEADER = {
    0x00: "vendor id", 0x01: "vendor id", 0x02: "device id", 0x03: "device id",
    0x08: "revision id", 0x09: "programming interface", 0x0A: "class", 0x0B: "class",
    0x0E: "header type", 0x34: "pointer to the capabilities",
}  # fmt: skip
#: Bits of a bridge's windows that say of what kind they are.
_WINDOWS = {0x1C: "I/O base", 0x1D: "I/O limit", 0x24: "prefetchable base",
            0x26: "prefetchable limit"}  # fmt: skip

_RO, _RW = 0xFF, 0x00
#: By capability id: its name, and for each byte behind id and pointer the bits that stay.  Bytes
#: behind the last are not compared.
_CAPABILITY_BITS: dict[int, tuple[str, tuple[int, ...]]] = {
    0x01: ("power management", (_RO, _RO, _RW, _RW, _RO)),
    0x03: ("vital product data", ()),
    # Enabling, and how many messages of those that there are.
    0x05: ("MSI", (0x8E, 0xFF)),
    0x09: ("vendor-specific", ()),
    0x0C: ("hot-plug controller", ()),
    0x0D: ("subsystem id of a bridge", (_RO,) * 6),
    0x11: ("MSI-X", (_RO, 0x3F, *(_RO,) * 8)),
    # Capabilities, link capabilities and slot capabilities; control and status are the driver's.
    0x10: (
        "PCI Express",
        (_RO, _RO, *(_RO,) * 4, _RW, _RW, _RW, _RW, *(_RO,) * 4, _RW, _RW, _RW, _RW,
         *(_RO,) * 4, _RW, _RW, _RW, _RW, _RW, _RW, _RW, _RW, _RW, _RW, _RW, _RW, *(_RO,) * 4,
         _RW, _RW, _RW, _RW, *(_RO,) * 4),
    ),
    0x12: ("SATA data", (_RO,) * 6),
    0x13: ("advanced features", (_RO, _RO)),
}  # fmt: skip
#: virtio's vendor-specific capability: a window onto the configuration, which is the driver's.
_VIRTIO_CFG = 5
_VENDOR = 0x09
#: Extended capabilities, by id: name, and the bits behind the header of four bytes that stay.
_EXTENDED_BITS: dict[int, tuple[str, tuple[int, ...]]] = {
    0x0001: ("advanced error reporting", ()),
    0x0003: ("device serial number", (_RO,) * 8),
    0x000D: ("access control", (_RO, _RO)),
    0x000E: ("alternative routing", (_RO, _RO)),
    0x000F: ("address translation", (_RO, 0x1F)),
}


def compared(config: bytes) -> dict[int, tuple[int, str]]:
    """Of each byte that is compared the bits and the register's name, by its offset."""
    length = len(config)
    # Damaged ones can be shorter than any space is.
    config = config.ljust(_SIZE, b"\0")
    found: dict[int, tuple[int, str]] = {offset: (0xFF, name) for offset, name in _HEADER.items()}
    found[_STATUS] = (_CAP_LIST, "status: whether there are capabilities")
    is_bridge = config[_HEADER_TYPE] & 0x7F == _BRIDGE
    found.update(_bars(config, 2 if is_bridge else 6))
    if is_bridge:
        found.update({offset: (0x0F, name) for offset, name in _WINDOWS.items()})
    for offset, bits, name in _capabilities(config):
        found[offset] = (bits, name)
    if len(config) >= _EXTENDED_SIZE:
        for offset, bits, name in _extended(config):
            found[offset] = (bits, name)
    return {offset: one for offset, one in sorted(found.items()) if offset < length}


def has_capability(config: bytes, number: int) -> bool:
    """Whether a space has a capability of that id."""
    return any(
        name.endswith(": id") and config[offset] == number
        for offset, _, name in _capabilities(config)
    )


def _bars(config: bytes, count: int) -> Iterator[tuple[int, tuple[int, str]]]:
    """Kinds of the BARs that are there for sure; one of 32 bits and without address may be none."""
    number = 0
    while number < count:
        offset = _BARS + 4 * number
        word = int.from_bytes(config[offset : offset + 4], "little")
        kind = f"BAR {number}: its kind"
        if word & 1:
            yield offset, (0x03, kind)
        elif word:
            yield offset, (0x0F, kind)
        number += 2 if not word & 1 and word >> 1 & 3 == 2 else 1


def _capabilities(config: bytes) -> Iterator[tuple[int, int, str]]:
    at, steps = config[_CAPABILITIES] & ~3, 0
    seen: set[int] = set()
    while _FIRST_CAPABILITY <= at < _SIZE - 3 and steps < _MOST and at not in seen:
        seen.add(at)
        number = config[at]
        name, bits = _CAPABILITY_BITS.get(number, (f"capability {number:#04x}", ()))
        yield at, 0xFF, f"{name}: id"
        yield at + 1, 0xFF, f"{name}: pointer to the next capability"
        if number == _VENDOR:
            bits = _vendor(config, at)
        for index, mask in enumerate(bits):
            if mask and at + 2 + index < _SIZE:
                yield at + 2 + index, mask, f"{name}: byte {2 + index}"
        at, steps = config[at + 1] & ~3, steps + 1


def _vendor(config: bytes, at: int) -> tuple[int, ...]:
    """A vendor-specific capability tells its length; of virtio's window only that and its kind."""
    length = config[at + 2]
    if config[at + 3] == _VIRTIO_CFG:
        return (_RO, _RO)
    return (_RO,) * max(0, length - 2)


def _extended(config: bytes) -> Iterator[tuple[int, int, str]]:
    at = _SIZE
    seen: set[int] = set()
    while _SIZE <= at < _EXTENDED_SIZE - 3 and at not in seen and len(seen) < _MOST:
        seen.add(at)
        header = int.from_bytes(config[at : at + 4], "little")
        if not header:
            return
        name, bits = _EXTENDED_BITS.get(header & 0xFFFF, (f"capability {header & 0xFFFF:#06x}", ()))
        for index in range(4):
            yield at + index, 0xFF, f"{name}: header"
        for index, mask in enumerate(bits):
            if at + 4 + index < _EXTENDED_SIZE:
                yield at + 4 + index, mask, f"{name}: byte {4 + index}"
        at = header >> 20 & 0xFFC
