"""Area T: what would not fit into the machine that is to receive the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixedram_fmt.knowledge import known_versions
from fixedram_fmt.loaders import Outcome
from fixedram_fmt.receiver.lengths import first_piece_past, fix_of_length, is_resizable
from fixedram_fmt.receiver.programs import names_of_alias
from fixedram_fmt.schema.base import c_string, text
from fixedram_fmt.validation.causes import KNOWS, is_asked, machine, page_bits
from fixedram_fmt.validation.ctext import c_int, c_text
from fixedram_fmt.validation.effects import IN_CHANNELS, Effect, Phase, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.blocks import RamBlock
    from fixedram_fmt.validation.message import Holes
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_POST_LOAD = "FORMAT 10; migration/savevm.c configuration_post_load()"
_LIST = "FORMAT 10; migration/ram.c parse_ramblocks()"
_SECTION = "FORMAT 10; migration/savevm.c qemu_loadvm_section_start_full()"
#: Capabilities that both sides must agree on.
_VALIDATED = ("mapped-ram", "x-ignore-shared")


def _other_machine(case: Case) -> Effect | None:
    return machine(case) if is_asked(case) else None


@over_image("T01", Severity.ERROR, _POST_LOAD, effect=_other_machine)
def other_machine(survey: Survey) -> Iterator[Observation]:
    """The image is of another machine type than the destination.

    The name in the image need only be a prefix of the destination's, unless a NUL ends it.

    Fix: start the destination with the image's -machine.
    """
    record, destination = survey.configuration, survey.destination
    machine = destination.machine if destination else None
    if record is None or machine is None:
        return
    # An alias (pc, virt) stands for another type in each QEMU; no QEMU sends one.
    sent = names_of_alias(survey.image, survey.image.machine or "")
    named = {} if sent else names_of_alias(survey.image, machine)
    # In some QEMUs it may be a type of its own.
    local_names = {one: named.get(one, machine) for one in known_versions()} if named else {}
    for version, local in local_names.items() if named else (("", machine),):
        if not _fits(record.value.name, local.encode()):
            yield Observation(
                "another machine type" + (f" (QEMU {version})" if version else ""),
                record.offset,
                "configuration",
                shown(c_string(record.value.name)),
                repr(local),
                conditional=bool(version),
                holes={"local": local, **({KNOWS: version} if version else {})},
            )


def _fits(sent: bytes, local: bytes) -> bool:
    """Whether strncmp() over the length that was sent finds no difference."""
    name = c_string(sent)
    return local == name if len(name) < len(sent) else local.startswith(name)


def _states(case: Case) -> Effect:
    """Both states of a capability that differs."""
    return refuses("capability", state=case.finding.found, local_state=case.finding.expected)


@over_image(
    "T02", Severity.ERROR, _POST_LOAD.replace("post_load", "validate_capabilities"), effect=_states
)
def other_capabilities(survey: Survey) -> Iterator[Observation]:
    """Capabilities of image and destination differ.

    mapped-ram and x-ignore-shared must be the same on both sides.

    Fix: migrate_set_capability on the destination as the image has it.
    """
    if survey.destination is None or survey.destination.capabilities is None:
        return
    for name in _VALIDATED:
        wanted = name in survey.destination.capabilities
        sent = name.encode() in survey.capabilities
        if wanted != sent:
            yield Observation(
                f"capability {name} differs",
                survey.image.container.stream_offset + 8,
                "configuration",
                _on(sent),
                _on(wanted),
                holes={"capability": name},
            )


def _on(state: bool) -> str:
    return "on" if state else "off"


@over_image("T03", Severity.ERROR, _POST_LOAD, effect=page_bits)
def other_page_size(survey: Survey) -> Iterator[Observation]:
    """The target's page size is not the destination's.

    All addresses and bitmaps are counted in pages. QEMU compares the sizes and refuses.

    Fix: choose the architecture, and on ARM the machine version, of the image.
    """
    size = survey.destination.target_page_size if survey.destination else None
    told = survey.image.announced_page_size
    if size is not None and told is not None and told != size:
        yield Observation(
            "another page size",
            survey.image.container.stream_offset,
            "configuration",
            str(told),
            str(size),
            holes={"bits": told.bit_length() - 1},
        )


def _blocks(survey: Survey) -> dict[str, int] | None:
    return survey.destination.block_lengths if survey.destination else None


def _at(survey: Survey, block: RamBlock, message: str, found: str, expected: str) -> Observation:
    return Observation(message, block.entry_offset, block.path, found, expected)


@over_image("T04", Severity.ERROR, _LIST, effect=refuses("unknown-block"), phase=Phase.BLOCK_NAME)
def unknown_block(survey: Survey) -> Iterator[Observation]:
    """The image has a RAM block that the destination has not.

    QEMU looks for each block by its name, and refuses the stream when there is none.

    Fix: start the destination with the same memory devices, names and ids.
    """
    lengths = _blocks(survey)
    for block in survey.image.blocks if lengths is not None else ():
        if lengths is not None and block.name not in lengths:
            yield _at(
                survey,
                block,
                f"the destination has no block {shown(block.idstr)}",
                shown(block.idstr),
                "a block of the destination",
            )


@over_image(
    "T05",
    Severity.ERROR,
    _LIST,
    effect=wrong("the block's memory is left as it is"),
    phase=Phase.MEMORY,
)
def missing_block(survey: Survey) -> Iterator[Observation]:
    """The destination has a RAM block that the image has not.

    QEMU leaves that memory as it is, without a word.

    Fix: start the destination with the memory devices of the image.
    """
    lengths = _blocks(survey)
    there = {block.name for block in survey.image.blocks}
    if lengths and survey.whole and survey.image.blocks:
        for name in lengths:
            if name not in there:
                yield Observation(
                    f"no block {shown(name.encode())} in the image",
                    survey.image.container.stream_offset,
                    "",
                    "no such block",
                    f"{lengths[name]} bytes",
                )


def _longer(case: Case) -> Effect | None:
    """Pages past the destination's end are refused, if any is present."""
    survey, finding, block = case.survey, case.finding, case.block
    if survey is not None and not survey.mapped:
        return _other_length(case)
    bitmap = survey.bitmaps[block.index] if survey and block else None
    if survey is None or survey.destination is None or block is None or bitmap is None:
        return None
    length = int(finding.expected)
    ceiling = survey.destination.block_ceilings.get(block.name, length)
    piece = first_piece_past(bitmap, block.page_size, length, ceiling)
    if piece is None or not piece.readable:
        return refuses("outside-block") if piece else None
    why = f"Partial read of size {piece.readable}, expected {piece.size}"
    holes: Holes = {"page": piece.start, "offset": block.pages_offset + piece.start, "why": why}
    return Effect(Outcome.REFUSES, "page-unread", holes, IN_CHANNELS, multifd=Outcome.CRASHES)


