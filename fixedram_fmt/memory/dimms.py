"""Memory that is plugged in: DIMMs, NVDIMMs, virtio-mem, in the device memory area.

The image says where virtio-mem lies, and no address of a DIMM (but with x-ignore-shared): it is
told as a guess by the rule that QEMU follows when the user names no address.

Upstream: QEMU hw/mem/memory-device.c memory_device_get_free_addr(); hw/i386/pc.c
pc_get_device_memory_range(); hw/arm/virt.c virt_set_memmap(); hw/ppc/spapr.c;
hw/virtio/virtio-mem.c vmstate_virtio_mem_sanity_checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.memory.ranges import GIB, MIB

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.memory.blockroles import Roles
    from fixedram_fmt.memory.devicefacts import Machine
    from fixedram_fmt.memory.ranges import Canvas

__all__ = ["paint_backends"]

#: memory_region_get_alignment() of ordinary memory: QEMU_VMALLOC_ALIGN.
_ALIGNMENT = 2 * MIB
_VIRTIO_MEM = "virtio-mem-device-early"


def paint_backends(canvas: Canvas, machine: Machine, roles: Roles, ram_stop: int) -> None:
    """The backends that are no part of the machine's RAM, after ram_stop."""
    taken = [_virtio_mem(canvas, machine, block) for block in roles.devices.values()]
    busy = sorted(span for span in taken if span is not None)
    base = -(-ram_stop // GIB) * GIB
    at = base
    for block in roles.spare:
        if block.region_address is not None:
            address, how = base + block.region_address, "x-ignore-shared address in the block list"
        else:
            address, how = _free(at, block.used_length, busy), "a guess: the next free address"
            at = address + block.used_length
        canvas.paint(address, block, f"device memory from {base:#x}, {how}")
    if any(block.region_address is None for block in roles.spare):
        canvas.note(
            "the addresses of DIMMs are a guess: the image does not say where they were plugged in"
        )


def _free(at: int, length: int, busy: list[tuple[int, int]]) -> int:
    """The first aligned address from at on with length bytes free."""
    at = -(-at // _ALIGNMENT) * _ALIGNMENT
    for start, stop in busy:
        if at < stop and start < at + length:
            at = -(-stop // _ALIGNMENT) * _ALIGNMENT
    return at


def _virtio_mem(canvas: Canvas, machine: Machine, block: RamBlock) -> tuple[int, int] | None:
    """Paint block if it is a virtio-mem device's, whose state begins with its address."""
    address, slash, _ = block.name.rpartition("/")
    if not slash or f"{address}/{_VIRTIO_MEM}" not in machine.names:
        return None
    body = machine.body(f"{address}/{_VIRTIO_MEM}", 16)
    if body is None:
        return None
    start, length = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:16], "big")
    if length != block.used_length:
        return None
    canvas.paint(start, block, f"{address}/{_VIRTIO_MEM}/tmp/addr")
    return start, start + length
