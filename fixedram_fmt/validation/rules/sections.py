"""Area S, sections: names, ids, footers, parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.loaders import known_qemus
from fixedram_fmt.schema.base import c_string, is_printable, text
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.records import SECTION_HEADERS, Kind, Record
from fixedram_fmt.validation.causes import first_number
from fixedram_fmt.validation.ctext import c_int
from fixedram_fmt.validation.effects import refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_records, at_stop
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

#: idstr of what is gone since 9.1 (migration/block.c).
_REMOVED = frozenset({b"block"})
_SAVEVM = "FORMAT 5; migration/savevm.c "
_BEHIND_SECTION = (*SECTION_HEADERS, Kind.COMMAND, Kind.EOF)


@at_records(
    "S09",
    Severity.ERROR,
    _SAVEVM + "check_section_footer()",
    *_BEHIND_SECTION,
    effect=refuses("footer"),
)
def footer_missing(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """No footer stands behind a section.

    QEMU takes that for a device that read too much or too little, and refuses. Only machines with
    send-section-footer=off have none.

    Fix: save again; a writer of images must end each section with 7e and its id.
    """
    if survey.unfooted is not None:
        yield _missing_footer(survey.unfooted, record.offset)


@at_stop(
    "S10",
    Severity.ERROR,
    _SAVEVM + "check_section_footer()",
    "section-type",
    effect=refuses("footer"),
)
def footer_type(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """What stands behind a section is no footer, and no section either.

    The section's end is not where its content says, or the footer is damaged.

    Fix: compare with a good image of the same machine (fixedram dump) around this offset.
    """
    if survey is not None and survey.unfooted is not None and error.offset is not None:
        yield _missing_footer(survey.unfooted, error.offset)


def _missing_footer(header: Record[Any], offset: int) -> Observation:
    return Observation(
        "no footer after this section",
        offset,
        header.path.removesuffix("/header"),
        "another byte",
        f"7e and section id {header.value.section_id}",
    )


def _footer_id(case: Case) -> Effect:
    return refuses("footer-id", footer_id=first_number(case.finding.found))


@at_records(
    "S11",
    Severity.ERROR,
    _SAVEVM + "check_section_footer()",
    Kind.SECTION_FOOTER,
    effect=_footer_id,
)
def footer_of_another_section(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A footer carries the id of another section.

    QEMU checks it and refuses.

    Fix: save again; a writer must repeat the section's id in its footer.
    """
    header = survey.section
    if header is not None and header.value.section_id != record.value.section_id:
        yield Observation(
            "the footer is another section's",
            record.offset + 1,
            record.path,
            str(record.value.section_id),
            str(header.value.section_id),
        )


def _unknown_id(case: Case) -> Effect:
    return refuses("unknown-section-id", section_id=c_int(first_number(case.finding.found)))


