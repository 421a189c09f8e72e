"""Where loaded memory goes: buffers of the caller's, fresh memory, files."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.io.closing import Closing
from fixedram_fmt.multifd.loader import JOB_SIZE, LoadError

if TYPE_CHECKING:
    from collections.abc import Buffer, Iterator, Mapping, Sequence  # type: ignore[attr-defined]

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.image import Image
    from fixedram_fmt.io.output import Output
    from fixedram_fmt.io.source import Source

__all__ = ["Buffers", "DirectSource", "Files", "Memory"]

#: asm-generic/mman-common.h MAP_NORESERVE: a guest may be larger than this machine.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
#: From this on a run of pages is worth pages of 2 MiB: fewer faults.
_HUGE_PAGE = 1 << 21
#: Each range splits the mapping, and a process has 65,530 mappings (vm.max_map_count).
_HUGE_RANGES = 1 << 12


class DirectSource:
    """Reads past the page cache (O_DIRECT) what is aligned for that, and the rest as usual.

    note says why it does not, where it does not at all.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fd = -1
        self.note = ""
        if source.fd < 0:
            self.note = "direct I/O needs a file"
            return
        try:
            self._fd = os.open(f"/proc/self/fd/{source.fd}", os.O_RDONLY | os.O_DIRECT)
        except OSError as error:
            self.note = f"no direct I/O here ({error.strerror}), read through the page cache"

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill target with the bytes at offset."""
        done = 0
        size = mmap.PAGESIZE
        # The caller's memory begins at a page; a tail that does not end at one is read as usual.
        if self._fd >= 0 and offset % size == 0:
            whole = target.nbytes // size * size
            while done < whole:
                try:
                    got = os.preadv(self._fd, [target[done:whole]], offset + done)
                except OSError:
                    break
                if got <= 0 or got % size:
                    break
                done += got
        if done < target.nbytes:
            self._source.read_into(offset + done, target[done:])

    def close(self) -> None:
        """Give back the file descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class _Views:
    """Memory by the index of its block, which channels read right into."""

    def __init__(self, source: Source | DirectSource) -> None:
        self._source = source
        self.views: dict[int, memoryview] = {}

    def fill(self, block: RamBlock, start: int, length: int, offset: int) -> None:
        """Read right into the memory."""
        self._source.read_into(offset, self.views[block.index][start : start + length])


class Buffers(_Views):
    """Memory of the caller's: a writable buffer for each block, by its name.

    A buffer may be longer than the block, not shorter.  Blocks of one name share it, as in QEMU.
    """

    def __init__(self, image: Image, buffers: Mapping[str, Buffer]) -> None:
        super().__init__(image.source)
        for block in image.blocks:
            if block.name not in buffers:
                if block.ignored:
                    continue
                raise LoadError("no buffer for a block", path=block.path, expected=repr(block.name))
            view = memoryview(buffers[block.name]).cast("B")
            if view.nbytes < block.used_length or view.readonly:
                raise LoadError(
                    "the buffer cannot hold the block",
                    path=block.path,
                    expected=f"{block.used_length} bytes that can be written",
                    found=f"{view.nbytes} bytes{', read-only' if view.readonly else ''}",
                )
            self.views[block.index] = view


class Memory(Closing, _Views):
    """Fresh memory for every block with pages, given back when the context ends.

    direct reads past the page cache, where that works.
    """

    def __init__(self, image: Image, *, direct: bool = False) -> None:
        self._direct = DirectSource(image.source) if direct else None
        super().__init__(self._direct or image.source)
        try:
            for block in image.blocks:
                if block.has_pages and block.used_length:
                    self.views[block.index] = _fresh(image, block)
        except BaseException:
            self.close()
            raise

    @property
    def note(self) -> str:
        """Why memory was not read as asked, empty where it was."""
        return self._direct.note if self._direct else ""

    def close(self) -> None:
        """Give all memory back; views of it must be gone."""
        while self.views:
            self.views.popitem()[1].release()
        if self._direct is not None:
            self._direct.close()


def _fresh(image: Image, block: RamBlock) -> memoryview:
    """Zeros for a block, which take room once they are written to; freed with the last view."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    try:
        memory = mmap.mmap(-1, block.used_length, flags=flags)
    except (OSError, ValueError, OverflowError) as error:
        raise LoadError(
            f"no memory for the block: {error}",
            path=block.path,
            found=f"{block.used_length} bytes",
            hint="load into files with -o",
        ) from error
    # A kernel without huge pages says no, and that is no harm.
    with contextlib.suppress(OSError):
        # Where they are for everybody, a lone page would take 2 MiB.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for start, stop in islice(_huge_ranges(image, block), _HUGE_RANGES):
            memory.madvise(mmap.MADV_HUGEPAGE, start, stop - start)
    return memoryview(memory)


def _huge_ranges(image: Image, block: RamBlock) -> Iterator[tuple[int, int]]:
    """The bytes [start, stop) of a block that are whole huge pages with every page present."""
    bitmap = image.readable_bitmap(block)
    for run in bitmap.runs() if bitmap is not None else ():
        start = -(-run.start * block.page_size // _HUGE_PAGE) * _HUGE_PAGE
        stop = run.stop * block.page_size // _HUGE_PAGE * _HUGE_PAGE
        if run.present and start < stop:
            yield start, stop


class Files:
    """One open Output for each block; absent pages become holes."""

    def __init__(self, source: Source | DirectSource, outputs: Sequence[Output]) -> None:
        self._source = source
        self._outputs = outputs
        self._own = threading.local()

    def fill(self, block: RamBlock, start: int, length: int, offset: int) -> None:
        """Read into a buffer of the channel's own, and write that."""
        buffer = getattr(self._own, "buffer", None)
        if buffer is None:
            buffer = self._own.buffer = memoryview(mmap.mmap(-1, JOB_SIZE))
        part = buffer[:length]
        self._source.read_into(offset, part)
        self._outputs[block.index].write_through(start, part)
