"""Area D: device sections and the description (vmdesc) of what is in them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fixedram_fmt.errors import FormatError
from fixedram_fmt.receiver.wire import contradicts
from fixedram_fmt.schema.base import text
from fixedram_fmt.schema.ram import is_page_size
from fixedram_fmt.schema.stream import SUBSECTION, SectionType, Vmdescription
from fixedram_fmt.stream.records import Cursor, Kind, Record
from fixedram_fmt.stream.vmdesc import VMDESC_CEILING
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import refuses
from fixedram_fmt.validation.order import section_order
from fixedram_fmt.validation.rule import Observation, Severity, at_records, over_image
from fixedram_fmt.validation.rules.names import shown
from fixedram_fmt.vmstate.description import Description

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.stream.vmdesc import VmDescription
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.message import Holes
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_VMDESC = "FORMAT 10; migration/savevm.c should_send_vmdesc()"
#: Sections that no description mentions.
_NOT_DESCRIBED = frozenset(
    ("ram", "dirty-bitmap", "spapr/htab", "s390-storage_attributes", "s390-skeys", "slirp")
)


def _described(survey: Survey) -> VmDescription | None:
    return survey.image.vmdesc if survey.whole else None


@over_image("D01", Severity.NOTE, _VMDESC)
def no_description(survey: Survey) -> Iterator[Observation]:
    """There is no description of the devices.

    Machines with suppress-vmdesc=on write none. QEMU does not need it; tools that read device state
    do.

    Fix: save from a machine without suppress-vmdesc=on, where device state is to be read.
    """
    if survey.whole and Kind.VMDESCRIPTION not in survey.kinds:
        yield Observation(
            "no description after EOF",
            survey.image.source.size,
            "vmdescription",
            "nothing",
            "06 and a JSON object",
        )


@at_records("D02", Severity.WARNING, _VMDESC, Kind.EOF)
def description_unreadable(survey: Survey, _record: Record[Any]) -> Iterator[Observation]:
    """The description of the devices cannot be read.

    QEMU passes over it; tools that read device state are blind.

    Fix: get the file again; the JSON is damaged.
    """
    for note in survey.image.notes:
        if note.code == "vmdesc":
            yield Observation(
                "no description as QEMU writes it", note.offset, note.path, note.message[:200]
            )


@over_image("D03", Severity.WARNING, _VMDESC)
def description_cut(survey: Survey) -> Iterator[Observation]:
    """The file ends inside the description, or its length is damaged.

    QEMU passes over it; all that a guest needs has been read before.

    Fix: get the file again; its end is missing.
    """
    error = survey.stopped
    told = survey.previous.value if survey.previous else None
    too_long = isinstance(told, Vmdescription) and told.length > VMDESC_CEILING
    if error is not None and error.path.startswith("vmdescription") and not too_long:
        yield Observation(
            "the file ends inside the description",
            error.offset,
            error.path,
            error.found,
            error.expected,
        )


@at_records("D04", Severity.WARNING, _VMDESC, Kind.VMDESCRIPTION)
def description_too_long(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The description is longer than any; it is not read.

    QEMU passes over it; tools that read device state are blind.

    Fix: save the guest again; the length is damaged, or the machine beyond what was thought of.
    """
    if record.value.length > VMDESC_CEILING:
        yield Observation(
            "a description out of all proportion",
            record.offset + 1,
            record.path,
            f"{record.value.length} bytes",
            f"at most {VMDESC_CEILING}",
        )


@over_image("D05", Severity.ERROR, _VMDESC)
def page_sizes_contradict(survey: Survey) -> Iterator[Observation]:
    """The description's page size is one that no target has.

    It is the size that addresses in the stream are counted in, for whoever goes by the description.

    Fix: save the guest again; the description is damaged.
    """
    vmdesc = survey.image.vmdesc
    if vmdesc and vmdesc.page_size is not None and not is_page_size(vmdesc.page_size):
        yield Observation(
            "no target has such pages",
            vmdesc.offset,
            "vmdescription.page_size",
            str(vmdesc.page_size),
            "2^8 to 2^16 bytes",
        )


@over_image("D06", Severity.WARNING, _VMDESC, at_end=True)
def device_not_described(survey: Survey) -> Iterator[Observation]:
    """A device is in the stream, and not in the description.

    The description was written for another stream, or the device's name is damaged.

    Fix: compare fixedram dump with that of a good image of the same machine.
    """
    vmdesc = _described(survey)
    if vmdesc is None:
        return
    known = {(device.name, device.instance_id) for device in vmdesc.devices}
    for section in survey.image.sections:
        key = section.name, section.instance_id
        if section.full and key not in known and section.name not in _NOT_DESCRIBED:
            yield Observation(
                f"{shown(section.idstr)} #{section.instance_id} is not described",
                section.offset,
                "",
                "no entry in `devices`",
                "one",
            )


@over_image("D07", Severity.WARNING, _VMDESC)
def described_device_missing(survey: Survey) -> Iterator[Observation]:
    """A device is in the description, and not in the stream.

    QEMU leaves a device whose section is missing as it is after reset, without a word.

    Fix: save the guest again; sections were taken out (fixedram copy --drop-devices takes out all).
    """
    vmdesc = _described(survey)
    if vmdesc is None:
        return
    there = Counter((text(name), instance) for name, instance in survey.names)
    for device in vmdesc.devices:
        if not there[device.name, device.instance_id]:
            yield Observation(
                f"{device.name[:60]!r} #{device.instance_id} has no section",
                vmdesc.offset,
                "vmdescription",
                "no section",
                "one",
            )


def _missing_footer(case: Case) -> Effect | None:
    """Holes are filled where it is the section that is wrong, not the description."""
    return refuses("footer") if case.finding.holes else None


