"""Image, the face of the library: the facts of a file, and the guest's memory and devices in it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fixedram_fmt.facts import ImageFacts

if TYPE_CHECKING:
    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.memory.block import BlockMemory
    from fixedram_fmt.memory.map import MemoryMap
    from fixedram_fmt.memory.physical import PhysicalMemory
    from fixedram_fmt.vmstate.state import MachineState

__all__ = ["Image"]


class Image(ImageFacts):
    """A migration image: its facts, the devices' state, and memory that is read where it lies.

    What is not a fact of the stream itself is found when it is asked for, and kept.
    """

    @cached_property
    def state(self) -> MachineState:
        """The devices' state, read by the image's own description; decoded when asked for."""
        from fixedram_fmt.vmstate.machine import machine_state

        return machine_state(self)

    @cached_property
    def memory_map(self) -> MemoryMap:
        """Guest-physical ranges and the blocks behind them, each with where that is known from."""
        from fixedram_fmt.memory.map import memory_map

        return memory_map(self)

    @cached_property
    def physical_memory(self) -> PhysicalMemory:
        """Guest-physical memory, to be read at any address without loading anything."""
        from fixedram_fmt.memory.physical import PhysicalMemory

        return PhysicalMemory(self, self.memory_map)

    def memory(self, block: RamBlock) -> BlockMemory:
        """The memory of one block, to be read at any offset."""
        from fixedram_fmt.memory.block import BlockMemory

        # The pages of an ordinary stream are found by one walk for all blocks.
        return BlockMemory(self, block) if block.mapped else self.physical_memory.block(block)
