"""Area C, continued: the domain XML of a libvirt save, the destination of virsh restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.container.domain import (
    DomainError,
    domain_of,
    is_main_memory,
    main_memory,
    well_formed,
)
from fixedram_fmt.container.libvirt import LibvirtSave
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import Phase, refuses
from fixedram_fmt.validation.restore import by_domain, restore_refuses
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_PARSE = "libvirt src/qemu/qemu_saveimage.c qemuSaveImageGetMetadata(), src/conf/domain_conf.c"
_START = "libvirt src/qemu/qemu_process.c qemuProcessStartWithMemoryState()"


def _main_block(survey: Survey) -> RamBlock | None:
    """The block that holds the memory of <memory>."""
    blocks = survey.image.blocks
    length = main_memory({block.name: block.used_length for block in blocks})
    return next((block for block in blocks if block.used_length == length), None)


@over_image(
    "C12", Severity.ERROR, _PARSE, effect=restore_refuses("{message}"), phase=Phase.LIBVIRT_XML
)
def no_domain(survey: Survey) -> Iterator[Observation]:
    """The XML after libvirt's header is no domain that libvirt takes.

    virsh restore starts QEMU by this XML and nothing else. Where it is cut, damaged or a stub,
    there is no machine to load the memory into.

    Fix: fixedram copy --container libvirt --xml DOMAIN.xml IMAGE -o SAVE, with the guest's XML.
    """
    save = survey.save
    try:
        if save:
            domain_of(save.xml)
    except DomainError as error:
        yield Observation(
            error.message,
            save.xml_offset if save else None,
            "libvirt.xml",
            expected="<domain> with <os><type>",
        )


@over_image(
    "C13",
    Severity.ERROR,
    _PARSE + " virSaveCookieParseString()",
    effect=restore_refuses("(save cookie): {message}"),
    phase=Phase.LIBVIRT_XML,
)
def cookie_damaged(survey: Survey) -> Iterator[Observation]:
    """The save cookie is no XML.

    The cookie follows the domain XML and holds what libvirt must remember of the running domain, as
    the exact CPU. Where the header names one that cannot be parsed virsh restore refuses the file.

    Fix: get the file again, or give another XML (fixedram copy --container libvirt --xml).
    """
    save = survey.image.container.find(LibvirtSave)
    if save is None or not save.header.cookie_offset or save.cookie is None:
        return
    try:
        root = well_formed(save.cookie)
        if root.tag == "cookie":
            return
        message = f"root element is {root.tag[:60]!r}"
    except DomainError as error:
        message = error.message
    offset = save.xml_offset + save.header.cookie_offset
    yield Observation(message, offset, "libvirt.cookie", expected="<cookie>")


@by_domain
def _other_machine(case: Case) -> Effect:
    return refuses("machine", local=case.finding.holes.get("local", ""))


@over_image(
    "C14",
    Severity.ERROR,
    _START + "; migration/savevm.c configuration_post_load()",
    effect=_other_machine,
    phase=Phase.RESTORED,
)
def other_machine_in_xml(survey: Survey) -> Iterator[Observation]:
    """The domain XML names another machine type than the stream.

    virsh starts the machine that the XML names; QEMU compares the names and refuses. An edited XML
    (virsh save-image-edit) does not change the stream.

    Fix: virsh save-image-edit FILE, and set the machine attribute back to what the stream was saved
    from.
    """
    domain, name = survey.domain, survey.image.machine
    # An alias (pc, q35, virt) stands for another version in each QEMU.
    if domain is None or name is None or not domain.machine or "-" not in domain.machine:
        return
    if not domain.machine.startswith(name):
        yield Observation(
            "the XML has another machine type than the stream",
            survey.xml_offset,
            "libvirt.xml",
            shown(name.encode()),
            repr(domain.machine),
            order=survey.configured,
            holes={"name": c_text(name.encode()), "local": domain.machine},
        )


@by_domain
def _other_memory(case: Case) -> Effect | None:
    survey, finding = case.survey, case.finding
    has, given = int(finding.found), int(finding.expected)
    block = survey.listed_by_path.get(finding.path) if survey else None
    if survey is None or block is None:
        return None
    if not survey.mapped:
        return refuses("size-mismatch", length=has, local_length=given)
    bitmap = survey.bitmaps.get(block.index)
    if given < has and (bitmap is None or bitmap.count(given // block.page_size)):
        return refuses("outside-block")
    return None


@over_image(
    "C15",
    Severity.WARNING,
    _START + "; migration/ram.c parse_ramblock()",
    effect=_other_memory,
    phase=Phase.RESTORED,
)
def other_memory_in_xml(survey: Survey) -> Iterator[Observation]:
    """The domain XML gives the machine another amount of memory than the stream has.

    With less, QEMU refuses the first page that lies past the end. With more, a fixed layout is
    restored without a word into the larger machine, and an ordinary stream is refused.

    Fix: virsh save-image-edit FILE, and set <memory> back to the length of the block.
    """
    domain, block = survey.domain, _main_block(survey)
    if domain is None or block is None or domain.memory is None or domain.numa_cells:
        return
    # The longest block may be that of a memory device.
    if domain.memory_devices and not is_main_memory(block.name):
        return
    if domain.memory != block.used_length:
        yield Observation(
            f"the XML has {domain.memory:#x} bytes of memory, {shown(block.idstr)}"
            f" {block.used_length:#x}",
            block.entry_offset,
            block.path,
            str(block.used_length),
            str(domain.memory),
        )


@by_domain
def _other_cpus(case: Case) -> Effect | None:
    has, given = int(case.finding.found), int(case.finding.expected)
    if has <= given:
        return None
    return refuses("unknown-section", name="cpu_common", instance=given)


@over_image("C16", Severity.WARNING, _START, effect=_other_cpus, phase=Phase.RESTORED)
def other_cpus_in_xml(survey: Survey) -> Iterator[Observation]:
    """The domain XML has another number of vCPUs than the stream.

    A CPU in the stream that the machine has not is refused. A CPU of the machine that the stream
    has not stays as it is after reset; the guest does not know of it.

    Fix: virsh save-image-edit FILE, and set <vcpu> back.
    """
    domain = survey.domain
    cpus = [one for one in survey.image.sections if one.name == "cpu_common"]
    if domain is None or domain.vcpus is None or not cpus or len(cpus) == domain.vcpus:
        return
    # The first that the machine has not, or the last there is.
    section = cpus[min(domain.vcpus, len(cpus) - 1)]
    yield Observation(
        "the XML has another number of vCPUs than the stream",
        section.offset,
        "",
        str(len(cpus)),
        str(domain.vcpus),
    )
