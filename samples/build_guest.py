"""Builds the guests of the samples: `python samples/build_guest.py [-o DIR]`.

The x86 guest is assembled with GNU as. The others are a handful of instructions, so they stand
here as words with their mnemonics and need no cross assembler. By default the .bin.xz files in
guest/ are rewritten; they are committed so that samples can be made without `as`.
"""

from __future__ import annotations

import argparse
import lzma
import struct
import subprocess
import tempfile
from pathlib import Path

GUESTS = Path(__file__).resolve().parent / "guest"

X86_VARIANTS = {"x86-once": (), "x86-loop": ("--defsym", "LOOP=1")}
X86_ROM_BASE = 0xFFFF0000

# The data that `-device loader` puts into guests that run no code: a page of words, a page of
# zeros, a page that is zero but for its last byte, a page of words.
PATTERN_MULTIPLIER = 0x9E3779B1
PATTERN_LAST_BYTE = 0xA5

AVR = struct.pack("<H", 0xCFFF)  # rjmp .-2: stay here

# Firmware of a pseries machine: loaded at 0, entered at 0x100. Enters 24 translations into the
# hash page table, so that there is something in it to save, and prints "done" on its terminal.
PPC64_ENTRY = 0x100
PPC64_CODE = (
    0x39C00000,  # li    r14, 0        entry number
    0x38600008,  # li    r3, 8         H_ENTER
    0x38800000,  # li    r4, 0         flags
    0x7DC57378,  # mr    r5, r14       PTE index
    0x79C664E4,  # sldi  r6, r14, 12
    0x60C60001,  # ori   r6, r6, 1     first doubleword: valid
    0x79C764E4,  # sldi  r7, r14, 12
    0x60E70010,  # ori   r7, r7, 0x10  second doubleword: memory coherence, as for all RAM
    0x44000022,  # sc    1
    0x39CE0005,  # addi  r14, r14, 5
    0x2C2E0078,  # cmpdi r14, 120
    0x4180FFD8,  # blt   .-40
    0x38600058,  # li    r3, 0x58      H_PUT_TERM_CHAR
    0x3C803000,  # lis   r4, 0x3000    unit address of the vty
    0x38A00005,  # li    r5, 5         bytes
    0x3CC0646F,  # lis   r6, 0x646f    "do"
    0x60C66E65,  # ori   r6, r6, 0x6e65  "ne"
    0x78C607C6,  # sldi  r6, r6, 32
    0x64C60A00,  # oris  r6, r6, 0x0a00  line feed
    0x44000022,  # sc    1
    0x48000000,  # b     .
)
PPC64 = bytes(PPC64_ENTRY) + struct.pack(f">{len(PPC64_CODE)}I", *PPC64_CODE)

# Firmware of an s390x machine: sets the storage keys of the first MiB and stops with a PSW that
# QEMU understands as "shut down". Position independent; it must lie at a multiple of 8.
S390X = bytes.fromhex(
    "a7090000"  # lghi  %r0, 0          storage key
    "a7190000"  # lghi  %r1, 0          address
    "a7290100"  # lghi  %r2, 256        pages to go
    "b22b0001"  # sske  %r0, %r1        set the key of this page (the first one enables keys)
    "a70b0010"  # aghi  %r0, 16         next access-control value, in the upper four bits
    "a71b1000"  # aghi  %r1, 4096
    "a727fffa"  # brctg %r2, .-12
    "c02000000006"  # larl %r2, .+12    the PSW below
    "b2b22000"  # lpswe 0(%r2)
    "0707"  # bcr 0, %r7                padding
    "00020001800000000000000000000fff"  # wait, all interrupts off, address 0xfff
)


def pattern(pages: tuple[int, ...] = (0, 3)) -> bytes:
    """The four pages that `-device loader,file=pattern.bin` puts into guests without code."""
    first, last = (
        struct.pack("<1024I", *((p * PATTERN_MULTIPLIER + j) & 0xFFFFFFFF for j in range(1024)))
        for p in pages
    )
    return first + bytes(4096) + bytes(4095) + bytes([PATTERN_LAST_BYTE]) + last


def assemble(variant: str) -> bytes:
    """Assembles and links one variant of guest.s; needs `as` and `ld` (binutils)."""
    with tempfile.TemporaryDirectory() as name:
        temp = Path(name)
        options = ["--32", *X86_VARIANTS[variant]]
        subprocess.run(["as", *options, "-o", temp / "guest.o", GUESTS / "guest.s"], check=True)
        link = ["ld", "-m", "elf_i386", "--oformat", "binary", f"-Ttext={X86_ROM_BASE:#x}"]
        subprocess.run([*link, "-o", temp / "guest.bin", temp / "guest.o"], check=True)
        return (temp / "guest.bin").read_bytes()


def build() -> dict[str, bytes]:
    """Every guest, freshly built: {name: bytes}."""
    guests = {variant: assemble(variant) for variant in X86_VARIANTS}
    return guests | {"s390x": S390X, "ppc64": PPC64, "avr": AVR, "pattern": pattern()}


def load() -> dict[str, bytes]:
    """Every guest as it was committed: {name: bytes}."""
    return {
        path.name.removesuffix(".bin.xz"): lzma.decompress(path.read_bytes())
        for path in sorted(GUESTS.glob("*.bin.xz"))
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="build the guests of the samples")
    parser.add_argument("-o", "--output", type=Path, default=GUESTS, help="folder for the .bin.xz")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, data in build().items():
        (output / f"{name}.bin.xz").write_bytes(lzma.compress(data, preset=9))


if __name__ == "__main__":
    main()
