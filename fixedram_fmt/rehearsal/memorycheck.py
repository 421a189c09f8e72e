"""The memory of a loaded VM against the image's: read by pmemsave, a bounded piece at a time.

What is compared is what the image's memory map shows (fixedram_fmt.memory.map): pieces in which the
image has a page all of them, of those without (which read as zeros) at most so many.  Upstream:
QEMU system/cpus.c qmp_pmemsave(), which reads the guest's address space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fixedram_fmt.errors import FixedRamError, SourceError
from fixedram_fmt.rehearsal.monitor import QemuRefusedError
from fixedram_fmt.rehearsal.rehearsed import MemoryCompared, MemoryDifference, RehearsedBlock
from fixedram_fmt.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.ranges import MemoryRange
    from fixedram_fmt.rehearsal.clock import Clock
    from fixedram_fmt.rehearsal.monitor import Monitor

__all__ = ["OTHER_LENGTH", "PIECE", "compare_memory"]

#: Bytes that are on disk at once, and that are read at once.
PIECE = 64 << 20
_STEP = 1 << 20
#: Pieces without a page that are looked at, in each range; evenly spread.
_EMPTY_PIECES = 16
#: How a note says that a block has another length in the VM.
OTHER_LENGTH = "has another length in the VM"
#: "   pc.ram    4 KiB  0x... (offset) 0x... (used) 0x... (total)".
_BLOCK = re.compile(
    r"^[ \t]*(?P<name>\S.*?)[ \t]+[\d.]+ [KMGTPE]?i?B?[ \t]+0x[0-9a-f]+[ \t]+(?P<used>0x[0-9a-f]+)",
    re.MULTILINE,
)
#: Bytes of a difference that are shown.
_SHOWN = 16


@dataclass(slots=True)
class _Found:
    """What was compared so far, by the block's index."""

    compared: dict[int, int] = field(default_factory=dict)
    unequal: set[int] = field(default_factory=set)
    difference: MemoryDifference | None = None
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    finished: bool = True

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def compare_memory(monitor: Monitor, image: Image, folder: Path, clock: Clock) -> MemoryCompared:
    """What of the image's memory the VM has; folder is where QEMU may write pieces of it.

    Raises OutOfTimeError, and QemuGoneError where QEMU ends meanwhile.
    """
    found = _Found()
    memory_map = image.memory_map
    for piece in memory_map:
        if piece.block.ignored:
            found.note(f"{piece.block.name} is not in the image (x-ignore-shared)")
            continue
        try:
            for part in _parts(image, piece, found, clock):
                _compare(monitor, image, part, folder, found)
        except (FixedRamError, QemuRefusedError) as error:
            found.note(f"{piece.block.name} at {piece.start:#x}: {error}")
            found.finished = False
    if found.skipped:
        found.note(f"{human_size(found.skipped)} in which the image has no page: not all read")
    for note in memory_map.notes:
        found.note(note)
    if memory_map.unmapped:
        names = ", ".join(block.name for block in memory_map.unmapped[:8])
        more = ", ..." if len(memory_map.unmapped) > 8 else ""
        found.note(f"not in the guest's address space, so not compared: {names}{more}")
    for block, length in _other_lengths(monitor, image):
        found.note(f"{block.name} {OTHER_LENGTH}: {length}, {block.used_length} in the image")
    total = sum(piece.length for piece in memory_map if not piece.block.ignored)
    shown = tuple(_shown(block, found) for block in image.blocks if block.index in found.compared)
    compared = sum(found.compared.values())
    return MemoryCompared(
        compared, total, shown, found.difference, tuple(found.notes), found.finished
    )


def _other_lengths(monitor: Monitor, image: Image) -> Iterator[tuple[RamBlock, int]]:
    """Blocks that are of another length in the VM, with that: mapped-ram loads them all the same.

    Upstream: QEMU system/physmem.c ram_block_format().
    """
    try:
        told = monitor.execute("human-monitor-command", {"command-line": "info ramblock"})
    except QemuRefusedError:
        return
    lengths = {match["name"]: int(match["used"], 16) for match in _BLOCK.finditer(str(told))}
    for block in image.blocks:
        length = lengths.get(block.name, block.used_length)
        if length != block.used_length:
            yield block, length


def _shown(block: RamBlock, found: _Found) -> RehearsedBlock:
    equal = block.index not in found.unequal
    return RehearsedBlock(block.name, block.used_length, found.compared[block.index], equal)


def _parts(image: Image, piece: MemoryRange, found: _Found, clock: Clock) -> Iterator[MemoryRange]:
    """The parts of a range that are compared, PIECE at most each."""
    held = sorted(_held(image, piece, clock))
    count = -(-piece.length // PIECE)
    empty = count - len(held)
    stride = max(1, -(-empty // _EMPTY_PIECES))
    looked_at = set(held)
    if empty:
        looked_at.update(range(0, count, stride))
    last = count - 1
    for number in sorted(looked_at | {last}):
        clock.left()
        start = piece.start + number * PIECE
        yield piece.part(start, start + PIECE)
    found.skipped += (count - len(looked_at | {last})) * PIECE


def _held(image: Image, piece: MemoryRange, clock: Clock) -> Iterator[int]:
    """Numbers of the pieces in which the image has a page, each once."""
    done = -1
    memory = image.physical_memory.block(piece.block)
    for run in memory.runs(piece.offset, piece.offset + piece.length):
        clock.left()
        first = (run.address - piece.offset) // PIECE
        last = (run.address + run.length - 1 - piece.offset) // PIECE
        yield from range(max(first, done + 1), last + 1)
        done = max(done, last)


def _compare(
    monitor: Monitor, image: Image, part: MemoryRange, folder: Path, found: _Found
) -> None:
    path = folder / "memory"
    arguments = {"val": part.start, "size": part.length, "filename": str(path)}
    memory = image.physical_memory.block(part.block)
    done = 0
    expected = bytearray(_STEP)
    try:
        monitor.execute("pmemsave", arguments)
        with path.open("rb") as file:
            while done < part.length:
                got = file.read(min(_STEP, part.length - done))
                if not got:
                    raise SourceError("QEMU wrote less of its memory than was asked")
                view = memoryview(expected)[: len(got)]
                memory.readinto(part.offset + done, view)
                if view != got:
                    _differs(part, done, bytes(view), got, found)
                done += len(got)
    except OSError as error:
        raise SourceError(f"QEMU's memory cannot be read: {error.strerror}") from error
    finally:
        path.unlink(missing_ok=True)
        index = part.block.index
        found.compared[index] = found.compared.get(index, 0) + done


def _differs(part: MemoryRange, done: int, expected: bytes, got: bytes, found: _Found) -> None:
    found.unequal.add(part.block.index)
    if found.difference is not None:
        return
    first = next(n for n, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b)
    found.difference = MemoryDifference(
        part.block.name,
        part.offset + done + first,
        part.start + done + first,
        expected[first : first + _SHOWN].hex(),
        got[first : first + _SHOWN].hex(),
    )
