"""What a verdict covers: which parts of an image, and of the receiver, were looked at at all.

A verdict is as good as what it was given by.  What was not looked at is said in words, and never
counts as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fixedram_fmt.knowledge import known_in
from fixedram_fmt.receiver.programs import programs_for, vmstates_of
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.schema.virtiofeatures import feature_names
from fixedram_fmt.stream.framing import FRAMINGS
from fixedram_fmt.stream.records import Kind
from fixedram_fmt.vmstate.overview.virtio import virtio_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.loaders import Loader
    from fixedram_fmt.receiver import Receiver
    from fixedram_fmt.validation.survey import Survey

__all__ = ["NOTHING", "Extent", "Scope", "scope_of"]


class Extent(StrEnum):
    """How much of something was looked at."""

    FULL = "full"
    PARTLY = "partly"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a verdict reaches; not_judged is what it leaves open, in words.

    layout is where bitmaps and pages lie, memory which pages there are and (deep) what is in
    those that the bitmaps call absent, devices whether the receiver has them.
    """

    stream: Extent
    layout: Extent
    memory: Extent
    devices: Extent
    not_judged: tuple[str, ...] = ()


#: Of what could not be opened.
NOTHING = Scope(Extent.NONE, Extent.NONE, Extent.NONE, Extent.NONE, ("anything of this image",))

#: Fields of a destination, and what is not judged without each.
_KNOWLEDGE = {
    "machine": "the receiver's machine type",
    "capabilities": "the receiver's capabilities",
    "target_page_size": "the receiver's page size",
    "blocks": "the receiver's RAM blocks and their lengths",
    "sections": "which devices the receiver has",
}
_HOW = "(give --destination or --like)"
#: Sections that QEMU writes by hand.
_WITHOUT_DESCRIPTION = frozenset(text(name) for name in FRAMINGS)


def scope_of(survey: Survey | None, *, deep: bool, loader: Loader) -> Scope:
    """How far a verdict of loader reaches that was given by survey; None: no stream was found."""
    if survey is None:
        unread = "what follows the header that is refused"
        return Scope(Extent.PARTLY, Extent.NONE, Extent.NONE, Extent.NONE, (unread,))
    memory = _memory(survey, deep=deep)
    left: tuple[str, ...] = (
        *_unread(survey),
        *_memory_left(survey, memory, deep=deep),
        *_receiver(survey, loader),
    )
    stream = Extent.FULL if survey.whole and not _cut(survey) else Extent.PARTLY
    return Scope(stream, _layout(survey), memory, _devices(survey, loader), left)


def _cut(survey: Survey) -> bool:
    return survey.stopped is not None or bool(survey.image.container.cut_short)


def _unread(survey: Survey) -> Iterator[str]:
    if survey.whole and not _cut(survey):
        return
    stopped = survey.stopped
    where = "" if stopped is None or stopped.offset is None else f" (from {stopped.offset:#x} on)"
    yield f"what comes after the place where the stream cannot be read further{where}"


def _layout(survey: Survey) -> Extent:
    """Full once the list of blocks was left behind: its section ends with EOS."""
    if survey.whole or Kind.EOS in survey.kinds:
        return Extent.FULL
    return Extent.PARTLY if survey.image.blocks else Extent.NONE


def _memory(survey: Survey, *, deep: bool) -> Extent:
    blocks = survey.image.blocks
    if not blocks:
        return Extent.FULL if survey.whole else Extent.NONE
    if survey.mapped:
        known = _layout(survey) is Extent.FULL and not any(map(_unknown(survey), blocks))
    else:
        known = survey.whole or _ram_ended(survey)
    return Extent.FULL if known and deep else Extent.PARTLY


def _unknown(survey: Survey) -> Any:
    """Whether nothing says which pages of a block there are, or they are in another file."""
    return lambda block: block.ignored or survey.bitmaps.get(block.index) is None


def _ram_ended(survey: Survey) -> bool:
    ended = (survey.started[one] for one in survey.ended if one in survey.started)
    return any(header.section == RAM_IDSTR for header in ended)


