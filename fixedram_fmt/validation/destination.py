"""What the receiving VM has, as far as someone wrote it down or a good image tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.io.documents import json_document, read_document, toml_document
from fixedram_fmt.results import Result
from fixedram_fmt.schema.ram import is_page_size
from fixedram_fmt.units import parse_size
from fixedram_fmt.validation.lengths import known_max_lengths

if TYPE_CHECKING:
    from fixedram_fmt.image import Image

__all__ = ["Destination", "DestinationError", "load_destination"]


#: VMSTATE_INSTANCE_ID_ANY is the alias of every device that has no other (find_se()).
_ANY_INSTANCE = 0xFFFFFFFF
#: The others: ISA devices by their port (qdev_set_legacy_instance_id()), and those that
#: register_savevm_live() puts in, 0.
_ALIASES = {
    "i8259": (0x20, 0xA0),
    "i8254": (0x40,),
    "mc146818rtc": (0x70,),
    "fdc": (0x3F0,),
    "serial": (0x3F8, 0x2F8, 0x3E8, 0x2E8),
    **dict.fromkeys(("ram", "dirty-bitmap", "slirp", "spapr/htab", "s390-stattrib"), (0,)),
}
#: Offsets in files are signed numbers of 64 bits.
_LENGTH_CEILING = 1 << 63


class DestinationError(FixedRamError):
    """The description of the destination cannot be read; path is the field."""


class Destination(
    Result, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True
):
    """The VM an image is to be loaded into; what is None, or left out, is not judged.

    machine is the full name of its type, blocks its RAM blocks by name with their lengths (bytes,
    or text like 64M), max_lengths how long those of them may become that QEMU resizes (`info
    ramblock`, Total), sections the versions it has of each device, and instances the instance ids
    of each (where left out, any instance fits).
    """

    machine: str | None = None
    capabilities: list[str] | None = None
    target_page_size: int | None = None
    blocks: dict[str, int | str] | None = None
    max_lengths: dict[str, int | str] | None = None
    sections: dict[str, int] | None = None
    instances: dict[str, list[int]] | None = None

    @property
    def block_lengths(self) -> dict[str, int] | None:
        """Lengths of the blocks in bytes."""
        return None if self.blocks is None else _in_bytes(self.blocks)

    @property
    def block_ceilings(self) -> dict[str, int]:
        """How long each block may become when a stream says so, in bytes.

        A ROM that is no ACPI blob is as long as its file; blocks of other kinds are never resized.
        """
        lengths = self.block_lengths or {}
        known = {**known_max_lengths(lengths), **_in_bytes(self.max_lengths or {})}
        return {name: max(length, known.get(name, length)) for name, length in lengths.items()}

    def knows(self, name: str, instance_id: int) -> bool:
        """Whether there is a device for a section, as far as that is known."""
        if self.sections is None:
            return True
        if name not in self.sections:
            return False
        instances = (self.instances or {}).get(name)
        aliases = _ALIASES.get(name, (_ANY_INSTANCE,))
        return instances is None or instance_id in (*instances, *aliases)

    @classmethod
    def of_image(cls, image: Image) -> Destination:
        """The VM that image was saved from, as far as the image tells."""
        instances: dict[str, list[int]] = {}
        for section in image.sections:
            instances.setdefault(section.name, []).append(section.instance_id)
        lengths = {block.name: block.used_length for block in image.blocks}
        return cls(
            machine=image.machine,
            capabilities=image.capabilities,
            target_page_size=image.target_page_size,
            blocks={**lengths},
            max_lengths={**known_max_lengths(lengths)} or None,
            sections={section.name: section.version_id for section in image.sections},
            instances=instances,
        )


def _in_bytes(lengths: dict[str, int | str]) -> dict[str, int]:
    return {
        name: parse_size(size) if isinstance(size, str) else size for name, size in lengths.items()
    }


def load_destination(path: str | Path) -> Destination:
    """The destination in a file: JSON if it is called so, otherwise TOML."""
    path = Path(path)
    try:
        data = read_document(path)
        document = json_document(data) if path.suffix == ".json" else toml_document(data)
        destination = msgspec.convert(document, Destination)
        _check(destination)
    except ValueError as error:
        # msgspec.ValidationError is a ValueError and names the field; so is what cannot be encoded.
        raise DestinationError(
            f"{str(path)!r} is no description of a destination: {error}",
            hint="fixedram destination IMAGE -o FILE makes one",
        ) from error
    return destination


def _check(destination: Destination) -> None:
    """ValueError for what no VM has."""
    size = destination.target_page_size
    if size is not None and not is_page_size(size):
        raise ValueError(f"target_page_size: no target has pages of {size} bytes")
    for field in ("blocks", "max_lengths"):
        for name, length in _in_bytes(getattr(destination, field) or {}).items():
            if not 0 <= length < _LENGTH_CEILING:
                raise ValueError(f"{field}: {name!r} cannot be so long")
    names = (destination.machine or "", *(destination.blocks or ()), *(destination.sections or ()))
    for name in names:
        name.encode()
