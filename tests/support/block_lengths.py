"""Blocks that are longer or shorter than the receiver's, as streams, and what QEMU 10.0 does.

tests/validation/test_lengths.py holds the verdict to the table, tests/interop/test_lengths.py a
real QEMU.  The receiver is RECEIVER: `pc` with 16 MiB.
"""

from __future__ import annotations

from typing import NamedTuple

from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.ram import RamSaveFlag
from fixedram_fmt.schema.stream import SectionType
from support.synthetic import PAGE, made, ram_word

__all__ = ["CASES", "RECEIVER", "Case", "stream_of"]

KIB, MIB = 1 << 10, 1 << 20
TABLES, LOADER, RSDP = "/rom@etc/acpi/tables", "/rom@etc/table-loader", "/rom@etc/acpi/rsdp"

#: used_length of the blocks of `-machine pc -m 16M`, by `info ramblock` of QEMU 10.0.
RECEIVER = {
    "pc.ram": 16 * MIB, TABLES: 128 * KIB, "pc.bios": 256 * KIB, "pc.rom": 128 * KIB,
    LOADER: 4 * KIB, RSDP: 4 * KIB,
}  # fmt: skip


class Case(NamedTuple):
    """A block's length in the image; density is None for an ordinary stream, or how full it is.

    message is QEMU's, empty where it loads.
    """

    name: str
    length: int
    density: float | None
    message: str


def _mismatch(name: str, length: int) -> Case:
    message = f"Size mismatch: {name}: {length:#x} != {RECEIVER[name]:#x}: Invalid argument"
    return Case(name, length, None, message)


def _too_large(name: str, length: int, ceiling: int) -> Case:
    message = f"Size too large: {name}: {length:#x} > {ceiling:#x}: Invalid argument"
    return Case(name, length, None, message)


_OUTSIDE = f"page outside of ramblock {TABLES} range"

CASES = {
    "ordinary-ram-longer": _mismatch("pc.ram", 32 * MIB),
    "ordinary-ram-a-page-longer": _mismatch("pc.ram", 16 * MIB + PAGE),
    "ordinary-ram-shorter": _mismatch("pc.ram", 8 * MIB),
    "ordinary-ram-equal": Case("pc.ram", 16 * MIB, None, ""),
    "ordinary-bios-longer": _mismatch("pc.bios", 512 * KIB),
    "ordinary-bios-shorter": _mismatch("pc.bios", 128 * KIB),
    "ordinary-rom-shorter": _mismatch("pc.rom", 64 * KIB),
    "ordinary-tables-up-to-max": Case(TABLES, 2 * MIB, None, ""),
    "ordinary-tables-past-max": _too_large(TABLES, 2 * MIB + PAGE, 2 * MIB),
    "ordinary-tables-shorter": Case(TABLES, 64 * KIB, None, ""),
    "ordinary-loader-up-to-max": Case(LOADER, 64 * KIB, None, ""),
    "ordinary-loader-past-max": _too_large(LOADER, 64 * KIB + PAGE, 64 * KIB),
    "ordinary-rsdp-past-max": _too_large(RSDP, 8 * KIB, 4 * KIB),
    "mapped-tables-longer-and-empty": Case(TABLES, 4 * MIB, 0, ""),
    "mapped-tables-in-one-piece": Case(TABLES, 256 * KIB, 1, ""),
    "mapped-tables-one-piece-of-a-mib": Case(TABLES, MIB, 1, ""),
    "mapped-tables-in-two-pieces": Case(TABLES, MIB + PAGE, 1, _OUTSIDE),
    "mapped-tables-page-past-end": Case(TABLES, 192 * KIB, 0.5, _OUTSIDE),
    "mapped-tables-shorter": Case(TABLES, 64 * KIB, 1, ""),
}


def stream_of(case: Case) -> bytes:
    """A stream with that block alone (pc.ram beside it), without devices."""
    if case.density is None:
        return _ordinary({**{"pc.ram": RECEIVER["pc.ram"]}, case.name: case.length})
    pattern = {"pattern": "text", "density": case.density} if case.density else {}
    blocks = [
        {"name": "pc.ram", "size": RECEIVER["pc.ram"], "pattern": "counter", "density": 0.01},
        {"name": case.name, "size": case.length, **(pattern or {"pattern": "zero"})},
    ]
    return made(machine="pc-i440fx-10.0", blocks=blocks, devices=[])


def _ordinary(lengths: dict[str, int]) -> bytes:
    machine = stream.Configuration(SectionType.CONFIGURATION, b"pc-i440fx-10.0")
    entries = (
        ram.BLOCK_ENTRY.build(ram.BlockEntry(name.encode(), length))
        for name, length in lengths.items()
    )
    return b"".join([
        stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3)),
        stream.CONFIGURATION.build(machine),
        stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 1, b"ram", 0, 4)),
        ram_word(sum(lengths.values()), RamSaveFlag.MEM_SIZE),
        *entries,
        ram_word(0, RamSaveFlag.EOS),
        stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 1)),
        stream.EOF.build(stream.Eof(SectionType.EOF)),
    ])  # fmt: skip
