"""Virtual addresses: a CPU's page tables walked in an image's physical memory."""

from __future__ import annotations

from fixedram_fmt.memory.paging.registers import registers_of
from fixedram_fmt.memory.paging.virtual import VirtualMemory, translate
from fixedram_fmt.memory.paging.walk import Registers, Step, Translation

__all__ = ["Registers", "Step", "Translation", "VirtualMemory", "registers_of", "translate"]
