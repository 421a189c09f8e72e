"""What mutations begin with: the samples, and images of the writer in every shape it has."""

from __future__ import annotations

import json
import lzma
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.image import Image
from fixedram_fmt.io.output import BufferOutput
from fixedram_fmt.write.faults import catalogue
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image
from fuzz.mutations import SIZE_CEILING
from support.builders import ordinary_image
from support.qcow2 import DiskBuilder, State
from support.xen import XenSaveBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["documents", "of_sample", "seeds"]

SAMPLES = Path(__file__).parent.parent.parent / "samples"
#: Of a sample beyond the ceiling: its head, and its devices after a list without blocks.
_HEAD = 1 << 14
_BLOCKS = [
    {"name": "pc.ram", "size": 16384, "pattern": "counter", "density": 0.4},
    {"name": "mem1", "size": 4096, "pattern": "text"},
]
_DEVICES = [{"name": "timer", "version": 2, "data": "00" * 24}, {"name": "cpu", "data": "7e" * 40}]
_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "q35": {"machine": "pc-q35-10.0"},
    "uuid": {"uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f", "target_page_bits": True},
    "review": {"dialect": "fixed-ram-v4", "multifd": True, "rounds": 2},
    "shared": {"capabilities": ["x-ignore-shared", "mapped-ram"]},
    "big": {"byte_order": "big"},
    "libvirt": {"container": {"kind": "libvirt"}},
    "live": {"rounds": 3},
    "no-description": {"vmdesc": False},
    "sparse": {"blocks": [{"name": "pc.ram", "size": 1 << 30, "density": 0}], "devices": []},
    "many-blocks": {"blocks": [{"name": f"m{i}", "size": 4096} for i in range(100)]},
    "tiny-pages": {"page_size": 256, "align": 256},
    "large-pages": {"page_size": 65536, "align": 65536, "blocks": [{"name": "ram", "size": 65536}]},
}


@cache
def seeds() -> dict[str, bytes]:
    """Images by name, none longer than SIZE_CEILING."""
    return {name: raw for name, raw in _images() if 0 < len(raw) <= SIZE_CEILING}


def _images() -> Iterator[tuple[str, bytes]]:
    for path in sorted(SAMPLES.glob("*.xz")):
        yield from of_sample(path)
    yield from _contained()
    for name, more in _SHAPES.items():
        yield name, made({}, more)
        if name == "plain":
            for fault in catalogue().values():
                with suppress(Exception):
                    yield f"fault-{fault.name}", made({}, more, [fault])


def _contained() -> Iterator[tuple[str, bytes]]:
    """Images in containers that have names, or tables and records of their own."""
    small = {"blocks": [{"name": "pc.ram", "size": 16384, "pattern": "counter"}]}
    mapped, ordinary = made({}, small), ordinary_image().file()
    states = [State(mapped, "a"), State(ordinary, "b/c", "2"), State(b"", "disk", "3")]
    disks = {
        "512": DiskBuilder(9, size=3000, content=b"x" * 3000),
        "4K": DiskBuilder(12, version=2),
        "deflate": DiskBuilder(9, size=1024, compressed="zlib"),
        "extended": DiskBuilder(14, size=1024, extended=True),
    }
    for name, disk in disks.items():
        yield f"qcow2-{name}", replace(disk, states=states).build()
    yield "qcow2-volume", DiskBuilder(12, content=ordinary, compressed="zlib").build()
    for writer in ("xl", "libvirt", "libxl"):
        yield f"xen-{writer}", XenSaveBuilder(ordinary, writer=writer, checkpoints=1).build()
    yield "xen-big", XenSaveBuilder(ordinary, order=">").build()


def of_sample(path: Path) -> Iterator[tuple[str, bytes]]:
    """The sample itself, and of one that is longer than SIZE_CEILING what is shorter."""
    raw = b""
    with suppress(EOFError), lzma.open(path) as file:
        raw = file.read(SIZE_CEILING + 1)
    if len(raw) <= SIZE_CEILING:
        yield path.name, raw
        return
    yield f"{path.name}:head", raw[:_HEAD]
    with suppress(FixedRamError):
        yield f"{path.name}:small", _small(path)


def _small(path: Path) -> bytes:
    """The devices of a sample after blocks that have its names and a few pages each."""
    with Image.open(path, search=True) as image:
        page = image.target_page_size
        blocks = [
            {
                "name": block.name,
                "size": min(block.used_length, 4 * page),
                "pattern": "counter",
                "density": 0.5,
            }
            for block in image.blocks
        ]
        more = {"machine": image.machine, "blocks": blocks, "page_size": page, "align": page}
    return made({"devices": []}, {**more, "devices_from": str(path)})


def made(base: dict[str, Any], more: dict[str, Any], faults: Any = ()) -> bytes:
    """The bytes of a small synthesised image."""
    output = BufferOutput()
    document = {"blocks": _BLOCKS, "devices": _DEVICES, "align": 4096, **base, **more}
    if "devices_from" in document:
        del document["devices"]
    write_image(spec_from(document), output, faults)
    return bytes(output.data)


_SPEC = {
    "machine": "pc", "dialect": "mapped-ram", "blocks": _BLOCKS, "devices": _DEVICES, "rounds": 2,
    "multifd": True, "channels": 2, "seed": 1, "align": 4096, "page_size": 4096, "offset": 0,
    "byte_order": "little", "vmdesc": True, "container": {"kind": "libvirt"},
    "capabilities": ["mapped-ram"], "uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f",
    "target_page_bits": True, "multifd_flush_after_each_section": False,
}  # fmt: skip
_DESTINATION = {
    "machine": "pc", "capabilities": ["mapped-ram"], "target_page_size": 4096,
    "blocks": {"pc.ram": 16384, "mem1": "4K"}, "sections": {"ram": 4, "timer": 2},
    "instances": {"timer": [0]},
}  # fmt: skip
_FIELDS = [
    {"name": "a", "type": "int64", "size": 8},
    {"name": "b", "array_len": 2, "type": "uint64", "size": 8},
]
_DESCRIPTION = {
    "page_size": 4096,
    "configuration": {"vmsd_name": "configuration", "version": 1, "fields": []},
    "devices": [
        {"name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 2, "fields": _FIELDS}
    ],
}


@cache
def documents() -> dict[str, str]:
    """Texts that commands take beside images, by what they are."""
    kinds = {"spec": _SPEC, "destination": _DESTINATION, "desc": _DESCRIPTION}
    return {name: json.dumps(document) for name, document in kinds.items()}
