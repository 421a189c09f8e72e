"""Memory as a CPU sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.memory.block import AddressError, Readable

if TYPE_CHECKING:
    from fixedram_fmt.memory.paging.walk import Registers, Translation

__all__ = ["VirtualMemory", "translate"]

_ADDRESSES = 1 << 64


def translate(memory: Readable, registers: Registers, address: int) -> Translation:
    """Where a virtual address of a CPU leads in physical memory, and by which entries."""
    if not 0 <= address < _ADDRESSES:
        raise AddressError("a virtual address has 64 bits", found=f"{address:#x}")
    return registers.translate(memory, address)


class VirtualMemory(Readable):
    """Memory by virtual addresses; each page is translated once a read.

    A page that leads nowhere is an AddressError that says which entry ended the walk.
    """

    def __init__(self, memory: Readable, registers: Registers) -> None:
        self.memory = memory
        self.registers = registers
        self.size = _ADDRESSES

    def translate(self, address: int) -> Translation:
        """Where address leads."""
        return translate(self.memory, self.registers, address)

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer with the bytes at address."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < view.nbytes:
            found = self.translate(address + done)
            if found.physical is None:
                raise AddressError(
                    f"virtual address {address + done:#x} of CPU {self.registers.cpu} is not"
                    f" mapped: {found.fault}",
                    hint=f"{found.mode}; --explain shows each entry",
                )
            length = min(found.page_left, view.nbytes - done)
            self.memory.readinto(found.physical, view[done : done + length])
            done += length
