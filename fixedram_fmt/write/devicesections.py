"""Everything in a stream that is not RAM: taken from another image, or bytes of the spec."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.schema.stream import SectionType
from fixedram_fmt.stream.records import SCHEMA_OF_KIND, Kind
from fixedram_fmt.tiling import leaves
from fixedram_fmt.write.elements import Copied, Literal, Raw, Structure
from fixedram_fmt.write.spec import ImageSpec, SpecError, size_of

if TYPE_CHECKING:
    from fixedram_fmt.image import Image
    from fixedram_fmt.write.elements import Element

__all__ = ["Devices", "footer", "name_bytes"]

#: Id of the ram section, where no donor has another.
_RAM_ID = 1


def name_bytes(text: str, path: str, longest: int = 255) -> bytes:
    """text as the stream has names; SpecError where it is too long for its length field."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > longest:
        raise SpecError(
            "too long", path=path, expected=f"at most {longest} bytes", found=str(len(raw))
        )
    return raw


def footer(path: str, section_id: int) -> Structure:
    """The footer of the section at path."""
    footer = stream.SectionFooter(SectionType.SECTION_FOOTER, section_id)
    return Structure(Kind.SECTION_FOOTER, f"{path}/footer", footer)


@dataclass(slots=True)
class Devices:
    """Everything that is not RAM, in the places it belongs to; from a donor, or from the spec."""

    ram_id: int
    before: list[Element]
    starts: list[Element]
    parts: list[Element]
    ends: list[Element]
    full: list[Element]
    vmdesc: list[Element]

    def __init__(self, spec: ImageSpec, donor: Image | None) -> None:
        self.ram_id = _RAM_ID
        self.before, self.starts, self.parts = [], [], []
        self.ends, self.full, self.vmdesc = [], [], []
        if donor is not None:
            self._take_from(donor)
        self._add(spec)
        if not self.vmdesc:
            self._describe(spec)

    def _take_from(self, donor: Image) -> None:
        """The donor's sections but ram, its commands before ram, and its description."""
        ram_ids = [one.section_id for one in donor.sections if one.is_ram]
        self.ram_id = ram_ids[0] if ram_ids else _RAM_ID
        place = {
            Kind.SECTION_START: self.starts,
            Kind.SECTION_PART: self.parts,
            Kind.SECTION_END: self.ends,
            Kind.SECTION_FULL: self.full,
        }
        here, seen_ram = self.before, False
        for leaf in leaves(donor, runs=False):
            if leaf.kind in place:
                own = leaf.section != RAM_IDSTR
                seen_ram = seen_ram or not own
                here = place[leaf.kind] if own else []
            elif leaf.kind is Kind.COMMAND:
                here = [] if seen_ram else self.before
            elif leaf.kind in (Kind.VMDESCRIPTION, Kind.VMDESCRIPTION_JSON):
                here = self.vmdesc
            elif leaf.kind not in _OF_SECTIONS:
                continue
            if leaf.kind in SCHEMA_OF_KIND:
                here.append(Structure(leaf.kind, leaf.path, leaf.value))
            else:
                content = Copied(donor.source, leaf.offset, leaf.length)
                here.append(Raw(leaf.kind, leaf.path, content))

    def _add(self, spec: ImageSpec) -> None:
        for index, device in enumerate(spec.devices):
            path = f"devices[{index}]"
            try:
                data = bytes.fromhex(device.data)
            except ValueError as error:
                raise SpecError("no hex digits", path=f"{path}.data") from error
            section_id = self.ram_id + 1 + index
            header = stream.SectionHeader(
                SectionType.SECTION_FULL,
                section_id,
                name_bytes(device.name, f"{path}.name"),
                device.instance_id,
                device.version,
            )
            self.full += [
                Structure(Kind.SECTION_FULL, f"{path}/header", header),
                Raw(Kind.DEVICE, f"{path}/body", Literal(data)),
                footer(path, section_id),
            ]

    def _describe(self, spec: ImageSpec) -> None:
        """The JSON description of the spec's devices, each as one opaque buffer."""
        devices = [
            {
                "name": device.name,
                "instance_id": device.instance_id,
                "version": device.version,
                "size": len(device.data) // 2,
                "fields": [{"name": "data", "size": len(device.data) // 2, "type": "buffer"}],
            }
            for device in spec.devices
        ]
        text = json.dumps(
            {"page_size": size_of(spec.page_size, "page_size"), "devices": devices}
        ).encode()
        header = stream.Vmdescription(SectionType.VMDESCRIPTION, len(text))
        self.vmdesc = [
            Structure(Kind.VMDESCRIPTION, "vmdescription/header", header),
            Raw(Kind.VMDESCRIPTION_JSON, "vmdescription/json", Literal(text)),
        ]


#: Leaves that go with the section or command before them.
_OF_SECTIONS = frozenset({Kind.DEVICE, Kind.SECTION_FOOTER, Kind.PACKAGED})
