"""What rules ask of the receiver: its domain, and what it would refuse inside devices."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fixedram_fmt.container.domain import DomainError, domain_of
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.knowledge import known_versions
from fixedram_fmt.receiver.judging import dumped_misfits, misfits
from fixedram_fmt.receiver.knownfit import known_misfits
from fixedram_fmt.receiver.programs import vmstates_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.container.domain import Domain
    from fixedram_fmt.image import Image
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.receiver.misfit import Misfit
    from fixedram_fmt.stream.records import Record

__all__ = ["Met", "Receiving"]

#: Misfits that are told of one image.
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Met:
    """What a receiver would refuse in a device: its section, when it comes, and whether first."""

    misfit: Misfit
    section: str
    order: int
    first: bool


class Receiving:
    """The receiver's side of a walk; section_orders, order and headers are the walk's."""

    section_orders: dict[int, int]
    headers: dict[str, Record[Any]]
    order: int

    def __init__(self, image: Image, destination: Receiver | None, *, own_xml: bool) -> None:
        self.image = image
        self.destination = destination
        self._own_xml = own_xml and destination is None

    @property
    def save(self) -> LibvirtSave | None:
        """The libvirt save the stream is in, if there is XML in it to look at."""
        libvirt = self.image.container.find(LibvirtSave)
        return libvirt if libvirt and libvirt.xml.lstrip().startswith(b"<") else None

    @property
    def domain_is_given(self) -> bool:
        """Whether the domain comes from whoever asks, and not from the save itself."""
        return self.destination is not None and self.destination.domain is not None

    @cached_property
    def domain(self) -> Domain | None:
        """The VM that an XML describes, that of a libvirt save where no other is given."""
        xml: bytes | None = None
        if self.destination is not None and self.destination.domain is not None:
            xml = self.destination.domain.encode()
        elif self._own_xml and self.save is not None:
            xml = self.save.xml
        with suppress(DomainError):
            return domain_of(xml) if xml is not None else None
        return None

    @property
    def xml_offset(self) -> int | None:
        """Where the XML begins in the file; None where it is not in it."""
        return self.save.xml_offset if self.save and not self.domain_is_given else None

    @cached_property
    def misfits(self) -> list[Met]:
        """What the receiver would refuse inside devices, in the order of the stream."""
        if self.destination is None:
            return []
        return self._met(
            chain(
                misfits(self.image, self.destination), dumped_misfits(self.image, self.destination)
            )
        )

    @cached_property
    def known_misfits(self) -> dict[str, list[Met]]:
        """What any VM of a QEMU would refuse inside devices, by its version."""
        versions = known_versions() if self.image.sections else ()
        known = {version: vmstates_of(self.image, version) for version in versions}
        return {one: self._met(known_misfits(self.image, found)) for one, found in known.items()}

    @cached_property
    def _bodies(self) -> dict[int, tuple[str, int]]:
        """Path and id of each section, by where its body begins."""
        paths = {record.offset: path for path, record in self.headers.items()}
        return {
            section.body_offset: (paths.get(section.offset, ""), section.section_id)
            for section in self.image.sections
        }

    def _met(self, misfits: Iterator[Misfit]) -> list[Met]:
        found: list[Met] = []
        for misfit in islice(misfits, _KEPT):
            path, section_id = self._bodies.get(misfit.device.offset, ("", -1))
            order = self.section_orders.get(section_id, self.order)
            first = not found or found[-1].misfit.device is not misfit.device
            found.append(Met(misfit, path, order, first))
        return found
