"""Test vectors: small images as hexadecimal digits, with what a reader must find in them.

Images are made by this project's writer and told as the bytes that are not zero; so 24 MiB of
memory take a few lines.  Sound ones fit a `pc` with 16 MiB and a DIMM of 8 MiB, which a real QEMU
loads; broken ones are the same with one fault each.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.dialect import DialectName
from fixedram_fmt.errors import FormatError
from fixedram_fmt.image import Image
from fixedram_fmt.io.output import replacing
from fixedram_fmt.io.source import Source
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.results import Hex, Result, Sha256, Unsigned, builtins
from fixedram_fmt.validation import Receiver, unopened, validate
from fixedram_fmt.write.faults import catalogue
from fixedram_fmt.write.spec import spec_from
from fixedram_fmt.write.synth import write_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation import Report
    from fixedram_fmt.write.faults import Fault

__all__ = ["DESTINATION", "SOUND", "documents", "read_vector", "write_vector"]

_MIB = 1 << 20
_PAGE = 4096
#: A vector longer than this (a description nested 100,000 deep) is left out.
_BYTES_CEILING = 1 << 14
#: Bytes of memory that are not zero: this many, this often, in pages.
_MARK = 16
_EVERY = 701

_BLOCKS: dict[str, int] = {"pc.ram": 16 * _MIB, "mem1": 8 * _MIB}

#: Faults that are not themselves in memory that comes from a file.
_LEFT_OUT = frozenset({"used-length-short"})

#: The guest that the vectors are for; its firmware's blocks are not in them.
DESTINATION = Receiver(
    machine="pc-i440fx-10.0",
    capabilities=["mapped-ram"],
    target_page_size=_PAGE,
    blocks=dict(_BLOCKS),
    sections={"ram": 4},
)

#: Rules that look at holes: whether there are any is for the file system to say.
_OF_THE_FILE_SYSTEM = frozenset({"B05"})

#: What each sound vector is about, and its spec without the blocks.
SOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("two blocks, no device", {}),
    "rounds": ("a live save: PARTs that hold an EOS each", {"rounds": 3}),
    "device": (
        "a device with a description",
        {
            "machine": "pc-i440fx-10.0",
            "devices": [{"name": "timer", "version": 2, "data": "00" * 23 + "01"}],
        },
    ),
    "no-description": ("nothing behind the EOF byte", {"vmdesc": False}),
    "offset": ("a stream at byte 70001; offsets are absolute all the same", {"offset": 70001}),
    "aligned-to-a-page": ("pages at the next page, not at the next MiB", {"align": _PAGE}),
    "libvirt": ("a libvirt save of format sparse", {"container": {"kind": "libvirt"}}),
    "uuid": ("configuration/uuid", {"uuid": "9f1c8a52-5a0e-4f83-9c41-0d8b1f5f2a77"}),
    "page-bits": ("configuration/target-page-bits", {"target_page_bits": True}),
    "small-pages": ("pages of 1 KiB", {"machine": "arduino-uno", "page_size": 1024}),
    "large-pages": ("pages of 64 KiB", {"machine": "virt-10.0", "page_size": 65536}),
    "big-endian-bitmap": ("saved on a big-endian host", {"byte_order": "big"}),
    "fixed-ram-v4": (
        "the dialect of the review, with its one MULTIFD_FLUSH",
        {"machine": "pc-q35-9.0", "dialect": "fixed-ram-v4", "multifd": True},
    ),
}


class Segment(Result, frozen=True):
    """Bytes at an offset of the file."""

    offset: Unsigned
    hex: Hex


class VectorImage(Result, frozen=True):
    """A file of size bytes: those that are not zero."""

    size: Unsigned
    data: tuple[Segment, ...]


class ExpectedBlock(Result, frozen=True):
    """A RAM block; pages are the SHA-256 of present pages by number (null: unknown, or many)."""

    name: str
    used_length: Unsigned
    page_size: int | None
    bitmap_offset: int
    pages_offset: int
    ignored: bool
    pages: dict[str, Sha256] | None


class ExpectedSection(Result, frozen=True):
    """A section as its header names it."""

    id: Unsigned
    name: str
    instance_id: Unsigned
    version: Unsigned


class Expected(Result, frozen=True, kw_only=True, omit_defaults=True):
    """What a reader finds in an image; of one that it cannot open only the findings.

    findings are rules, verdicts what loaders do with it.
    """

    opens: bool
    stream_offset: Unsigned | msgspec.UnsetType = msgspec.UNSET
    complete: bool | msgspec.UnsetType = msgspec.UNSET
    machine: str | msgspec.UnsetType | None = msgspec.UNSET
    capabilities: list[str] | msgspec.UnsetType = msgspec.UNSET
    dialect: DialectName | msgspec.UnsetType = msgspec.UNSET
    target_page_size: Unsigned | msgspec.UnsetType = msgspec.UNSET
    byte_order: str | msgspec.UnsetType = msgspec.UNSET
    blocks: tuple[ExpectedBlock, ...] | msgspec.UnsetType = msgspec.UNSET
    sections: tuple[ExpectedSection, ...] | msgspec.UnsetType = msgspec.UNSET
    findings: list[str]
    verdicts: dict[str, Outcome]


class Vector(Result, frozen=True):
    """An image and what it is about; destination: it is for the destination of the file."""

    name: str
    about: str
    image: VectorImage
    stream_offset: Unsigned | None
    destination: bool
    expected: Expected


class Vectors(Result, frozen=True):
    """Images with what is expected of a reader, and the VM that they are for."""

    destination: Receiver
    vectors: tuple[Vector, ...]


def documents() -> Iterator[tuple[str, Vectors]]:
    """(name, content) of each file of vectors."""
    for name, made in (("sound", sound()), ("broken", broken())):
        yield name, Vectors(DESTINATION, tuple(made))


def sound() -> Iterator[Vector]:
    """Vectors that break no rule of the layout."""
    for name, (about, spec) in SOUND.items():
        made = _made(name, about, spec)
        assert made is not None
        yield made


def broken() -> Iterator[Vector]:
    """Vectors with one fault each, those that would be long left out."""
    for fault in catalogue().values():
        if fault.name in _LEFT_OUT:
            continue
        made = _made(fault.name, fault.text, {}, [fault])
        if made is not None:
            yield made


def _made(
    name: str, about: str, spec: dict[str, Any], faults: Sequence[Fault] = ()
) -> Vector | None:
    with tempfile.TemporaryDirectory() as folder:
        blocks = []
        for block, length in _BLOCKS.items():
            memory = Path(folder) / block
            _write_memory(memory, block, length)
            blocks.append({"name": block, "file": str(memory)})
        path = Path(folder) / "image"
        with replacing(path) as output:
            write_image(spec_from({"blocks": blocks, **spec}), output, faults)
        with Source.open(path) as source:
            size, data = source.size, _segments(source)
        if sum(len(one.hex) for one in data) > 2 * _BYTES_CEILING:
            return None
        location = f"{path}@{spec['offset']}" if "offset" in spec else str(path)
        return Vector(
            name=name,
            about=about,
            image=VectorImage(size, tuple(data)),
            stream_offset=spec.get("offset"),
            destination="machine" not in spec,
            expected=_expected(location, None if "machine" in spec else DESTINATION),
        )


def _write_memory(path: Path, name: str, length: int) -> None:
    """Memory in which few pages have a few bytes, told apart by block and page."""
    with path.open("wb") as file:
        for page in range(256, length // _PAGE, _EVERY):
            file.seek(page * _PAGE)
            file.write(hashlib.sha256(f"{name} {page}".encode()).digest()[:_MARK])
        file.truncate(length)


def _segments(source: Source) -> list[Segment]:
    """The bytes of a file that are not zero, by offset; zeros between them up to 16 stay."""
    found = []
    for extent in source.extents(0, source.size):
        if not extent.data:
            continue
        data = source.read_exact(extent.start, extent.stop - extent.start)
        for match in re.finditer(rb"[^\0](?:\0{0,15}[^\0])*", data):
            found.append(Segment(extent.start + match.start(), match[0].hex()))
    return found


def write_vector(vector: dict[str, Any], path: Path) -> Path:
    """The image of a vector as a file, with holes; path."""
    with path.open("wb") as file:
        for piece in vector["image"]["data"]:
            file.seek(piece["offset"])
            file.write(bytes.fromhex(piece["hex"]))
        file.truncate(vector["image"]["size"])
    return path


def read_vector(vector: dict[str, Any], path: Path) -> dict[str, Any]:
    """What this library finds in a vector, written to path, in the words of `expected`.

    The destination is DESTINATION, if the vector says that there is one.
    """
    offset = vector["stream_offset"]
    location = str(write_vector(vector, path)) + (f"@{offset}" if offset else "")
    return builtins(_expected(location, DESTINATION if vector["destination"] else None))


# -- what is expected -----------------------------------------------------------------------------


def _expected(location: str, destination: Receiver | None) -> Expected:
    try:
        with Image.open(location) as image:
            report = validate(image, destination)
            return Expected(opens=True, **_content(image), **_judged(report))
    except FormatError as error:
        return Expected(opens=False, **_judged(unopened(error)))


def _content(image: Image) -> dict[str, Any]:
    return {
        "stream_offset": image.container.stream_offset,
        "complete": image.complete,
        "machine": image.machine,
        "capabilities": image.capabilities,
        "dialect": image.dialect,
        "target_page_size": image.target_page_size,
        "byte_order": image.host_long.value.label,
        "blocks": tuple(_block(image, block) for block in image.blocks),
        "sections": tuple(
            ExpectedSection(one.section_id, one.name, one.instance_id, one.version_id)
            for one in image.sections
        ),
    }


def _block(image: Image, block: RamBlock) -> ExpectedBlock:
    bitmap = image.readable_bitmap(block)
    present = None
    if bitmap is not None and block.pages_stop <= image.source.size and block.pages_offset >= 0:
        pages = [page for run in bitmap.runs() if run.present for page in range(*run[:2])]
        if len(pages) <= 64:
            present = {str(page): _digest(image, block, page) for page in pages}
    return ExpectedBlock(
        name=block.name,
        used_length=block.used_length,
        page_size=block.header_page_size,
        bitmap_offset=block.bitmap_offset,
        pages_offset=block.pages_offset,
        ignored=block.ignored,
        pages=present,
    )


def _digest(image: Image, block: RamBlock, page: int) -> str:
    offset = block.pages_offset + page * block.page_size
    return hashlib.sha256(image.source.read_exact(offset, block.page_size)).hexdigest()


def _judged(report: Report) -> dict[str, Any]:
    return {
        "findings": sorted({finding.rule.id for finding in report.findings} - _OF_THE_FILE_SYSTEM),
        "verdicts": {
            f"{one.loader}{' multifd' if one.multifd else ''}": one.outcome
            for one in report.verdicts()
        },
    }
