"""What an image to be made should be: a TOML or JSON document, checked field by field."""

from __future__ import annotations

import difflib
import inspect
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fixedram_fmt.dialect import DIALECTS
from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.documents import json_document, read_document, toml_document
from fixedram_fmt.schema.ram import MAPPED_RAM_FILE_OFFSET_ALIGNMENT
from fixedram_fmt.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BlockSpec",
    "ContainerSpec",
    "DeviceSpec",
    "ImageSpec",
    "Pattern",
    "SpecError",
    "json_schema",
    "load_spec",
    "parse_block",
    "spec_from",
    "spec_of",
]

#: A size or offset: bytes, or text like 64M or 0x1000.
Size = int | str

#: Sizes and offsets are u64 in the file; half of that leaves room for sums.
_SIZE_CEILING = 1 << 62


class SpecError(FixedRamError):
    """The spec cannot be read or asks for something that does not exist; path is the field."""


class Pattern(StrEnum):
    """What a block's pages hold."""

    ZERO = "zero"
    RANDOM = "random"
    COUNTER = "counter"
    TEXT = "text"


class BlockSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A RAM block: its id, its length, and what is in it.

    density is the share of pages that are present; file gives the memory itself instead of a
    pattern.  ignored makes it a block whose memory is not saved (x-ignore-shared).
    """

    name: str
    size: Size | None = None
    pattern: Pattern = Pattern.RANDOM
    density: float = 1.0
    file: str | None = None
    ignored: bool = False
    region_address: Size = 0


class DeviceSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A device section (SECTION_FULL) with its bytes as hex."""

    name: str
    instance_id: int = 0
    version: int = 1
    data: str = ""


class ContainerSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A libvirt save image around the stream; xml is the domain XML itself."""

    kind: str = "none"
    xml: str | None = None
    was_running: bool = False
    partial: bool = False


class ImageSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An image: who wrote it, what it holds, how it is packed.

    rounds is how often a live save went over memory, each a PART; from two on some pages are
    written again and some become zero and leave stale bytes.  channels is how many wrote, which
    leaves no trace in the file.  offset is where the stream starts, align what pages_offset is a
    multiple of.  The same spec and seed give the same bytes.
    """

    machine: str = "pc"
    dialect: str = DIALECTS[0].name
    capabilities: list[str] = []
    uuid: str | None = None
    page_size: Size = 4096
    target_page_bits: bool = False
    blocks: list[BlockSpec] = []
    rounds: int = 1
    multifd: bool = False
    channels: int = 2
    multifd_flush_after_each_section: bool = False
    devices: list[DeviceSpec] = []
    devices_from: str | None = None
    vmdesc: bool = True
    container: ContainerSpec = ContainerSpec()
    offset: Size = 0
    align: Size = MAPPED_RAM_FILE_OFFSET_ALIGNMENT
    byte_order: str = "little"
    seed: int = 0


def size_of(value: Size, path: str) -> int:
    """value in bytes; SpecError where it is no size a file can have."""
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except ValueError as error:
        raise SpecError(str(error), path=path) from error
    if not 0 <= size < _SIZE_CEILING:
        raise SpecError("out of range", path=path, expected="0 to 4E", found=str(size))
    return size


def load_spec(path: str | Path) -> ImageSpec:
    """The spec in a file: JSON if it is called so, otherwise TOML."""
    path = Path(path)
    try:
        data = read_document(path)
    except ValueError as error:
        raise SpecError(f"cannot read {str(path)!r}: {error}") from error
    try:
        document = json_document(data) if path.suffix == ".json" else toml_document(data)
    except ValueError as error:
        raise SpecError(f"{str(path)!r} cannot be read: {error}") from error
    return spec_from(document)


def spec_of(
    given: Mapping[str, Any] | str | Path | ImageSpec | None = None, **options: Any
) -> ImageSpec:
    """A spec, a document or a TOML or JSON file of one, with options in place of its fields.

    Blocks among the options may be written `NAME=SIZE[:PATTERN[:DENSITY]]`.
    """
    if isinstance(given, (str, Path)):
        given = load_spec(given)
    document = msgspec.to_builtins(given) if isinstance(given, ImageSpec) else dict(given or {})
    blocks = options.get("blocks")
    if blocks is not None:
        options["blocks"] = [
            msgspec.to_builtins(parse_block(block)) if isinstance(block, str) else block
            for block in blocks
        ]
    return spec_from({**document, **options})


def spec_from(document: Any) -> ImageSpec:
    """The spec that plain values describe; SpecError names the field and what may stand there."""
    try:
        return msgspec.convert(document, ImageSpec)
    except msgspec.ValidationError as error:
        message = str(error)
        unknown = re.search(r"unknown field `(.*?)`", message)
        hint = _nearest(unknown[1]) if unknown else ""
        where = re.search(r"`\$\.?(.*?)`$", message)
        raise SpecError(
            message.split(" - at ", maxsplit=1)[0], path=where[1] if where else "", hint=hint
        ) from (error)


def _nearest(name: str) -> str:
    known = {
        field
        for struct in (ImageSpec, BlockSpec, DeviceSpec, ContainerSpec)
        for field in struct.__struct_fields__
    }
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def parse_block(text: str) -> BlockSpec:
    """A block as options give it: NAME=SIZE[:PATTERN[:DENSITY]]."""
    name, equals, rest = text.rpartition("=")
    size, *more = rest.split(":")
    if not equals or not name or len(more) > 2:
        raise SpecError(
            f"{text!r} is no block", path="block", expected="NAME=SIZE[:PATTERN[:DENSITY]]"
        )
    document: dict[str, Any] = {"name": name, "size": size}
    if more:
        document["pattern"] = more[0]
    try:
        if len(more) == 2:
            document["density"] = float(more[1])
        return msgspec.convert(document, BlockSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise SpecError(
            f"{text!r}: {str(error).split(' - at ')[0]}",
            path="block",
            expected=f"a pattern of {', '.join(Pattern)} and a density from 0 to 1",
        ) from error


def json_schema() -> dict[str, Any]:
    """JSON Schema of the spec."""
    schema = msgspec.json.schema(ImageSpec)
    for definition in schema["$defs"].values():
        # Python takes the indentation out of docstrings by itself since 3.13.
        definition["description"] = inspect.cleandoc(definition["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