def _other_length(case: Case) -> Effect:
    """system/physmem.c qemu_ram_resize(), which ordinary streams call for another length."""
    survey = case.survey
    block = survey.listed_by_path.get(case.finding.path) if survey else None
    length, expected = int(case.finding.found), int(case.finding.expected)
    if block is not None and is_resizable(block.name) and survey and survey.destination:
        ceiling = survey.destination.block_ceilings.get(block.name, expected)
        return refuses("size-too-large", length=length, local_length=ceiling)
    return refuses("size-mismatch", length=length, local_length=expected)


@over_image("T06", Severity.ERROR, _LIST, effect=_longer, phase=Phase.PAGE_RANGE)
def longer_block(survey: Survey) -> Iterator[Observation]:
    """A block is longer than the destination's.

    With a fixed layout QEMU refuses the first page that lies past the end of its own block; where
    1 MiB that it reads at a time crosses that end, multifd crashes. An ordinary stream is refused
    at once (Size mismatch), unless QEMU can resize the block up to the image's length (the ACPI
    tables: `info ramblock`, Total).

    Fix: give the destination as much memory as the image has.
    """
    ceilings = survey.destination.block_ceilings if survey.destination else {}
    for block, length in _other_lengths(survey):
        fits = is_resizable(block.name) and block.used_length <= ceilings[block.name]
        if block.used_length > length and (survey.mapped or not fits):
            yield _length(survey, block, "longer", length, conditional=fits)


def _shorter(case: Case) -> Effect:
    if case.survey is not None and not case.survey.mapped:
        return _other_length(case)
    return wrong("the rest of the block is left as it is")


