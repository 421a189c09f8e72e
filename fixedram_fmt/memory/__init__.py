"""Guest memory: where RAM blocks lie in guest-physical addresses, and reading it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.lazy import importer

if TYPE_CHECKING:
    from fixedram_fmt.memory.block import AddressError, BlockMemory
    from fixedram_fmt.memory.map import MemoryMap, MemoryRange, memory_map
    from fixedram_fmt.memory.physical import PhysicalMemory
    from fixedram_fmt.memory.run import Run

__all__ = [
    "AddressError",
    "BlockMemory",
    "MemoryMap",
    "MemoryRange",
    "PhysicalMemory",
    "Run",
    "memory_map",
]

_HOME = {
    "AddressError": "block",
    "BlockMemory": "block",
    "Run": "run",
    "MemoryMap": "map",
    "MemoryRange": "map",
    "memory_map": "map",
    "PhysicalMemory": "physical",
}

__getattr__ = importer(__name__, _HOME)
