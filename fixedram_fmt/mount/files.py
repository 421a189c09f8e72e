"""An image as a folder of files that are never written: blocks, physical memory, device state.

    blocks/NAME          the memory of each RAM block, absent pages as zeros
    blocks.json          which file is which block
    physical             guest-physical memory, holes as zeros
    core.elf             the same as an ELF core, with registers
    state/DEVICE.json    the decoded state of each device
    state/DEVICE.bin     its bytes
    info.json            what `fixedram info --json` tells

Contents are made when they are asked for; memory is read where it is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from fixedram_fmt.filenames import safe_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixedram_fmt.image import Image
    from fixedram_fmt.memory.block import Readable
    from fixedram_fmt.vmstate.state import DeviceState

__all__ = ["File", "Folder", "image_folder"]


@dataclass
class File:
    """A file: size bytes, read at any offset.  make gives its content when it is first needed."""

    make: Callable[[], Readable | bytes]

    @cached_property
    def _content(self) -> Readable | bytes:
        return self.make()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        """At most length bytes at offset, fewer at the end."""
        length = max(0, min(length, self.size - offset))
        if isinstance(self._content, bytes):
            return self._content[offset : offset + length]
        return self._content.read(offset, length)


@dataclass
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
    listed = []
    for name, block in zip(names, image.blocks, strict=True):
        listed.append({"file": f"blocks/{name}", "block": block.name, "bytes": block.used_length})
        blocks.entries[name] = File(partial(image.memory, block))
    root.entries["blocks.json"] = File(lambda: _json({"files": listed}))
    if image.memory_map.ranges:
        root.entries["physical"] = File(lambda: _physical(image))
        root.entries["core.elf"] = File(lambda: _core(image))
    root.entries["state"] = _state(image)
    return root


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _info(image: Image) -> bytes:
    from fixedram_fmt.summary import summarize

    return _json(summarize(image, image.source.name).as_dict())


def _physical(image: Image) -> Readable:
    from fixedram_fmt.memory.physical import PhysicalMemory

    return PhysicalMemory(image, image.memory_map, fill=0)


def _core(image: Image) -> Readable:
    from fixedram_fmt.export import elf_core

    return elf_core(image)


def _fields(device: DeviceState) -> bytes:
    from fixedram_fmt.vmstate.plain import plain

    return _json(plain(device.fields))


def _state(image: Image) -> Folder:
    folder = Folder()
    devices = image.state.devices
    for name, device in zip(safe_names([one.path for one in devices]), devices, strict=True):
        if device.structure is not None:
            folder.entries[f"{name}.json"] = File(partial(_fields, device))
        folder.entries[f"{name}.bin"] = File(partial(device.read, 0, device.size))
    return folder
