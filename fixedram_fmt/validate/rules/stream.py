"""Area S: how the stream is framed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.records import SECTION_HEADERS, Kind, Record
from fixedram_fmt.schema.base import c_string, is_printable, text
from fixedram_fmt.schema.ram import RAM_IDSTR
from fixedram_fmt.stream.ending import sections_follow
from fixedram_fmt.stream.footers import GLOBALSTATE_IDSTR
from fixedram_fmt.validate.rule import Found, Severity, at_records, at_stop
from fixedram_fmt.validate.rules.configuration import announced_length
from fixedram_fmt.validate.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validate.survey import Survey

_QCOW2 = b"QFI\xfb"
#: How much of what follows a stream is looked at for the magic of a disk image.
_LOOK = 1 << 20

#: idstr of what is gone since 9.1 (migration/block.c).
_REMOVED = frozenset({b"block"})
_SAVEVM = "FORMAT 2; migration/savevm.c "


def _as_it_is(error: FormatError) -> Found:
    return Found(error.message, error.offset, error.path, error.found, error.expected)


@at_stop("S01", Severity.ERROR, _SAVEVM + "qemu_loadvm_state_header()", "magic", "offset")
def no_stream(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The file does not begin with a migration stream.

    A stream begins with QEVM, a libvirt save with LibvirtQemudSave.

    Fix: give PATH@OFFSET or --search if the stream starts further in.
    """
    yield _as_it_is(error)


