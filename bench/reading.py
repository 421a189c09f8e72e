"""Start-up, and what reading costs by the size of the guest."""

from __future__ import annotations

import lzma
import os
import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from fixedram_fmt.presence.bitmap import PageBitmap
from fixedram_fmt.schema import ram, stream
from fixedram_fmt.schema.stream import SectionType
from measure import BARE, FIXEDRAM, PAGE, ROOT, Figure, bare, command, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_TAIL = b"".join([
    ram.RAM_RECORD.build(ram.RamRecord(int(ram.RamSaveFlag.EOS))),
    stream.SECTION_FOOTER.build(stream.SectionFooter(SectionType.SECTION_FOOTER, 2)),
    stream.EOF.build(stream.Eof(SectionType.EOF)),
])  # fmt: skip


def write_stream(path: Path, pages: int, *, alternating: bool = False) -> None:
    """An ordinary stream of pages PAGE records in a row, or of PAGE and ZERO records in turn."""
    head = b"".join([
        stream.FILE_HEADER.build(stream.FileHeader(b"QEVM", 3)),
        stream.CONFIGURATION.build(stream.Configuration(SectionType.CONFIGURATION, b"pc-q35-10.0")),
        stream.SECTION.build(stream.SectionHeader(SectionType.SECTION_START, 2, b"ram", 0, 4)),
        ram.RAM_RECORD.build(ram.RamRecord(pages * PAGE | ram.RamSaveFlag.MEM_SIZE)),
        ram.BLOCK_ENTRY.build(ram.BlockEntry(b"pc.ram", pages * PAGE)),
    ])  # fmt: skip
    content = os.urandom(PAGE)
    with path.open("wb") as file:
        file.write(head)
        for page in range(pages):
            zero = alternating and page % 2
            flags = ram.RamSaveFlag.ZERO if zero else ram.RamSaveFlag.PAGE
            word = page * PAGE | flags | (ram.RamSaveFlag.CONTINUE if page else 0)
            file.write(word.to_bytes(8, "big"))
            if not page:
                file.write(ram.PAGE_IDSTR.build(ram.PageIdstr(b"pc.ram")))
            file.write(b"\0" if zero else content)
        file.write(_TAIL)


def naive_runs(bits: bytes, pages: int) -> Iterator[tuple[int, int, int]]:
    """The runs by looking at one bit after the other."""
    start, before = 0, bits[0] & 1
    for page in range(pages):
        bit = bits[page // 8] >> page % 8 & 1
        if bit != before:
            yield start, page, before
            start, before = page, bit
    yield start, pages, before


def start_up(folder: Path) -> list[Figure]:
    """What commands cost that read little, in starts of a bare interpreter."""
    small = folder / "small.img"
    small.write_bytes(lzma.decompress((ROOT / "samples" / "pc-once.img.xz").read_bytes()))
    return [
        compare("fixedram --version", command(*FIXEDRAM, "--version"), BARE, bare, 5),
        compare("info --help", command(*FIXEDRAM, "info", "--help"), BARE, bare, 15),
        compare("info SMALL", command(*FIXEDRAM, "info", small), BARE, bare, 20),
        compare("info SMALL --json", command(*FIXEDRAM, "info", small, "--json"), BARE, bare, 20),
        compare("dump SMALL --json", command(*FIXEDRAM, "dump", small, "--json"), BARE, bare),
        compare("validate SMALL", command(*FIXEDRAM, "validate", small), BARE, bare),
    ]


def sizes(folder: Path) -> list[Figure]:
    """What a look costs: by the bitmaps, by the file where --deep asks for that."""
    huge, stale, old = folder / "huge.img", folder / "stale.img", folder / "old.img"
    dense = folder / "dense.img"
    synth = [*FIXEDRAM, "synth", "-o"]
    command(*synth, huge, "--block", "pc.ram=1T:random:0.00001")()
    # No page present, every page full of old bytes: --deep has to look at all of them.
    command(*synth, stale, "--block", "pc.ram=2G", "--fault", "bitmaps-empty")()
    command(*synth, dense, "--block", "pc.ram=2G")()
    write_stream(old, 1 << 17)
    turns = folder / "turns.img"
    write_stream(turns, 1 << 18, alternating=True)
    cat = {
        path: command("sh", "-c", f"cat {path} > /dev/null") for path in (stale, old, dense, turns)
    }
    return [
        compare("info, 1 TiB guest", command(*FIXEDRAM, "info", huge), BARE, bare),
        compare("info, 2 GiB of pages", command(*FIXEDRAM, "info", stale), BARE, bare),
        compare(
            "dump --deep, 2 GiB of stale pages", command(*FIXEDRAM, "dump", stale, "--deep"),
            "cat", cat[stale], 3,
        ),
        compare(
            "validate, 1 TiB guest", command(*FIXEDRAM, "validate", huge), BARE, bare
        ),
        compare(
            "validate --deep, dense 2 GiB", command(*FIXEDRAM, "validate", dense, "--deep"),
            "cat", cat[dense], 3,
        ),
        compare("info, ordinary stream 512 MiB", command(*FIXEDRAM, "info", old), "cat", cat[old]),
        # Start-up stands on both sides; a cat from the page cache is hard to keep up with.
        compare(
            "info, ordinary stream 512 MiB, alternating", command(*FIXEDRAM, "info", turns),
            "info SMALL and cat twice", _after_info(cat[turns]), 1.5,
        ),
    ]  # fmt: skip


def _after_info(cat: Callable[[], object]) -> Callable[[], object]:
    info = command(*FIXEDRAM, "info", ROOT / "samples" / "pc-once.img.xz")

    def run() -> None:
        info(), cat(), cat()

    return run


def bitmaps(_: Path) -> list[Figure]:
    """Runs and counts of a bitmap, against a loop over its bits."""
    pages = 1 << 20
    result = []
    for name, bits, promise in (
        ("random bits", os.urandom(pages // 8), None),
        ("few runs", (b"\xff" * 4096 + bytes(4096)) * (pages // 65536), 0.05),
    ):
        bitmap = PageBitmap.from_bytes(bits, pages)
        if list(bitmap.runs()) != list(naive_runs(bits, pages)):
            sys.exit("the runs are wrong, so their speed does not matter")
        naive = partial(lambda b: deque(naive_runs(b, pages), maxlen=0), bits)
        runs = partial(lambda b: deque(b.runs(), maxlen=0), bitmap)
        result += [
            compare(f"runs of 1 Mi pages, {name}", runs, "naive loop", naive, promise),
            compare(f"count of 1 Mi pages, {name}", bitmap.count, "naive loop", naive, 0.02),
        ]
    return result
