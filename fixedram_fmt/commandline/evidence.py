"""What an image tells of the VM: sections by name, values of their state, PCI functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FixedRamError
from fixedram_fmt.memory.blockroles import MAIN_NAMES, is_device_block
from fixedram_fmt.schema.pci import CONFIG_TYPE, PLACE
from fixedram_fmt.schema.vmdesc import Field
from fixedram_fmt.vmstate.paths import Pattern
from fixedram_fmt.vmstate.structure import Structure
from fixedram_fmt.vmstate.values import DeviceState, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock, Section
    from fixedram_fmt.image import Image
    from fixedram_fmt.vmstate.values import Value

__all__ = ["Evidence", "PciFunction"]

#: version_id of vmstate_pci_device, which comes before PCIDevice.config.
_PCI_VERSION = b"\0\0\0\2"
_CONFIG_BYTES, _EXPRESS_BYTES = 0x100, 0x1000
_CAPABILITIES, _CAPABILITIES_START, _CAP_EXPRESS = 0x34, 0x40, 0x10
#: Bytes of a value that is looked into.
_BLOB_CEILING, _DECODED_CEILING = 1 << 24, 1 << 16
#: More PCI functions than any machine has are not looked at.
_FUNCTIONS_CEILING = 4096
#: Steps of a name: no way of QEMU's has more.
_STEPS = 8
#: Where a description has the space: `config[0]` of a conventional device, `config[1]` of express.
_CONFIG = Pattern("**/config[?]")
#: Capabilities of one device, and extended ones: more would be a loop.
_CAPABILITIES_CEILING = 64


@dataclass(frozen=True, slots=True)
class PciFunction:
    """A PCI function by its way (`0000:00:02.0:00.0`); vmsd is the name of its section after it.

    config is its configuration space, 256 bytes or 4096; empty where its section does not begin
    with it.
    """

    way: str
    vmsd: str
    config: bytes

    @property
    def parent(self) -> str:
        """The way to the bridge above it, or the root bus (`0000:00`)."""
        return self.way.rpartition(":")[0]

    @property
    def slot(self) -> str:
        """Slot and function as addr= takes them: `2`, `1f.3`."""
        slot, _, function = self.way.rpartition(":")[2].partition(".")
        number = f"{int(slot, 16):x}"
        return number if function == "0" else f"{number}.{function}"

    def word(self, offset: int, size: int = 2) -> int:
        """A little-endian number of the configuration space; 0 beyond its end."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    @property
    def ids(self) -> tuple[int, int]:
        """Vendor id and device id."""
        return self.word(0), self.word(2)

    def capability(self, number: int) -> int | None:
        """Where the first capability of that number begins; None: there is none."""
        return next(iter(self.capabilities(number)), None)

    def capabilities(self, number: int) -> list[int]:
        """Where those of that number begin, in the first 256 bytes."""
        found: list[int] = []
        at = self.word(_CAPABILITIES, 1) & ~3
        for _ in range(_CAPABILITIES_CEILING):
            if not _CAPABILITIES_START <= at < _CONFIG_BYTES or at + 2 > len(self.config):
                break
            if self.config[at] == number:
                found.append(at)
            at = self.config[at + 1] & ~3
        return found

    def extended(self, number: int) -> int | None:
        """Where an extended capability begins, in a space of 4096 bytes."""
        at = _CONFIG_BYTES
        for _ in range(_CAPABILITIES_CEILING):
            header = self.word(at, 4)
            if header & 0xFFFF == number and header:
                return at
            at = header >> 20 & ~3
            if not _CONFIG_BYTES <= at < len(self.config):
                return None
        return None


