"""The memory devices of a domain's XML, and the RAM blocks that QEMU has for them.

Upstream: libvirt src/qemu/qemu_alias.c qemuAssignDeviceMemoryAlias(), qemu_command.c
qemuBuildMemoryDimmBackendStr(): a block is named mem and the device's alias.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.container.domaindevices import DEVICES_CEILING, PciBuses
from fixedram_fmt.container.xmlvalues import any_base, decimal, size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = ["MIGRATED", "MaxMemory", "MemoryDevice", "max_memory_of", "memory_devices_of"]

#: Aliases by model, before their number; a virtio-pmem is not migrated, its block has no name.
_ALIASES = {"dimm": "dimm", "nvdimm": "nvdimm", "virtio-mem": "virtiomem",
            "virtio-pmem": "virtiopmem", "sgx-epc": "epc"}  # fmt: skip
#: Models whose memory is a block of the stream.
MIGRATED = frozenset(("dimm", "nvdimm", "virtio-mem"))
_BY_SLOT = frozenset(("dimm", "nvdimm"))


@dataclass(frozen=True, slots=True)
class MaxMemory:
    """<maxMemory>: bytes up to which memory may grow, and slots for memory devices."""

    size: int | None
    slots: int | None


@dataclass(frozen=True, slots=True)
class MemoryDevice:
    """A <memory> of <devices>; None where the XML does not say.

    size, block_size and address (in the guest) are in bytes.  block is the name of its RAM block.
    """

    model: str
    size: int | None
    slot: int | None
    address: int | None
    node: int | None
    alias: str | None
    block: str | None
    xml_path: str


def max_memory_of(root: Element) -> MaxMemory | None:
    """What the domain may grow to."""
    element = root.find("maxMemory")
    return MaxMemory(size(element), decimal(element.get("slots"))) if element is not None else None


def memory_devices_of(devices: Element | None) -> Iterator[MemoryDevice]:
    """The memory devices, in the order of the XML."""
    buses = PciBuses(devices)
    count: Counter[str] = Counter()
    found = 0
    for element in islice(devices if devices is not None else (), DEVICES_CEILING):
        if element.tag != "memory":
            continue
        found += 1
        model = element.get("model") or ""
        address, alias = element.find("address"), element.find("alias")
        is_dimm = address is not None and address.get("type") == "dimm"
        slot = any_base(address.get("slot")) if address is not None and is_dimm else None
        number = slot if model in _BY_SLOT else count[model]
        count[model] += 1
        named = alias.get("name") if alias is not None else None
        told = named or (f"{_ALIASES[model]}{number}" if model in _ALIASES and number is not None
                         else None)  # fmt: skip
        yield MemoryDevice(
            model=model,
            size=size(element.find("target/size")),
            slot=slot,
            address=any_base(address.get("base")) if address is not None and is_dimm else None,
            node=decimal(element.findtext("target/node")),
            alias=told,
            block=_block(model, told, buses.place(element)),
            xml_path=f"devices/memory[{found}]",
        )


def _block(model: str, alias: str | None, path: str | None) -> str | None:
    """The block's name: that of a device on a bus begins with its place."""
    if alias is None or model not in MIGRATED:
        return None
    if model == "virtio-mem":
        return f"{path}/mem{alias}" if path else None
    return f"mem{alias}"
