"""What a verdict covers: which parts of an image, and of the receiver, were looked at at all.

A verdict is as good as what it was given by.  What was not looked at is said in words, and never
counts as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fixedram_fmt.results import builtins
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def scope_of(survey: Survey | None, *, deep: bool, by_xml: bool = False) -> Scope:
    """How far a verdict reaches that was given by survey; None: the stream was not found.

    by_xml: whether the domain XML of a libvirt save is taken for the receiver.
    """
    if survey is None:
        unread = "what follows the header that is refused"
        return Scope(Extent.PARTLY, Extent.NONE, Extent.NONE, Extent.NONE, (unread,))
    memory = _memory(survey, deep=deep)
    left: tuple[str, ...] = (
        *_unread(survey),
        *_memory_left(survey, memory, deep=deep),
        *_receiver(survey, by_xml=by_xml),
    )
    stream = Extent.FULL if survey.whole and not _cut(survey) else Extent.PARTLY
    return Scope(stream, _layout(survey), memory, _devices(survey, by_xml=by_xml), left)


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


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more blocks"


def _devices(survey: Survey, *, by_xml: bool) -> Extent:
    destination = survey.destination
    if by_xml and survey.image.container.kind == "libvirt":
        return Extent.PARTLY
    if destination is None or (destination.machine is None and destination.sections is None):
        return Extent.NONE
    return Extent.PARTLY


def _receiver(survey: Survey, *, by_xml: bool) -> Iterator[str]:
    """What of the receiver nobody told."""
    destination = survey.destination
    known = builtins(destination) if destination else {}
    if by_xml and survey.image.container.kind == "libvirt" and not known:
        yield (
            "whether disks, CPU and devices off PCI of the domain XML match, and the host has what"
            " it names"
        )
        return
    if not known:
        empty = "; what was given says nothing" if destination else ""
        yield f"whether the receiver's machine, memory and devices match {_HOW}{empty}"
        return
    missing = [text for name, text in _KNOWLEDGE.items() if name not in known]
    if missing:
        yield f"{', '.join(missing)} (not in what was given)"
    if "sections" in known:
        yield "what is inside the devices: fields and features that only the receiver knows"
