"""Where an image's blocks lie in guest-physical memory, and how that is known.

A block is not an address: on x86 one block is split around the PCI hole, and what the host
bridge's registers say decides what is seen below 1 MiB.  The rules are QEMU's, by machine; what the
image does not tell is a default or a guess, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.memory.devicefacts import Machine
from fixedram_fmt.memory.machines import board_of, paint_board
from fixedram_fmt.memory.ranges import Canvas, MemoryMap, MemoryRange
from fixedram_fmt.memory.x86map import paint_x86, x86_kind

if TYPE_CHECKING:
    from fixedram_fmt.facts import ImageFacts

__all__ = ["MemoryMap", "MemoryRange", "memory_map"]


def memory_map(image: ImageFacts) -> MemoryMap:
    """The map of an image: empty, with a note, where the machine is not known or nothing fits.

    Reads the CMOS and the PCI registers, a few KiB, whatever the guest's size; never raises for
    what the file says.
    """
    try:
        return _map(image)
    except (FixedRamError, OSError, ValueError, OverflowError) as error:
        return MemoryMap(notes=(f"no memory map: {error}",), unmapped=tuple(image.blocks))


def _map(image: ImageFacts) -> MemoryMap:
    machine, canvas = Machine(image), Canvas()
    kind = x86_kind(machine)
    board = None if kind else board_of(machine)
    if kind:
        paint_x86(canvas, machine, kind)
    elif board:
        paint_board(canvas, machine, board)
    else:
        _paint_region_addresses(canvas, image)
    return canvas.finish(image.blocks)


def _paint_region_addresses(canvas: Canvas, image: ImageFacts) -> None:
    """For a machine that is not known: the addresses that x-ignore-shared sends."""
    name = image.machine
    for block in image.blocks[:256]:
        if block.region_address is not None and block.used_length:
            source = "x-ignore-shared address in the block list"
            canvas.paint(block.region_address, block, source)
    told = any(block.region_address is not None for block in image.blocks)
    what = f"no rules for the machine {name!r}" if name else "the image names no machine"
    canvas.note(
        f"{what}: the addresses of its block list are used" if told else f"no memory map: {what}"
    )
