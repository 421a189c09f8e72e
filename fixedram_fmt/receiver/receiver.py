"""The VM that is to receive an image, as far as anything tells: one frozen object."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fixedram_fmt.receiver.contents import Allowance, contents_of
from fixedram_fmt.receiver.lengths import known_max_lengths
from fixedram_fmt.results import Hex, Result
from fixedram_fmt.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixedram_fmt.image import Image

__all__ = ["CheckedValue", "Receiver", "in_bytes"]

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


class CheckedValue(Result, frozen=True):
    """A value that QEMU compares with what it is sent: its type, and its bytes as on the wire."""

    type: str
    value: Hex


class Receiver(
    Result, dict=True, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True
):
    """The VM an image is to be loaded into; what is None, or left out, is not judged.

    machine is the full name of its type, blocks its RAM blocks by name with their lengths (bytes,
    or text like 64M), max_lengths how long those of them may become that QEMU resizes (`info
    ramblock`, Total), sections the versions it has of each device, and instances the instance ids
    of each (where left out, any instance fits).  contents has what QEMU compares of each device, by
    `name/instance` and path; description its devices field by field, the JSON that QEMU puts
    behind an image.  domain is a libvirt domain XML, vmstate what -dump-vmstate wrote.  sources
    say where all this comes from, contradictions where they differ.  argv is a command line that
    receives the image, uncertain what of it the image does not tell: for people, not judged.
    """

    machine: str | None = None
    capabilities: list[str] | None = None
    target_page_size: int | None = None
    blocks: dict[str, int | str] | None = None
    max_lengths: dict[str, int | str] | None = None
    sections: dict[str, int] | None = None
    instances: dict[str, list[int]] | None = None
    sources: list[str] | None = None
    contradictions: list[str] | None = None
    description: str | None = None
    domain: str | None = None
    vmstate: str | None = None
    contents: dict[str, dict[str, CheckedValue]] | None = None
    argv: list[str] | None = None
    uncertain: list[str] | None = None

    def __str__(self) -> str:
        """What is known, in a line or two, and where it comes from."""
        counts = {
            "blocks": self.blocks, "kinds of devices": self.sections,
            "devices with what is compared of them": self.contents,
        }  # fmt: skip
        words = [self.machine or "some machine"]
        words += [f"{len(table)} {what}" for what, table in counts.items() if table]
        texts = {"a domain XML": self.domain, "-dump-vmstate": self.vmstate}
        words += [what for what, text in texts.items() if text]
        told = f" ({'; '.join(self.sources)})" if self.sources else ""
        return f"{', '.join(words)}{told}"

    @property
    def block_lengths(self) -> dict[str, int] | None:
        """Lengths of the blocks in bytes."""
        return None if self.blocks is None else in_bytes(self.blocks)

    @property
    def block_ceilings(self) -> dict[str, int]:
        """How long each block may become when a stream says so, in bytes.

        A ROM that is no ACPI blob is as long as its file; blocks of other kinds are never resized.
        """
        lengths = self.block_lengths or {}
        known = {**known_max_lengths(lengths), **in_bytes(self.max_lengths or {})}
        return {name: max(length, known.get(name, length)) for name, length in lengths.items()}

    def knows(self, name: str, instance_id: int) -> bool:
        """Whether there is a device for a section, as far as that is known."""
        return self.sections is None or self.find(name, instance_id) is not None

    def find(self, name: str, instance_id: int) -> tuple[str, int] | None:
        """Name and instance of the device that takes a section; None: there is none.

        A name without a place is that of a QEMU from before devices had one; the number of an
        alias means the first.  Upstream: migration/savevm.c find_se().
        """
        sections = self.sections or {}
        if name not in sections:
            return self._of_old_name(name, instance_id)
        instances = (self.instances or {}).get(name)
        if instances is None or instance_id in instances:
            return name, instance_id
        aliases = _ALIASES.get(name, (_ANY_INSTANCE,))
        return (name, instances[0]) if instances and instance_id in aliases else None

    def _of_old_name(self, name: str, instance_id: int) -> tuple[str, int] | None:
        if "/" in name:
            return None
        owners = self._by_old_name.get(name, ())
        return (owners[instance_id], 0) if instance_id < len(owners) else None

    @cached_property
    def _by_old_name(self) -> dict[str, list[str]]:
        """Names with a place, by what is left without it."""
        found: dict[str, list[str]] = {}
        for name in self.sections or ():
            _, slash, old = name.rpartition("/")
            if slash:
                found.setdefault(old, []).append(name)
        return found

    @classmethod
    def of_image(cls, image: Image) -> Receiver:
        """The VM that image was saved from, as far as the image tells: that is most."""
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
            contents=_contents(image) or None,
            description=_description(image),
        )


def _contents(image: Image) -> dict[str, dict[str, CheckedValue]]:
    found = {}
    left = Allowance()
    for device in image.state.devices:
        values = contents_of(device, left)
        if values:
            found[f"{device.name}/{device.instance_id}"] = {
                path: CheckedValue(one.type, one.raw.hex()) for path, one in values.items()
            }
    return found


def _description(image: Image) -> str | None:
    vmdesc = image.vmdesc
    if vmdesc is None:
        return None
    try:
        return image.source.read_exact(vmdesc.json_offset, vmdesc.length, "vmdescription").decode()
    except UnicodeDecodeError:
        return None


def in_bytes(lengths: Mapping[str, int | str]) -> dict[str, int]:
    """Lengths as numbers."""
    return {
        name: parse_size(size) if isinstance(size, str) else size for name, size in lengths.items()
    }