@at_stop(
    "S12",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_section_part_end()",
    "part-without-start",
    effect=_unknown_id,
)
def part_without_start(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A PART or END of a section that has not started.

    Its body cannot be told without knowing whose it is, so nothing behind it is judged.

    Fix: put the START first, or remove the PART.
    """
    yield Observation.of(error)


@at_records(
    "S25",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_section_part_end()",
    Kind.SECTION_PART,
    Kind.SECTION_END,
    effect=refuses("version-old", vmsd="timer", version=0),
)
def part_of_section_0(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A PART or END of section id 0, which is not the first device's.

    In QEMU every device has id 0 until its section starts, and a PART goes to the first one that
    has the id: to `timer`, or whatever comes first in its list. That one refuses version 0.

    Fix: give the section an id other than 0; QEMU gives 0 to `timer`.
    """
    if record.value.section_id == 0 and record.section != b"timer":
        yield Observation(
            "another device has id 0",
            record.offset + 1,
            record.path,
            f"section id 0 for {shown(record.section)}",
            "an id other than 0",
        )


@at_records(
    "S22",
    Severity.WARNING,
    _SAVEVM + "qemu_loadvm_section_start_full()",
    Kind.CONFIGURATION,
    Kind.SUBSECTION,
    Kind.SECTION_START,
    Kind.SECTION_FULL,
    Kind.BLOCK,
)
def name_with_nul(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A name goes on after a NUL byte.

    QEMU compares names as C strings: it does not see what follows the NUL, and a name that starts
    with NUL is the empty name to it. It writes no such name.

    Fix: save the guest again; the name is damaged, or hides something from other tools.
    """
    names = (getattr(record.value, field, b"") for field in ("name", "idstr"))
    name = b"".join(names)
    known = c_string(name)
    if known and known != name and is_printable(known):
        yield Observation(
            "a NUL in a name",
            record.offset,
            record.path,
            shown(name),
            f"{shown(known)}, which QEMU reads",
        )


@at_records(
    "S13",
    Severity.WARNING,
    _SAVEVM + "qemu_savevm_state_complete_precopy_iterable()",
    Kind.SECTION_PART,
    Kind.SECTION_END,
)
def part_after_end(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A PART or END of a section that has ended already.

    QEMU does not write that; it reads it all the same.

    Fix: check who wrote the image: sections may have been copied twice.
    """
    start = survey.started.get(record.value.section_id)
    device = start is not None and start.kind is Kind.SECTION_FULL and not survey.in_ram
    if record.value.section_id in survey.ended or device:
        yield Observation(
            "this section has ended before",
            record.offset,
            record.path,
            f"section id {record.value.section_id}",
            "an open section",
        )


@at_records(
    "S14",
    Severity.WARNING,
    _SAVEVM + "save_section_header()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
)
def section_id_reused(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A section id is used for a second section.

    PARTs and footers name a section by its id alone; which one is meant is chance.

    Fix: give every section an id of its own.
    """
    value = record.value
    handler = c_string(value.idstr), value.instance_id
    if value.section_id in survey.started and handler not in survey.names:
        before = survey.started[value.section_id]
        yield Observation(
            f"section id {value.section_id} is that of {shown(before.value.idstr)} too",
            record.offset + 1,
            record.path,
            str(value.section_id),
            "an id of its own",
        )


@at_records(
    "S15",
    Severity.WARNING,
    _SAVEVM + "register_savevm_live()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
)
def section_twice(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The same section (name and instance) is there twice.

    The second one overwrites the first when it is loaded.

    Fix: check who wrote the image: sections may have been copied twice.
    """
    value = record.value
    if (c_string(value.idstr), value.instance_id) in survey.names:
        yield Observation(
            f"{shown(value.idstr)} #{value.instance_id} is there already",
            record.offset,
            record.path,
            "a second one",
            "each section once",
        )


@at_records("S16", Severity.WARNING, _SAVEVM + "save_section_header()", Kind.EOF)
def section_never_ended(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A section that was started has no END.

    QEMU writes an END for every START, and loads a stream without one. What the END would have
    carried (the last dirty pages of a device, say) is missing. The ram of a background snapshot
    needs none: its pages do not change.

    Fix: save the guest again.
    """
    snapshot = not survey.mapped and is_background_snapshot(survey)
    for section_id, header in survey.started.items():
        if snapshot and header.value.idstr == RAM_IDSTR:
            continue
        if section_id not in survey.ended and header.kind is Kind.SECTION_START:
            yield Observation(
                f"{shown(header.value.idstr)} has no END",
                header.offset,
                header.path,
                "EOF",
                f"an END of section id {section_id}",
            )


def is_background_snapshot(survey: Survey) -> bool:
    """Whether the ram section ends as in migration/migration.c bg_migration_thread().

    PARTs and no END, and no SWITCHOVER_START, which other saves have since QEMU 10.0.
    """
    rams = [
        section_id
        for section_id, header in survey.started.items()
        if header.value.idstr == RAM_IDSTR and header.kind is Kind.SECTION_START
    ]
    ended = any(section_id in survey.ended for section_id in rams)
    return bool(rams and survey.ram_parts) and not ended and not survey.switches_over


@at_records(
    "S17",
    Severity.ERROR,
    _SAVEVM + "find_se()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
    effect=refuses("unknown-section"),
)
def section_name(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A section's name is empty or not printable.

    No device of QEMU has such a name, so none will take the section.

    Fix: save the guest again; the header is damaged.
    """
    idstr = c_string(record.value.idstr)
    if not idstr or not is_printable(idstr):
        yield Observation(
            "no device is called so",
            record.offset + 5,
            record.path,
            shown(record.value.idstr),
            "visible ASCII",
        )


@at_records(
    "S24",
    Severity.ERROR,
    _SAVEVM + "find_se()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
    effect=refuses("unknown-section"),
)
def section_of_removed_feature(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A section of a feature that QEMU no longer has.

    Block migration (`block`) was removed in 9.1: nothing takes its section there, not even an
    empty one.

    Fix: save again without the feature (migrate without -b), or load it with the QEMU of the time.
    """
    name = c_string(record.value.idstr)
    if name in _REMOVED:
        yield Observation(
            "no QEMU of today has this section",
            record.offset + 5,
            record.path,
            shown(name),
            f"a device of {known_qemus()}",
            holes={"name": text(name), "instance": record.value.instance_id},
        )
