"""Lengths of blocks on the receiving side: which may differ from the image's, and how to mend them.

Upstream: QEMU system/physmem.c qemu_ram_resize(); hw/core/loader.c rom_set_mr(), which makes every
`/rom@` block resizable up to its romsize: the length of its file, but for what hw/acpi/utils.c
acpi_add_rom_blob() makes.  `info ramblock` shows used_length as Used and max_length as Total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KNOWN_MAX_LENGTHS", "fix_of_length", "is_resizable", "known_max_lengths"]

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
