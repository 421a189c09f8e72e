"""Area C, continued: the devices of a libvirt save's XML, and those of the stream after it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fixedram_fmt.container.domaincompare import compared
from fixedram_fmt.container.domainmemory import MIGRATED
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import Effect, Phase, refuses
from fixedram_fmt.validation.restore import by_domain, restore_refuses
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import Section
    from fixedram_fmt.container.domain import Domain
    from fixedram_fmt.container.domaincompare import Difference
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_BY_XML = "libvirt src/qemu/qemu_command.c qemuBuildCommandLine(); "
_SECTION = _BY_XML + "migration/savevm.c qemu_loadvm_section_start_full()"
_BLOCK = _BY_XML + "migration/ram.c parse_ramblocks()"
#: Blocks that libvirt names for the memory devices of its XML.
_OF_DEVICE = re.compile(r"(?:.*/memvirtiomem|memdimm|memnvdimm)[0-9]+")


def _comparable(survey: Survey) -> Domain | None:
    """The XML's domain, where it is of the stream's machine: C14 tells of another."""
    domain, name = survey.domain, survey.image.machine
    if domain is None or not domain.tells_devices or (domain.machine and name is None):
        return None
    is_other = "-" in (domain.machine or "") and not (domain.machine or "").startswith(name or "")
    return None if is_other else domain


def _differences(survey: Survey) -> Iterator[tuple[Difference, Section | None]]:
    domain = _comparable(survey)
    if domain is not None:
        sections = {(one.name, one.instance_id): one for one in survey.image.sections}
        for difference in compared(domain, sections):
            yield difference, sections.get(difference.section) if difference.section else None


@by_domain
def _unknown_section(_case: Case) -> Effect:
    return refuses("unknown-section")


@over_image("C18", Severity.ERROR, _SECTION, effect=_unknown_section, phase=Phase.RESTORED)
def device_not_in_xml(survey: Survey) -> Iterator[Observation]:
    """The stream has a PCI device that the domain XML has not, or has of another kind.

    A section's name tells the device's place: its slot, and the slots of the bridges before it.
    virsh starts QEMU with the devices of the XML at the addresses there; a section that no device
    answers to is refused. Nothing is said of devices whose places libvirt chooses.

    Fix: virsh save-image-edit FILE, and put the device and its <address> back as they were.
    """
    for difference, section in _differences(survey):
        if section is not None:
            yield Observation(
                difference.words,
                section.offset,
                "",
                shown(section.idstr),
                "a device of the XML",
                holes={"name": c_text(section.idstr), "instance": section.instance_id},
            )


@over_image("C19", Severity.WARNING, _SECTION)
def device_not_in_stream(survey: Survey) -> Iterator[Observation]:
    """The domain XML has a PCI device that the stream has not.

    QEMU leaves it as it is after reset, without a word; the guest does not know of it.

    Fix: virsh save-image-edit FILE, and take the device out; plug it in once the guest runs.
    """
    if not survey.whole:
        return
    for difference, _ in _differences(survey):
        if difference.kind == "not-in-image" and difference.device is not None:
            yield Observation(
                difference.words,
                survey.xml_offset,
                "libvirt.xml",
                "no such section",
                difference.device.xml_path,
            )


@by_domain
def _unknown_block(_case: Case) -> Effect:
    return refuses("unknown-block")


@over_image("C20", Severity.ERROR, _BLOCK, effect=_unknown_block, phase=Phase.RESTORED)
def block_not_in_xml(survey: Survey) -> Iterator[Observation]:
    """The stream has the RAM block of a device that the domain XML has not.

    libvirt names the block of a DIMM after its slot; that of a virtio-mem, and the ROM of a PCI
    device, begin with its place. QEMU looks for each block by its name before it comes to any
    device, and refuses the stream when there is none.

    Fix: virsh save-image-edit FILE, and put the device and its <address> back as they were.
    """
    names, gone = _block_names(survey), _gone(survey)
    for block in survey.image.blocks if names is not None or gone else ():
        is_memory = _OF_DEVICE.fullmatch(block.name) is not None
        unnamed = is_memory and names is not None and block.name not in names
        path, _, last = block.name.rpartition("/")
        # Video memory has one name in devices of several kinds, a ROM that of its device.
        lost = path in gone and not is_memory and (gone[path] or last.endswith(".rom"))
        if unnamed or lost:
            yield Observation(
                f"the XML has no device for the block {shown(block.idstr)}",
                block.entry_offset,
                block.path,
                shown(block.idstr),
                "a device of the XML",
            )


def _gone(survey: Survey) -> dict[str, bool]:
    """Places of the stream's devices that the XML has not: whether it has nothing there.

    False where there is a device, but of another kind or without a ROM.
    """
    domain = _comparable(survey)
    bare = {
        one.path: False
        for one in (domain.devices if domain else ())
        if one.path and one.rom and False in (one.rom.bar, one.rom.enabled)
    }
    return bare | {
        difference.section[0].partition("/")[0]: difference.kind == "no-device"
        for difference, _ in _differences(survey)
        if difference.section is not None
    }


_TOO_MUCH = "XML error: Total size of memory devices exceeds the total memory size"


@over_image(
    "C22",
    Severity.ERROR,
    "libvirt src/conf/domain_postparse.c virDomainDefPostParseMemory(); QEMU hw/core/numa.c"
    " numa_complete_configuration()",
    effect=restore_refuses("{message}"),
    phase=Phase.LIBVIRT_START,
)
def memory_does_not_add_up(survey: Survey) -> Iterator[Observation]:
    """The memory of the domain XML is not the sum of its parts.

    <memory> counts the memory devices too. What is left without them must be something, and what
    the NUMA cells have together. Who takes a memory device out of the XML has to change both.

    Fix: virsh save-image-edit FILE, and set <memory> to the sum of cells and memory devices.
    """
    domain = survey.domain
    if domain is None or domain.total_memory is None:
        return
    plugged = [one.size for one in domain.memory_devices]
    known = [one for one in (*plugged, *domain.numa_cells) if one is not None]
    if len(known) < len(plugged) + len(domain.numa_cells):
        return
    cells, sizes = known[len(plugged) :], known[: len(plugged)]
    left = domain.total_memory - sum(sizes)
    message = _TOO_MUCH if sizes and left <= 0 else ""
    if not message and cells and sum(cells) != left:
        message = f"total memory for NUMA nodes ({sum(cells):#x}) should equal RAM size ({left:#x})"
    if message:
        yield Observation(
            message, survey.xml_offset, "libvirt.xml", str(domain.total_memory), str(sum(known))
        )


@by_domain
def _left_as_it_is(_case: Case) -> Effect:
    return Effect(Outcome.WRONG_MEMORY, text="the memory device's memory is left as it is")


@over_image("C21", Severity.WARNING, _BLOCK, effect=_left_as_it_is, phase=Phase.RESTORED)
def memory_device_not_in_stream(survey: Survey) -> Iterator[Observation]:
    """The domain XML has a memory device whose memory the stream has not.

    QEMU leaves that memory as it is, without a word.

    Fix: virsh save-image-edit FILE, and take the <memory> out; plug it in once the guest runs.
    """
    names = _block_names(survey)
    if not names or not survey.whole or not survey.image.blocks:
        return
    there = {block.name for block in survey.image.blocks}
    for name, xml_path in names.items():
        if name not in there:
            yield Observation(
                f"no block {shown(name.encode())} in the image",
                survey.xml_offset,
                "libvirt.xml",
                "no such block",
                xml_path,
                order=survey.order,
            )


def _block_names(survey: Survey) -> dict[str, str] | None:
    """Blocks of the XML's memory devices, and the elements; None where a name is not certain."""
    domain = _comparable(survey)
    if domain is None:
        return None
    names = {one.block: one.xml_path for one in domain.memory_devices if one.block is not None}
    migrated = [one for one in domain.memory_devices if one.model in MIGRATED]
    return names if len(names) == len(migrated) else None
