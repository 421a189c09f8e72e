"""Puts the state of a machine together: its sections, and a description for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.blocks import Note
from fixedram_fmt.errors import FormatError
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.vmstate.budget import Budget
from fixedram_fmt.vmstate.configuration import configuration_state
from fixedram_fmt.vmstate.description import Description
from fixedram_fmt.vmstate.fit import fitted, misfit
from fixedram_fmt.vmstate.state import MachineState, paths_of
from fixedram_fmt.vmstate.structure import BODY_CEILING
from fixedram_fmt.vmstate.values import DeviceState, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.facts import ImageFacts
    from fixedram_fmt.schema.vmdesc import Device
    from fixedram_fmt.vmstate.structure import Structure

__all__ = ["machine_state"]

_NO_DESCRIPTION = "the image has no description of its devices: their state is kept as bytes"


def machine_state(image: ImageFacts, *, donor: Description | None = None) -> MachineState:
    """The devices of image, read by its own description, or by donor's (of the same machine).

    Devices are compiled here, bodies read when a value is asked for.
    """
    notes: list[Note] = []
    own = None
    if donor is None:
        try:
            own = Description.of_image(image)
        except FormatError as error:
            notes.append(Note(error.offset or 0, error.path, str(error), "vmdesc"))
    if donor is None and own is None and not notes:
        notes.append(Note(image.source.size, "vmdescription", _NO_DESCRIPTION, "no-vmdesc"))
    describer = _Describer(image, donor or own, borrowed=donor is not None)
    sections = [section for section in image.sections if not section.is_ram]
    paths = paths_of([(section.name, section.instance_id) for section in sections])
    devices = [
        DeviceState(image.source, path, section, describer.layout(section, path))
        for section, path in zip(sections, paths, strict=True)
    ]
    head = configuration_state(image)
    return MachineState([head, *devices] if head else devices, notes)


class _Describer:
    """Finds the structure of each section, in the order of the stream."""

    def __init__(
        self, image: ImageFacts, description: Description | None, *, borrowed: bool
    ) -> None:
        self._image = image
        self._description = description
        self._borrowed = borrowed
        self._waiting = description.by_section() if description else {}
        self._by_name: dict[str, list[Device]] = {}
        for device in description.devices if description and borrowed else ():
            self._by_name.setdefault(device.name, []).append(device)
        self._known: Mapping[str, Sequence[Structure]] | None = None
        self._budget = Budget()

    def layout(self, section: Section, path: str) -> Layout:
        """How the body of section is read; path is the device's."""
        if self._description is None or section.body_length is None:
            return Layout(None)
        device = self._device(section)
        if device is None and section.idstr in FRAMINGS:
            return Layout(None)
        if device is None:
            return Layout(None, problem=f"{self._description.name} does not describe it")
        try:
            structure = self._description.structure(device)
        except FormatError as error:
            return Layout(None, problem=str(error))
        layout = self._checked(section, structure)
        try:
            if layout.structure is not None:
                self._budget.take(layout.structure, path)
        except FormatError as error:
            return Layout(None, layout.described_by, error.message)
        return layout

    def _device(self, section: Section) -> Device | None:
        waiting = self._waiting.get((section.name, section.instance_id))
        if waiting:
            return waiting.pop()
        # A twin with more of them (vCPUs, say) has the same structure under another instance.
        others = self._by_name.get(section.name, ()) if self._borrowed else ()
        return next((device for device in others if device.version == section.version_id), None)

    def _checked(self, section: Section, structure: Structure) -> Layout:
        """structure, or what it becomes with the subsections that are really there."""
        assert self._description is not None
        name = self._description.name if self._borrowed else ""
        length = section.body_length or 0
        if self._borrowed and structure.vmsd_name and structure.version != section.version_id:
            return Layout(
                None,
                name,
                f"it is version {section.version_id}, described is {structure.version}",
            )
        if length > BODY_CEILING:
            same = structure.size == length
            return Layout(
                structure if same else None, name, "" if same else "too long to be checked"
            )
        if not structure.has_headers and structure.size == length:
            return Layout(structure, name)
        body = self._image.source.read_exact(section.body_offset, length, section.name)
        why = misfit(structure, body)
        if not why:
            return Layout(structure, name)
        if self._known is None:
            self._known = self._description.subsections()
        found = fitted(structure, body, self._known, self._budget)
        if found is None:
            return Layout(None, name, f"{name or 'the description'} does not fit: {why}")
        return Layout(found, name)
