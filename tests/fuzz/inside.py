"""What no command reaches within one process: the mount's operations, forensics, page tables.

Each is called as a command is, by words that begin with @.
"""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.image import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INSIDE"]

#: Files, windows and addresses that are looked at: the work of a run has an end.
_FILES = 40
_WINDOWS = 12
_CPUS = 4
_WINDOW = 1 << 16
_ADDRESSES = (
    0, 0x1000, 0xFFF, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_8100_0000,
    0xFFFF_FFFF_FFFF_FFFF, 0x4000_0000, 0x8000_0000, 0xC000_0000, 0xFFFF_FFC0_0008_0000,
)  # fmt: skip


def mounted(image: str) -> None:
    """Everything that a file manager asks of a mount, and what it should not ask."""
    from fixedram_fmt.mount.files import image_folder
    from fixedram_fmt.mount.fuse import _Calls

    def error(number: int) -> OSError:
        return OSError(number, "as a disk says")

    with Image.open(image) as opened:
        calls = _Calls(image_folder(opened), error)
        for path in islice(_paths(calls, "/"), _FILES):
            with suppress(OSError):
                size = calls.getattr(path)["st_size"]
                number = calls.open(path, 0)
                for offset in (0, size // 2, size - 1, size, size + 1, 1 << 62):
                    with suppress(OSError):
                        calls.read(path, 4096, max(0, offset), number)
                calls.release(path, number)
            for wrong in (path + "/..", path + "\0", path + "/x", "//" + path):
                with suppress(OSError):
                    calls.getattr(wrong)


def _paths(calls: Any, folder: str) -> Iterator[str]:
    for name in calls.readdir(folder, 0):
        if name in (".", ".."):
            continue
        if not name.isprintable() or "/" in name or "\0" in name:
            raise AssertionError(f"a file is called {name!r}")
        path = f"{folder}{name}"
        if calls.getattr(path)["st_mode"] & 0o040000:
            yield from _paths(calls, path + "/")
        else:
            yield path


def layered(image: str) -> None:
    """What volatility3's layer asks: tiles of windows, whether they are valid, their bytes."""
    from fixedram_fmt.forensics.guest import GuestMemory

    memory = GuestMemory(Image.open(image))
    chance = random.Random(1)
    for _ in range(_WINDOWS):
        start = chance.choice((memory.start, memory.stop, chance.randrange(memory.stop + 1)))
        start = max(0, start - chance.choice((0, 1, 4096)))
        stop = start + _WINDOW
        tiles = list(memory.tiles(start, stop))
        edges = [(tile.start, tile.stop) for tile in tiles]
        if edges and (edges[0][0], edges[-1][1]) != (start, stop):
            raise AssertionError(f"tiles of {start:#x} to {stop:#x} are {edges[0]} to {edges[-1]}")
        memory.is_valid(start, stop)
        for tile in tiles:
            with suppress(FixedRamError):
                if len(memory.bytes_of(tile)) != tile.stop - tile.start:
                    raise AssertionError("a tile has not its length")


def virtual(image: str) -> None:
    """Every CPU's view of addresses that are at limits, by the page tables of its architecture."""
    from fixedram_fmt.memory.paging import VirtualMemory, registers_of

    with Image.open(image) as opened:
        memory = opened.physical_memory
        for cpu in range(_CPUS):
            try:
                view = VirtualMemory(memory, registers_of(opened.state, cpu))
            except FixedRamError:
                break
            for address in _ADDRESSES:
                with suppress(FixedRamError):
                    view.translate(address)
                with suppress(FixedRamError):
                    view.read(address, min(4096, (1 << 64) - address))


INSIDE = {"@mount": mounted, "@layer": layered, "@virtual": virtual}
