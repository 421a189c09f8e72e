"""Lengths of blocks on the receiving side: which may differ from the image's, and how to mend them.

Upstream: QEMU system/physmem.c qemu_ram_resize(); hw/core/loader.c rom_set_mr(), which makes every
`/rom@` block resizable up to its romsize: the length of its file, but for what hw/acpi/utils.c
acpi_add_rom_blob() makes.  `info ramblock` shows used_length as Used and max_length as Total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.presence.bitmap import PageBitmap

__all__ = [
    "KNOWN_MAX_LENGTHS",
    "PiecePast",
    "first_piece_past",
    "fix_of_length",
    "is_resizable",
    "known_max_lengths",
]

#: migration/ram.c MAPPED_RAM_LOAD_BUF_SIZE: bytes that a load reads at a time.
_LOAD_PIECE = 1 << 20

#: hw/acpi/utils.c acpi_add_rom_blob(), in every release since 4.0 (hw/i386/acpi-build.c since 2.2);
#: `info ramblock` of QEMU 10.0 says the same for pc, q35 and ARM's virt.
KNOWN_MAX_LENGTHS = {"/rom@etc/acpi/tables": 0x200000, "/rom@etc/table-loader": 0x10000}
_RESIZABLE = "/rom@"


def is_resizable(name: str) -> bool:
    """Whether QEMU makes the block RAM_RESIZEABLE."""
    return name.startswith(_RESIZABLE)


def known_max_lengths(lengths: Mapping[str, int]) -> dict[str, int]:
    """max_length of those of the blocks whose name tells it."""
    return {
        name: max(known, lengths[name])
        for name, known in KNOWN_MAX_LENGTHS.items()
        if name in lengths
    }


class PiecePast(NamedTuple):
    """A piece of a run that does not fit into a block: its place in it and its size in bytes.

    readable is how much of it there is memory for; 0: it begins past the block's length.
    """

    start: int
    size: int
    readable: int


def first_piece_past(
    bitmap: PageBitmap, page_size: int, length: int, ceiling: int
) -> PiecePast | None:
    """The first piece of present pages that a block of length does not take.

    migration/ram.c read_ramblock_mapped_ram() refuses a piece that begins past length.  One that
    begins inside is read as far as there is memory: to length, or in a resizable block to its
    max_length (ceiling).  A part is not enough: without channels it is refused as unread.
    """
    for run in bitmap.runs():
        start, stop = run.start * page_size, run.stop * page_size
        if not run.present or stop <= length:
            continue
        if start < length:
            start = length - 1 - (length - 1 - start) % _LOAD_PIECE
            size = min(_LOAD_PIECE, stop - start)
            if start + size > ceiling:
                return PiecePast(start, size, ceiling - start)
            start += size
        if start < stop:
            return PiecePast(start, min(_LOAD_PIECE, stop - start), 0)
    return None


def fix_of_length(name: str, length: int) -> str:
    """What to change on the destination so that a block has the image's length (bytes)."""
    device, _, last = name.rpartition("/")
    if is_resizable(name):
        return "start the destination with the image's devices and firmware: QEMU builds this block"
    if device and last.endswith(".rom"):
        return (
            f"give the destination's {last.removesuffix('.rom')} at {device} the ROM of the image: "
            f"romfile= the same file, or romsize={length}, or the package of option ROMs that the "
            "source had (ipxe-qemu)"
        )
    if last.endswith((".bios", ".rom", "isa-bios")):
        return (
            f"give the destination the firmware of the image, {length} bytes long: -bios the same "
            "file, or the package that the source had (seabios, ovmf, qemu-system-data)"
        )
    if "flash" in last:
        return (
            f"give the destination a pflash image of {length} bytes: the firmware file (or package)"
            " that the source had"
        )
    if last.endswith("vram"):
        return "give the destination's display device the video memory of the image: vgamem_mb="
    return f"give the destination as much memory as the image has: {length} bytes for this block"