@over_image("T07", Severity.ERROR, _LIST, effect=_shorter, phase=Phase.MEMORY)
def shorter_block(survey: Survey) -> Iterator[Observation]:
    """A block is shorter than the destination's.

    With a fixed layout QEMU loads what there is and leaves the rest as it is, without a word. An
    ordinary stream is refused (Size mismatch). Blocks that QEMU resizes (the ACPI tables) may be
    shorter.

    Fix: give the destination as much memory as the image has.
    """
    for block, length in _other_lengths(survey):
        if block.used_length < length and not is_resizable(block.name):
            yield _length(survey, block, "shorter", length)


def _other_lengths(survey: Survey) -> Iterator[tuple[RamBlock, int]]:
    """Blocks that the destination has with another length, and that length."""
    lengths = _blocks(survey) or {}
    for block in survey.image.blocks:
        length = lengths.get(block.name)
        if length is not None and length != block.used_length:
            yield block, length


def _length(
    survey: Survey, block: RamBlock, how: str, length: int, *, conditional: bool = False
) -> Observation:
    return Observation(
        f"{shown(block.idstr)} is {how} than the destination's",
        block.entry_offset,
        block.path,
        str(block.used_length),
        str(length),
        conditional=conditional,
        fix=fix_of_length(block.name, block.used_length),
    )


@over_image("T08", Severity.ERROR, _SECTION, effect=refuses("unknown-section"))
def unknown_section(survey: Survey) -> Iterator[Observation]:
    """The image has a section that the destination has no device for.

    QEMU looks for a device by name and instance, and refuses the stream when there is none.

    Fix: start the destination with the same devices, hot-plugged ones too.
    """
    if survey.destination is None or survey.destination.sections is None:
        return
    for section in survey.image.sections:
        if not survey.destination.knows(section.name, section.instance_id):
            yield Observation(
                f"the destination has no {shown(section.idstr)} #{section.instance_id}",
                section.offset,
                "",
                shown(section.idstr),
                "a device of the destination",
                holes={"name": c_text(section.idstr), "instance": section.instance_id},
            )


@over_image("T09", Severity.ERROR, _SECTION, effect=refuses("section-version"))
def newer_section(survey: Survey) -> Iterator[Observation]:
    """A section is of a newer version than the destination knows.

    What a newer version adds cannot be known. QEMU refuses it.

    Fix: use a QEMU that is at least as new as the one that saved, or an older machine type.
    """
    sections = (survey.destination.sections if survey.destination else None) or {}
    for section in survey.image.sections:
        version = sections.get(section.name)
        if version is not None and section.version_id > version:
            yield Observation(
                f"{shown(section.idstr)} is too new",
                section.offset,
                "",
                f"version {section.version_id}",
                f"at most {version}",
                holes={
                    "name": c_text(section.idstr),
                    "version": c_int(section.version_id),
                    "local_version": version,
                },
            )


@over_image(
    "T10",
    Severity.WARNING,
    "FORMAT 10; migration/vmstate.c vmstate_load_state()",
)
def older_section(survey: Survey) -> Iterator[Observation]:
    """A section is of an older version than the destination's.

    QEMU loads it if the device still knows that version, which the image does not tell.

    Fix: use the machine type (and version) that the image names.
    """
    sections = (survey.destination.sections if survey.destination else None) or {}
    for section in survey.image.sections:
        version = sections.get(section.name)
        if version is not None and section.version_id < version and section.name != "ram":
            yield Observation(
                f"{shown(section.idstr)} is older",
                section.offset,
                "",
                f"version {section.version_id}",
                str(version),
            )


@over_image("T11", Severity.WARNING, _SECTION)
def missing_section(survey: Survey) -> Iterator[Observation]:
    """The destination has a device that the image has no section for.

    QEMU leaves it as it is after reset, without a word.

    Fix: start the destination with the devices of the image.
    """
    sections = (survey.destination.sections if survey.destination else None) or {}
    there = {text(name) for name, _ in survey.names}
    if not survey.whole or survey.destination is None:
        return
    for name in sections:
        if name not in there:
            yield _missing(survey, shown(name.encode()), f"version {sections[name]}")
    sent = {(text(name), instance) for name, instance in survey.names}
    for name, instances in (survey.destination.instances or {}).items():
        lacking = [number for number in instances if (name, number) not in sent]
        if name in there and lacking and len(lacking) < len(instances):
            told = f"{shown(name.encode())} #{lacking[0]}"
            yield _missing(survey, told, f"{len(instances)} of them, {len(lacking)} more")


def _missing(survey: Survey, what: str, expected: str) -> Observation:
    offset = survey.image.container.stream_offset
    return Observation(f"no section {what} in the image", offset, "", "no such section", expected)
