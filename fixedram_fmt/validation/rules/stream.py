"""Area S, the stream: how it begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema.ram import RAM_RECORD
from fixedram_fmt.stream.ending import sections_follow
from fixedram_fmt.stream.footers import GLOBALSTATE_IDSTR
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.causes import first_number
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import Effect, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, at_records, at_stop
from fixedram_fmt.validation.rules.configuration import announced_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_QCOW2 = b"QFI\xfb"
#: How much of what follows a stream is looked at for the magic of a disk image.
_LOOK = 1 << 20

_SAVEVM = "FORMAT 4; migration/savevm.c "


@at_stop(
    "S01",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_state_header()",
    "magic",
    "offset",
    effect=refuses("magic"),
)
def no_stream(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The file does not begin with a migration stream.

    A stream begins with QEVM, a libvirt save with LibvirtQemudSave.

    Fix: give PATH@OFFSET or --search if the stream starts further in.
    """
    yield Observation.of(error)


def _version(case: Case) -> Effect:
    """Version 2 has a message of its own."""
    return refuses("stream-version-2" if case.finding.found == "2" else "stream-version")


@at_stop("S02", Severity.ERROR, _SAVEVM + "qemu_loadvm_state_header()", "version", effect=_version)
def stream_version(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The stream has a version that is not 3.

    Version 2 is of before 2009, later ones do not exist.

    Fix: load it with the QEMU that wrote it.
    """
    yield Observation.of(error)


def _truncated(case: Case) -> Effect:
    """What a loader says of a stream that ends in a structure, by the structure."""
    path, found = case.finding.path, case.finding.found
    structure = path.rpartition("/")[2]
    if path == "header":
        return refuses("magic" if not found.isdigit() or int(found) < 4 else "stream-version")
    if path.startswith("configuration/machine"):
        return refuses("field", vmsd="configuration", field=path.rpartition(".")[2])
    if path.startswith("command"):  # the length is checked before the arguments are read
        return refuses("command-length" if "length" in case.finding.holes else "end-of-file")
    if "/ram/block" in path:
        return refuses("header-cut", length=int(found) if structure == "header" else 0)
    if "/ram/record" in path:
        return _cut_record(case)
    return _CUT.get(structure, refuses("end-of-file"))


#: Structures of a container that is cut short: QEMU does not come as far as to a stream.
_OTHERS = {
    "qcow2": Effect(Outcome.REFUSES, text="the disk is not opened"),
    **dict.fromkeys(("xen", "libxl", "libxc"), refuses("magic")),
}


def _cut_short(case: Case) -> Effect:
    return _OTHERS.get(case.finding.path.partition("/")[0]) or _truncated(case)


#: What is missing of a footer is read as zeros.
_CUT = {
    "footer": refuses("footer-id", footer_id=0),
    "header.idstr": refuses("idstr"),
    "header.instance_id": refuses("instance-and-version"),
    "header.version_id": refuses("instance-and-version"),
    "header": refuses("section-id"),
}


#: What is expected where the word of a record is cut.
_WORD = f"{RAM_RECORD.size} bytes"


def _cut_record(case: Case) -> Effect:
    """A record that carries a page is refused by its flags, whether the page is there or not.

    Of an ordinary stream ram_load_precopy() has a line for the word, ram_block_from_stream() one
    for the name, as far as it is there; a page that is cut has none.
    """
    survey, offset, path = case.survey, case.finding.offset, case.finding.path
    if survey is None or offset is None:
        return refuses("ram-address")
    source = survey.image.source
    if not survey.mapped:
        if path.rpartition("/")[2].startswith("idstr"):
            name = source.read_upto(offset + 1, 255)
            return refuses("ram-block", block=c_text(name))
        return refuses("ram-address" if case.finding.expected == _WORD else "ram-cut")
    return refuses("ram-address" if source.size < offset + 8 else "ram-flags")


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
    effect=_cut_short,
)
def structure_broken(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The stream cannot be read on: the file ends in a structure, or a structure is damaged.

    What comes after this place is not judged.

    Fix: get the file again or save again; if the save was cut off, what lies before is intact, and
    fixedram rescue IMAGE -o RESCUED makes an image of its memory.
    """
    if survey is None or not _told_elsewhere(survey, error):
        yield Observation.of(error)


def _told_elsewhere(survey: Survey, error: FormatError) -> bool:
    """Whether another rule says what lies after an error: the layout, a count, the description."""
    return (
        survey.hidden_layout is not None
        or error.path.startswith("vmdescription")
        or announced_length(survey, error) is not None
    )


@at_stop(
    "S04",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_state_main()",
    "no-eof",
    effect=refuses("end-of-file"),
)
def no_eof(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The stream has no EOF byte: the save never finished, or its end is lost.

    QEMU ends a save with EOF when every device has been written; it refuses a stream without.

    Fix: save the guest again; memory up to here may be used with care.
    """
    yield Observation.of(error)


def _section_type(case: Case) -> Effect:
    return refuses("section-type", type=first_number(case.finding.found))


@at_stop(
    "S05",
    Severity.ERROR,
    _SAVEVM + "qemu_loadvm_state_main()",
    "section-type",
    effect=_section_type,
)
def section_type_unknown(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A byte that begins no section stands where one should begin.

    The sections before it are longer or shorter than they say, or bytes were lost or added.

    Fix: compare with a good image of the same machine (fixedram dump) around this offset.
    """
    if survey is None or survey.unfooted is None:
        yield Observation.of(error)


@at_records("S18", Severity.WARNING, _SAVEVM + "qemu_loadvm_state()", Kind.TRAILING)
def trailing_bytes(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """Bytes follow the end of the stream.

    QEMU does not look at them. They may be left of a longer, older file, and hold memory of
    another guest; or they are somebody else's: a disk's, another save's.

    Fix: cut the file off here (truncate -s OFFSET), if nobody else owns these bytes.
    """
    extents = survey.image.source.extents(record.offset, record.stop)
    data = sum(extent.stop - extent.start for extent in extents if extent.data)
    if data:
        owner = _owner_of_tail(survey, record.offset)
        yield Observation(
            f"{record.length} bytes after the stream" + (f": {owner}" if owner else ""),
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
    if image.container.kind == "offset":
        return "the stream lies inside a file that is somebody else's"
    if sections_follow(source, offset):
        return "they hold sections of another save, or of this one"
    if image.vmdesc is None and not any(
        header.value.idstr == GLOBALSTATE_IDSTR for header in survey.started.values()
    ):
        return "nothing confirms that the stream ends here"
    return ""


@at_stop("S19", Severity.ERROR, _SAVEVM + "vmstate_load()", "device-end", effect=refuses("footer"))
def device_without_end(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The end of a device's state cannot be found.

    Neither the description nor a footer says where it is, so nothing behind it is judged.

    Fix: save the guest again; a stream needs a description or footers.
    """
    yield Observation.of(error)


@at_stop(
    "S21",
    Severity.ERROR,
    "FORMAT 8; hw/core/machine.c qdev_machine_creation_done()",
    "end-unconfirmed",
    effect=wrong("devices whose sections are missing are left as a reset leaves them"),
)
def end_unconfirmed(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """Where the stream seems to end, sections may be missing.

    A save that was cut off between two sections, in a file that goes on with zeros or with older
    data, looks as if it ended. QEMU loads it, and the devices that are missing stay as a reset
    leaves them. The last section of a machine, globalstate, has not come, and no description
    confirms the end.

    Fix: save the guest again; of a machine with store-global-state=off compare the sections with
    those of another save.
    """
    yield Observation.of(error)