def _memory_left(survey: Survey, memory: Extent, *, deep: bool) -> Iterator[str]:
    if memory is Extent.NONE:
        return
    blocks = survey.image.blocks if survey.mapped else []
    shared = [block.name for block in blocks if block.ignored]
    if shared:
        yield f"the memory of {_listed(shared)}, which is not in the image (x-ignore-shared)"
    unread = [
        block.name
        for block in blocks
        if not block.ignored and survey.bitmaps.get(block.index) is None
    ]
    if unread:
        yield f"the memory of {_listed(unread)}, whose bitmap cannot be read"
    if blocks and not deep:
        yield "the bytes of the pages (--deep reads them)"


def _listed(names: list[str], what: str = "blocks") -> str:
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more {what}"


def _by_xml(survey: Survey, loader: Loader) -> bool:
    """Whether an XML says what the receiver has."""
    return survey.domain is not None and bool(survey.domain_is_given or loader.libvirt)


def _is_known(survey: Survey, loader: Loader) -> bool:
    """Whether the devices of the loader's version are known, for an image of that machine."""
    known = known_in(loader.knows) if not loader.is_design else None
    return known is not None and any(one in known.dumped for one in programs_for(survey.image))


def _devices(survey: Survey, loader: Loader) -> Extent:
    """Full where every device of the image is compared with one of the receiver's own save."""
    destination = survey.destination
    if destination is not None and destination.description is not None:
        return Extent.PARTLY if _unread_devices(survey) else Extent.FULL
    if _by_xml(survey, loader) or (destination is not None and _says_devices(destination)):
        return Extent.PARTLY
    return Extent.PARTLY if survey.image.sections and _is_known(survey, loader) else Extent.NONE


def _says_devices(destination: Receiver) -> bool:
    return any((destination.machine, destination.sections, destination.vmstate))


def _unread_devices(survey: Survey) -> list[str]:
    """Devices of the image that are bytes, for want of a description that fits."""
    return [
        device.path
        for device in survey.image.state.devices
        if device.structure is None and device.size and device.name not in _WITHOUT_DESCRIPTION
    ]


def _receiver(survey: Survey, loader: Loader) -> Iterator[str]:
    """What of the receiver nobody told."""
    destination = survey.destination
    known = _told_of(destination)
    if _by_xml(survey, loader):
        yield (
            "whether the host has the disks and CPU of the domain XML, and whether its devices off"
            " PCI, and what is inside all of them, match"
        )
    elif not known:
        empty = "; what was given says nothing" if destination else ""
        yield f"whether the receiver's machine, memory and devices match {_HOW}{empty}"
        return
    missing = [words for name, words in _KNOWLEDGE.items() if name not in known]
    if missing and not _by_xml(survey, loader):
        yield f"{', '.join(missing)} (not in what was given)"
    if known & {"sections", "vmstate"} and "description" not in known:
        yield (
            "what is inside the devices: values, PCI configuration and what properties decide"
            " (--like an image of the receiver tells it)"
        )
    if survey.save is not None and survey.domain is None:
        yield "the domain XML of the save, which virsh restore would go by"
    if destination is not None and destination.contradictions:
        yield f"which is right of what contradicts: {'; '.join(destination.contradictions[:3])}"
    yield from _older(survey, loader)
    yield from _inside(survey)


def _older(survey: Survey, loader: Loader) -> Iterator[str]:
    """Sections of an older version than the receiver's, where nobody knows the oldest it loads."""
    own = (survey.destination.sections if survey.destination else None) or {}
    known = vmstates_of(survey.image, loader.knows)
    older = [
        section.name
        for section in survey.image.sections
        if section.version_id < own.get(section.name, 0)
        and section.name.rpartition("/")[2] not in known
        and not section.is_ram
    ]
    if older:
        yield f"whether the receiver still loads the older version of {_listed(older, 'devices')}"


def _told_of(destination: Receiver | None) -> frozenset[str]:
    """The fields that say something of a receiver."""
    fields = destination.__struct_fields__ if destination is not None else ()
    told = {name for name in fields if getattr(destination, name) is not None}
    return frozenset(told - {"sources", "contradictions"})


def _inside(survey: Survey) -> Iterator[str]:
    """What of devices no image tells."""
    unread = _unread_devices(survey)
    if unread:
        yield f"the state of {_listed(unread, 'devices')}, which no description fits"
    taken = [
        f"{one.name} ({', '.join(feature_names(one.name.rpartition('/')[2], one.features))})"
        for one in virtio_devices(survey.image.state)
        if one.features
    ]
    if taken:
        yield f"whether the receiver has the virtio features that drivers took: {'; '.join(taken)}"