@over_image("D08", Severity.WARNING, _VMDESC, effect=_missing_footer)
def device_of_other_size(survey: Survey) -> Iterator[Observation]:
    """A device's bytes do not end where its description says.

    The section was found to end elsewhere, by its footer. QEMU goes by its own knowledge of the
    device, which the description was made from, and refuses the section: Missing section footer.
    Where many devices differ it is the description that is another machine's, and QEMU loads them.

    Fix: compare with a good image of the same machine.
    """
    vmdesc = _described(survey)
    if vmdesc is None:
        return
    differing = list(_of_other_size(survey, vmdesc))
    lies = len(differing) > _MANY and 4 * len(differing) > len(vmdesc.devices)
    denied = _contradictions(survey, [section for section, _ in differing])
    for section, sizes in differing:
        wrong = not (lies or section in denied or _may_be_known(survey, vmdesc, section, sizes))
        yield Observation(
            f"{shown(section.idstr)} #{section.instance_id} ends elsewhere",
            section.body_offset,
            "",
            f"{section.body_length} bytes",
            f"{min(sizes)} as described",
            order=section_order(survey, section) if wrong else survey.order,
            holes=_footer_of(section) if wrong else {},
        )


#: Descriptions that are looked into for numbers of a wrong size.
_LOOKED_AT = 16
#: More devices of another size than this, and a quarter of all, are none that was damaged.
_MANY = 2


def _footer_of(section: Section) -> Holes:
    return {"name": c_text(section.idstr), "section_id": section.section_id}


def _of_other_size(survey: Survey, vmdesc: VmDescription) -> Iterator[tuple[Section, set[int]]]:
    """Sections that end elsewhere than described, and the sizes that are described."""
    sizes: dict[tuple[str, int], set[int]] = {}
    for device in vmdesc.devices:
        sizes.setdefault((device.name, device.instance_id), set()).add(device.size)
    for section in survey.image.sections:
        expected = sizes.get((section.name, section.instance_id))
        length = section.body_length
        differs = expected and length is not None and length not in expected
        if expected and differs and section.full and section.delimited_by == "footer":
            yield section, expected


def _contradictions(survey: Survey, sections: Sequence[Section]) -> list[Section]:
    """Sections whose description gives a number's type another size than it has: it is wrong."""
    try:
        description = Description.of_image(survey.image) if sections else None
    except FormatError:
        return []
    found = []
    devices = description.devices if description else []
    by_section = {(device.name, device.instance_id): device for device in devices}
    for section in sections[:_LOOKED_AT]:
        device = by_section.get((section.name, section.instance_id))
        try:
            if description and device and contradicts(description.structure(device)):
                found.append(section)
        except FormatError:
            found.append(section)
    return found


def _may_be_known(survey: Survey, vmdesc: VmDescription, section: Section, sizes: set[int]) -> bool:
    """Whether what is too much is a subsection that QEMU may know.

    migration/vmstate.c vmstate_subsection_load() leaves it unread if its name begins with another
    vmsd's name; an inner vmsd's is not known here.
    """
    surplus = Cursor(survey.image.source, section.body_offset + max(sizes))
    if (section.body_length or 0) <= max(sizes):
        return False
    try:
        subsection = surplus.look(SUBSECTION, Kind.SUBSECTION, "").value
    except FormatError:
        return False
    parent, slash, _ = text(subsection.idstr).rpartition("/")
    if subsection.section_type != SectionType.SUBSECTION or not slash:
        return False
    own = {one.vmsd_name for one in vmdesc.devices if one.name == section.name}
    return parent in own or parent not in {one.vmsd_name for one in vmdesc.devices}


@over_image("D09", Severity.WARNING, _VMDESC, at_end=True)
def device_of_other_version(survey: Survey) -> Iterator[Observation]:
    """A section's version is not that of its description.

    Both come from the same device; one of them is damaged.

    Fix: compare with a good image of the same machine.
    """
    vmdesc = _described(survey)
    if vmdesc is None:
        return
    versions: dict[tuple[str, int], set[int]] = {}
    # Devices of the old style are described without a version.
    for device in (device for device in vmdesc.devices if device.version):
        versions.setdefault((device.name, device.instance_id), set()).add(device.version)
    for section in survey.image.sections:
        expected = versions.get((section.name, section.instance_id))
        if expected and section.full and section.version_id not in expected:
            yield Observation(
                f"{shown(section.idstr)} #{section.instance_id} has another version",
                section.offset,
                "",
                str(section.version_id),
                f"{min(expected)} as described",
            )


@over_image("D10", Severity.NOTE, "FORMAT 10")
def no_devices(survey: Survey) -> Iterator[Observation]:
    """There is no device in the stream: memory only.

    QEMU loads it without a word, and the CPUs wake as after reset.

    Fix: save the guest again, unless it is a test fixture.
    """
    if (
        survey.whole
        and survey.image.blocks
        and not any(section.full and section.name != "ram" for section in survey.image.sections)
    ):
        yield Observation(
            "no device section",
            survey.image.container.stream_offset,
            "",
            "sections of memory only",
            "CPUs and devices",
        )


@over_image("D11", Severity.NOTE, _VMDESC, at_end=True)
def device_end_uncertain(survey: Survey) -> Iterator[Observation]:
    """Where a device's bytes end is a guess.

    No description says it, and its footer stands in more than one place that fits, or in none that
    the rest of the stream bears out. QEMU knows the device and does not search; tools that read
    device state may take bytes of this one for the next.

    Fix: read it with the description of another image of the same machine (--desc-from).
    """
    for note in survey.image.notes:
        if note.code in ("device-end-ambiguous", "device-end-unverified"):
            yield Observation(note.message, note.offset, note.path, "", "one end")