class Evidence:
    """An image, asked by the names of its sections; state that cannot be read is None."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._sections: dict[tuple[str, int], Section] = {}
        for section in image.sections:
            if not section.is_ram:
                self._sections.setdefault((section.name, section.instance_id), section)
        self._instances: dict[str, list[int]] = {}
        for name, instance in self._sections:
            self._instances.setdefault(name, []).append(instance)

    @property
    def machine(self) -> str:
        """The machine type in the configuration, empty for a stream without one."""
        return self.image.machine or ""

    @property
    def sections(self) -> list[tuple[str, int]]:
        """Names and instance ids in the order of the stream, without RAM."""
        return [*self._sections]

    def has(self, name: str, instance: int = 0) -> bool:
        """Whether there is such a section."""
        return (name, instance) in self._sections

    def lacks(self, name: str) -> bool:
        """Whether there is no such section; not known where the image ends early, or has none."""
        return self.image.complete and bool(self._sections) and name not in self._instances

    def instances(self, name: str) -> list[int]:
        """Instance ids of a name, in the order of the stream."""
        return self._instances.get(name, [])

    def under(self, way: str) -> list[str]:
        """Names of the sections whose names begin with a way and a slash."""
        return self._under.get(way, [])

    @cached_property
    def _under(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._instances:
            steps = name.split("/", _STEPS)[:-1]
            for count in range(1, len(steps) + 1):
                found.setdefault("/".join(steps[:count]), []).append(name)
        return found

    @cached_property
    def blocks(self) -> dict[str, RamBlock]:
        """RAM blocks by name, the first of each."""
        found: dict[str, RamBlock] = {}
        for block in self.image.blocks:
            found.setdefault(block.name, block)
        return found

    def length(self, block: str) -> int | None:
        """Length of a block in bytes; None: there is none of that name."""
        found = self.blocks.get(block)
        return None if found is None else found.used_length

    @cached_property
    def owned(self) -> dict[str, list[str]]:
        """Names of blocks after the way of the PCI device that has them, by that way."""
        found: dict[str, list[str]] = {}
        for name in self.blocks:
            match = PLACE.fullmatch(name)
            if match and match[2]:
                found.setdefault(match[1], []).append(match[2])
        return found

    def blocks_of(self, way: str) -> dict[str, RamBlock]:
        """Blocks of a PCI device by their names after its way."""
        return {name: self.blocks[f"{way}/{name}"] for name in self.owned.get(way, ())}

    # -- state

    def device(self, name: str, instance: int = 0) -> DeviceState | None:
        """The state of a section; of virtio without a description, that it is one blob."""
        found = self.image.state.device(name, instance)
        section = self._sections.get((name, instance))
        if found is None or section is None or found.structure is not None:
            return found
        vmsd = name.rpartition("/")[2]
        if not vmsd.startswith("virtio-") or not section.body_length:
            return found
        field = Field(name="virtio", type="virtio", size=section.body_length)
        structure = Structure(vmsd, section.version_id, [field], [None])
        return DeviceState(found.source, found.path, section, Layout(structure))

    def value(self, name: str, path: str, instance: int = 0) -> Value | None:
        """The value at a path of a section's state."""
        device = self.device(name, instance)
        return None if device is None else device.value(path)

    def raw(self, name: str, path: str, instance: int = 0) -> bytes:
        """Its bytes; empty where they cannot be had."""
        try:
            found = self.value(name, path, instance)
            return b"" if found is None or found.size > _BLOB_CEILING else found.raw
        except FixedRamError:
            return b""

    def get(self, name: str, path: str, instance: int = 0) -> Any:
        """The same, decoded; None where it cannot be had."""
        try:
            found = self.value(name, path, instance)
            return None if found is None or found.size > _DECODED_CEILING else found.value
        except FixedRamError:
            return None

    def number(self, name: str, path: str, instance: int = 0) -> int | None:
        """The same where it is a whole number."""
        found = self.get(name, path, instance)
        return int(found) if isinstance(found, int) else None

    def count(self, name: str, path: str, instance: int = 0) -> int | None:
        """Elements of an array in a section's state."""
        found = self.value(name, path, instance)
        if found is None or not found.is_array:
            return None
        fields = [part.field for part in found.parts or (found,)]
        return sum(one.count for one in fields if one is not None)

    def body(self, name: str, length: int, instance: int = 0) -> bytes:
        """The first bytes of a section's body, length of them at most."""
        section = self._sections.get((name, instance))
        if section is None:
            return b""
        try:
            size = min(length, section.body_length or 0)
            return self.image.source.read_exact(section.body_offset, size)
        except FixedRamError:
            return b""

    def described(self, name: str, instance: int = 0) -> bool:
        """Whether the state of a section can be read field by field."""
        device = self.device(name, instance)
        return device is not None and device.structure is not None

    def subsections(self, name: str, instance: int = 0) -> set[str]:
        """Names of the subsections that a section really has, and the structures directly in it."""
        device = self.device(name, instance)
        if device is None or device.structure is None:
            return set()
        inside = [one for one in device.structure.nested if one is not None]
        parts = [device.structure, *inside]
        return {one.structure.vmsd_name for part in parts for one in part.subsections}

    @cached_property
    def device_backends(self) -> frozenset[str]:
        """Blocks of memory backends that are a device's, though their names do not say so.

        Of ACPI ERST it is the smallest: a DIMM is not as small.
        """
        if not any(name.endswith("/acpi-erst") for name, _ in self._sections):
            return frozenset()
        free = [block for block in self.image.blocks if not is_device_block(block.name)]
        others = [block for block in free if block.name not in MAIN_NAMES and block.used_length]
        smallest = min(others, key=lambda block: block.used_length, default=None)
        return frozenset({smallest.name} if smallest else ())

    # -- PCI

    @cached_property
    def functions(self) -> dict[str, PciFunction]:
        """PCI functions by their way; of several sections, the one with the configuration."""
        found: dict[str, PciFunction] = {}
        for function in self._functions():
            known = found.get(function.way)
            if known is None or (function.config and not known.config):
                found[function.way] = function
        return found

    def _functions(self) -> Iterator[PciFunction]:
        left = _FUNCTIONS_CEILING
        for name, instance in self._sections:
            match = PLACE.fullmatch(name)
            if match and instance == 0 and match[2] and "/" not in match[2] and left:
                left -= 1
                yield PciFunction(match[1], match[2], self._config(name))

    def _config(self, name: str) -> bytes:
        """At the start of the body, or else where the description says."""
        body = self.body(name, 4 + _EXPRESS_BYTES)
        if not body.startswith(_PCI_VERSION) or not _is_config(body[4:]):
            return self._described_config(name)
        short = body[4 : 4 + _CONFIG_BYTES]
        # Without the pins' levels, which are 0 or 1, what follows is the express space.
        pins = body[4 + _CONFIG_BYTES : 4 + _CONFIG_BYTES + 16]
        levels = {int.from_bytes(pins[at : at + 4], "big") for at in range(0, 16, 4)}
        express = PciFunction("", "", short).capability(_CAP_EXPRESS) is not None
        return body[4:] if express or not levels <= {0, 1} else short

    def _described_config(self, name: str) -> bytes:
        device = self.device(name)
        if device is None:
            return b""
        try:
            spaces = (one for one in device.find(_CONFIG) if one.type == CONFIG_TYPE)
            found = next(spaces, None)
            return b"" if found is None or found.size > _EXPRESS_BYTES else found.raw
        except FixedRamError:
            return b""


def _is_config(space: bytes) -> bool:
    """Whether a configuration space begins there: with a vendor."""
    return len(space) >= _CONFIG_BYTES and space[:2] not in (b"\0\0", b"\xff\xff")