@at_stop("S02", Severity.ERROR, _SAVEVM + "qemu_loadvm_state_header()", "version")
def stream_version(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The stream has a version that is not 3.

    Version 2 is of before 2009, later ones do not exist.

    Fix: load it with the QEMU that wrote it.
    """
    yield _as_it_is(error)


@at_stop(
    "S03",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_state_main()",
    "truncated",
    "length",
    "framing",
    "sections-endless",
    "list-endless",
    "capabilities-endless",
    "continue-first",
    "device-cut",
    "",
)
def structure_broken(survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The stream cannot be read on: the file ends in a structure, or a structure is damaged.

    What comes behind this place is not judged.

    Fix: get the file again or save again; if the save was cut off, what lies before is intact.
    """
    if survey is None or not _told_elsewhere(survey, error):
        yield _as_it_is(error)


def _told_elsewhere(survey: Survey, error: FormatError) -> bool:
    """Whether another rule says what lies behind an error: the layout, a count, the description."""
    return (
        survey.hidden_layout is not None
        or error.path.startswith("vmdescription")
        or announced_length(survey, error) is not None
    )


@at_stop("S04", Severity.ERROR, _SAVEVM + "qemu_loadvm_state_main()", "no-eof")
def no_eof(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The stream has no EOF byte: the save never finished, or its end is lost.

    QEMU ends a save with EOF when every device has been written; it refuses a stream without.

    Fix: save the guest again; memory up to here may be used with care.
    """
    yield _as_it_is(error)


@at_stop("S05", Severity.ERROR, _SAVEVM + "qemu_loadvm_state_main()", "section-type")
def section_type_unknown(survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """A byte that begins no section stands where one should begin.

    The sections before it are longer or shorter than they say, or bytes were lost or added.

    Fix: compare with a good image of the same machine (fixedram dump) around this offset.
    """
    if survey is None or survey.unfooted is None:
        yield _as_it_is(error)


_BEHIND_SECTION = (*SECTION_HEADERS, Kind.COMMAND, Kind.EOF)


@at_records("S09", Severity.ERROR, _SAVEVM + "check_section_footer()", *_BEHIND_SECTION)
def footer_missing(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """No footer stands behind a section.

    QEMU takes that for a device that read too much or too little, and refuses. Only machines with
    send-section-footer=off have none.

    Fix: save again; a writer of images must end each section with 7e and its id.
    """
    if survey.unfooted is not None:
        yield _missing_footer(survey.unfooted, record.offset)


@at_stop("S10", Severity.ERROR, _SAVEVM + "check_section_footer()", "section-type")
def footer_type(survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """What stands behind a section is no footer, and no section either.

    The section's end is not where its content says, or the footer is damaged.

    Fix: compare with a good image of the same machine (fixedram dump) around this offset.
    """
    if survey is not None and survey.unfooted is not None and error.offset is not None:
        yield _missing_footer(survey.unfooted, error.offset)


def _missing_footer(header: Record[Any], offset: int) -> Found:
    return Found(
        "no footer behind this section",
        offset,
        header.path.removesuffix("/header"),
        "another byte",
        f"7e and section id {header.value.section_id}",
    )


@at_records("S11", Severity.ERROR, _SAVEVM + "check_section_footer()", Kind.SECTION_FOOTER)
def footer_of_another_section(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A footer carries the id of another section.

    QEMU checks it and refuses.

    Fix: save again; a writer must repeat the section's id in its footer.
    """
    header = survey.section
    if header is not None and header.value.section_id != record.value.section_id:
        yield Found(
            "the footer is another section's",
            record.offset + 1,
            record.path,
            str(record.value.section_id),
            str(header.value.section_id),
        )


@at_stop("S12", Severity.ERROR, _SAVEVM + "qemu_loadvm_section_part_end()", "part-without-start")
def part_without_start(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """A PART or END of a section that has not started.

    Its body cannot be told without knowing whose it is, so nothing behind it is judged.

    Fix: put the START first, or remove the PART.
    """
    yield _as_it_is(error)


@at_records(
    "S25",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_section_part_end()",
    Kind.SECTION_PART,
    Kind.SECTION_END,
)
def part_of_section_0(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A PART or END of section id 0, which is not the first device's.

    In QEMU every device has id 0 until its section starts, and a PART goes to the first one that
    has the id: to `timer`, or whatever comes first in its list. That one refuses version 0.

    Fix: give the section an id other than 0; QEMU gives 0 to `timer`.
    """
    if record.value.section_id == 0 and record.section != b"timer":
        yield Found(
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
def name_with_nul(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A name goes on after a NUL byte.

    QEMU compares names as C strings: it does not see what follows the NUL, and a name that starts
    with NUL is the empty name to it. It writes no such name.

    Fix: save the guest again; the name is damaged, or hides something from other tools.
    """
    names = (getattr(record.value, field, b"") for field in ("name", "idstr"))
    name = b"".join(names)
    known = c_string(name)
    if known and known != name and is_printable(known):
        yield Found(
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
def part_after_end(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A PART or END of a section that has ended already.

    QEMU does not write that; it reads it all the same.

    Fix: check who wrote the image: sections may have been copied twice.
    """
    start = survey.started.get(record.value.section_id)
    device = start is not None and start.kind is Kind.SECTION_FULL and not survey.in_ram
    if record.value.section_id in survey.ended or device:
        yield Found(
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
def section_id_reused(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A section id is used for a second section.

    PARTs and footers name a section by its id alone; which one is meant is chance.

    Fix: give every section an id of its own.
    """
    value = record.value
    handler = c_string(value.idstr), value.instance_id
    if value.section_id in survey.started and handler not in survey.names:
        before = survey.started[value.section_id]
        yield Found(
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
def section_twice(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """The same section (name and instance) is there twice.

    The second one overwrites the first when it is loaded.

    Fix: check who wrote the image: sections may have been copied twice.
    """
    value = record.value
    if (c_string(value.idstr), value.instance_id) in survey.names:
        yield Found(
            f"{shown(value.idstr)} #{value.instance_id} is there already",
            record.offset,
            record.path,
            "a second one",
            "each section once",
        )


@at_records("S16", Severity.WARNING, _SAVEVM + "save_section_header()", Kind.EOF)
def section_never_ended(survey: Survey, record: Record[Any]) -> Iterator[Found]:
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
            yield Found(
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


@at_records("S17", Severity.ERROR, _SAVEVM + "find_se()", Kind.SECTION_START, Kind.SECTION_FULL)
def section_name(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A section's name is empty or not printable.

    No device of QEMU has such a name, so none will take the section.

    Fix: save the guest again; the header is damaged.
    """
    idstr = c_string(record.value.idstr)
    if not idstr or not is_printable(idstr):
        yield Found(
            "no device is called so",
            record.offset + 5,
            record.path,
            shown(record.value.idstr),
            "visible ASCII",
        )


@at_records("S24", Severity.ERROR, _SAVEVM + "find_se()", Kind.SECTION_START, Kind.SECTION_FULL)
def section_of_removed_feature(_survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """A section of a feature that QEMU no longer has.

    Block migration (`block`) was removed in 9.1: nothing takes its section there, not even an
    empty one.

    Fix: save again without the feature (migrate without -b), or load it with the QEMU of the time.
    """
    name = c_string(record.value.idstr)
    if name in _REMOVED:
        yield Found(
            "no QEMU of today has this section",
            record.offset + 5,
            record.path,
            shown(name),
            "a device of QEMU 10 or 11",
            holes={"name": text(name), "instance": record.value.instance_id},
        )


@at_records("S18", Severity.WARNING, _SAVEVM + "qemu_loadvm_state()", Kind.TRAILING)
def trailing_bytes(survey: Survey, record: Record[Any]) -> Iterator[Found]:
    """Bytes follow the end of the stream.

    QEMU does not look at them. They may be left of a longer, older file, and hold memory of
    another guest; or they are somebody else's: a disk's, another save's.

    Fix: cut the file off here (truncate -s OFFSET), if nobody else owns these bytes.
    """
    extents = survey.image.source.extents(record.offset, record.stop)
    data = sum(extent.stop - extent.start for extent in extents if extent.data)
    if data:
        owner = _owner_of_tail(survey, record.offset)
        yield Found(
            f"{record.length} bytes behind the stream" + (f": {owner}" if owner else ""),
            record.offset,
            record.path,
            f"{record.length} bytes",
            "the end of the file",
            fix=f"leave them as they are: {owner}." if owner else "",
        )


def _owner_of_tail(survey: Survey, offset: int) -> str:
    """Whose the bytes after the stream, from offset on, may be; empty: nobody's that is known."""
    image, source = survey.image, survey.image.source
    if source.is_device:
        return "this is a disk"
    if source.read_upto(0, 4) == _QCOW2 or _QCOW2 in source.read_upto(offset, _LOOK):
        return "a qcow2 disk image is around the stream"
    if image.container.stream_offset and not image.container.libvirt:
        return "the stream lies inside a file that is somebody else's"
    if sections_follow(source, offset):
        return "they hold sections of another save, or of this one"
    if image.vmdesc is None and not any(
        header.value.idstr == GLOBALSTATE_IDSTR for header in survey.started.values()
    ):
        return "nothing confirms that the stream ends here"
    return ""


@at_stop("S19", Severity.ERROR, _SAVEVM + "vmstate_load()", "device-end")
def device_without_end(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """The end of a device's state cannot be found.

    Neither the description nor a footer says where it is, so nothing behind it is judged.

    Fix: save the guest again; a stream needs a description or footers.
    """
    yield _as_it_is(error)


@at_stop(
    "S21",
    Severity.ERROR,
    "FORMAT 5; hw/core/machine.c qdev_machine_creation_done()",
    "end-unconfirmed",
)
def end_unconfirmed(_survey: Survey | None, error: FormatError) -> Iterator[Found]:
    """Where the stream seems to end, sections may be missing.

    A save that was cut off between two sections, in a file that goes on with zeros or with older
    data, looks as if it ended. QEMU loads it, and the devices that are missing stay as a reset
    leaves them. The last section of a machine, globalstate, has not come, and no description
    confirms the end.

    Fix: save the guest again; of a machine with store-global-state=off compare the sections with
    those of another save.
    """
    yield _as_it_is(error)
