"""Guest memory by the most naive reading of an image there is: the oracle for faster ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.stream.records import Kind

if TYPE_CHECKING:
    from fixedram_fmt import Image
    from fixedram_fmt.blocks import RamBlock

__all__ = ["block_memory", "main_block"]

#: ids QEMU gives the RAM of machines that name no backend
_MACHINE_RAM = {
    "pc.ram", "microvm.ram", "mach-virt.ram", "riscv_virt_board.ram", "m68k_virt.ram",
    "s390.ram", "ppc_spapr.ram", "loongarch.ram", "flash",
}  # fmt: skip


def main_block(image: Image, command: str) -> RamBlock:
    """The block that holds the machine's RAM: the backend the command names, or its own."""
    named = re.search(r"memory-backend=(\w+)", command)
    names = {named[1]} if named else _MACHINE_RAM
    return next(block for block in image.blocks if block.name in names)


def block_memory(image: Image, block: RamBlock) -> bytes:
    """The whole memory of a block, absent pages zero."""
    if block.mapped:
        return _mapped(image, block)
    return _ordinary(image, block)


def _mapped(image: Image, block: RamBlock) -> bytes:
    """A loop over the bits of the bitmap, as a little-endian host stores them."""
    source = image.source
    bits = source.read_exact(block.bitmap_offset, (block.pages_total + 63) // 64 * 8)
    memory = bytearray(block.used_length)
    for page in range(block.pages_total):
        if bits[page // 8] >> page % 8 & 1:
            start = page * block.page_size
            data = source.read_exact(block.pages_offset + start, block.page_size)
            memory[start : start + block.page_size] = data
    return bytes(memory)


def _ordinary(image: Image, block: RamBlock) -> bytes:
    """Every record applied after the other, pages of a run one by one, deltas byte by byte."""
    size = image.target_page_size
    memory = bytearray(block.used_length)
    for record in image.records():
        if record.kind not in (Kind.PAGE, Kind.ZERO, Kind.XBZRLE):
            continue
        run = record.value
        if run.block != block.idstr:
            continue
        for number in range(run.pages):
            at = run.data_offset + number * run.stride
            start = run.address + number * size
            if record.kind is Kind.ZERO:
                page = image.source.read_exact(at, 1) * size
            elif record.kind is Kind.PAGE:
                page = image.source.read_exact(at, size)
            else:
                page = _xbzrle(
                    memory[start : start + size], image.source.read_exact(at, run.stride)
                )
            memory[start : start + size] = page
    return bytes(memory)


def _xbzrle(page: bytearray, delta: bytes) -> bytes:
    """migration/xbzrle.c: unchanged and changed runs in turn, their lengths as ULEB128."""
    at = position = 0
    changed = False
    while at < len(delta):
        length = delta[at] & 0x7F
        if delta[at] & 0x80:
            at += 1
            length |= delta[at] << 7
        at += 1
        if changed:
            page[position : position + length] = delta[at : at + length]
            at += length
        position += length
        changed = not changed
    return bytes(page)
