"""An image as a folder of files that are never written: blocks, physical memory, device state.

    blocks/NAME          the memory of each RAM block, absent pages as zeros
    blocks.json          which file is which block
    physical             guest-physical memory, holes as zeros
    core.elf             the same as an ELF core, with registers
    state/DEVICE.json    the decoded state of each device
    state/DEVICE.bin     its bytes
    info.json            what `fixedram info --json` tells

A content is made when a file is opened and goes when it is closed; memory is read where it is read.
Only lengths are remembered.  A length that nothing tells beforehand is counted, piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from fixedram_fmt.io.filenames import safe_names
from fixedram_fmt.memory.block import Readable
from fixedram_fmt.results import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.values import DeviceState

__all__ = ["File", "Folder", "image_folder", "read_content"]


@dataclass(slots=True)
class File:
    """A file: open gives its content, which belongs to who opened it; length is in bytes."""

    open: Callable[[], Readable | bytes]
    length: int | None = None

    @property
    def size(self) -> int:
        """Length in bytes; a content that is made to count it is not kept."""
        if self.length is None:
            self.length = _length(self.open())
        return self.length

    def read(self, offset: int, length: int) -> bytes:
        """At most length bytes at offset, fewer at the end."""
        return read_content(self.open(), offset, length)


def read_content(content: Readable | bytes, offset: int, length: int) -> bytes:
    """At most length bytes at offset of what a file's open gave, fewer at the end."""
    length = max(0, min(length, _length(content) - offset))
    if isinstance(content, bytes):
        return content[offset : offset + length]
    return content.read(offset, length)


def _length(content: Readable | bytes) -> int:
    # len() is limited to what an index can be; addresses go up to 2^64.
    return len(content) if isinstance(content, bytes) else content.size


@dataclass(slots=True)
class Folder:
    """Files and folders by name."""

    entries: dict[str, File | Folder] = field(default_factory=dict)

    def find(self, path: str) -> File | Folder | None:
        """What lies at a path with slashes; None if nothing does."""
        found: File | Folder | None = self
        for step in path.strip("/").split("/"):
            if step:
                found = found.entries.get(step) if isinstance(found, Folder) else None
        return found


def image_folder(image: Image) -> Folder:
    """The folder of an image; parts that it does not have are left out."""
    root = Folder({"info.json": File(lambda: _info(image))})
    root.entries["blocks"] = blocks = Folder()
    names = safe_names([block.name for block in image.blocks])
    for name, block in zip(names, image.blocks, strict=True):
        blocks.entries[name] = File(partial(image.memory, block), block.used_length)
    root.entries["blocks.json"] = File(lambda: _json({"files": _listed(image, blocks)}))
    if image.memory_map.ranges:
        root.entries["physical"] = File(lambda: _physical(image), image.memory_map.stop)
        root.entries["core.elf"] = File(lambda: _core(image))
    root.entries["state"] = _state(image)
    return root


def _listed(image: Image, blocks: Folder) -> list[dict[str, Any]]:
    return [
        {"file": f"blocks/{name}", "block": block.name, "bytes": block.used_length}
        for name, block in zip(blocks.entries, image.blocks, strict=True)
    ]


def _json(value: Any) -> bytes:
    # Never as a text and as bytes at once: of 65,536 blocks it is 16 MB.
    return b"".join(piece.encode("ascii") for piece in chain(pieces(value, 1), "\n"))


def _info(image: Image) -> bytes:
    from fixedram_fmt.summary import summarize

    return _json(summarize(image, image.source.name))


def _physical(image: Image) -> Readable:
    return image.physical_memory.filled(0)


def _core(image: Image) -> Readable:
    from fixedram_fmt.export import elf_core

    return elf_core(image)


#: A device with more values, or more bytes, is shown as one line that is made piece by piece.
_VALUES_SHORT = 1 << 14
_BODY_SHORT = 1 << 18


def _fields(device: DeviceState) -> Readable | bytes:
    from fixedram_fmt.results import plain

    structure = device.structure
    if structure is None or structure.values > _VALUES_SHORT or device.size > _BODY_SHORT:
        return _Fields(device)
    return _json(plain(device.fields))


class _Fields(Readable):
    """A device's values as JSON text, made piece by piece: of what was made only an end is kept.

    Whoever reads on gets on; whoever goes back further than that end has it made anew.
    """

    _KEPT = 1 << 20

    def __init__(self, device: DeviceState) -> None:
        self._device = device
        self._lock = Lock()
        self._start_anew()

    def _start_anew(self) -> None:
        self._pieces = self._made()
        self._window = b""
        self._offset = 0

    def _made(self) -> Iterator[str]:
        from fixedram_fmt.vmstate.jsontext import value_pieces

        yield from value_pieces(self._device.root)
        yield "\n"

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        """Its length in bytes, counted."""
        return sum(map(len, self._made()))

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer from an offset of the text."""
        view = memoryview(buffer).cast("B")
        with self._lock:
            if address < self._offset:
                self._start_anew()
            stop = address + view.nbytes
            while self._offset + len(self._window) < stop:
                more = b"".join(piece.encode("ascii") for piece in islice(self._pieces, 256))
                if not more:
                    break
                drop = max(0, min(address, stop - self._KEPT) - self._offset)
                drop = min(drop, len(self._window))
                self._window = self._window[drop:] + more
                self._offset += drop
            low = address - self._offset
            part = self._window[low : low + view.nbytes]
            view[: len(part)] = part


class _Body(Readable):
    """The bytes of a device's state, read where they are read."""

    def __init__(self, device: DeviceState) -> None:
        self.size = device.size
        self._device = device

    def readinto(self, address: int, buffer: bytearray | memoryview) -> None:
        """Fill buffer from an offset of the body."""
        view = memoryview(buffer).cast("B")
        view[:] = self._device.read(address, view.nbytes)


def _state(image: Image) -> Folder:
    folder = Folder()
    devices = image.state.devices
    for name, device in zip(safe_names([one.path for one in devices]), devices, strict=True):
        if device.structure is not None:
            folder.entries[f"{name}.json"] = File(partial(_fields, device))
        folder.entries[f"{name}.bin"] = File(partial(_Body, device), device.size)
    return folder
