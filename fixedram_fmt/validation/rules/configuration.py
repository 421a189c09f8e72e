"""Area G: the configuration section: machine, subsections, page size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.loaders import Outcome, known_qemus
from fixedram_fmt.schema.base import c_string, is_printable
from fixedram_fmt.schema.ram import is_page_size
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.causes import first_number, machine, page_bits
from fixedram_fmt.validation.ctext import c_int, c_text
from fixedram_fmt.validation.effects import Effect, refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_records, at_stop, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_CONFIGURATION = "FORMAT 4; migration/savevm.c "

#: Subsections of vmstate_configuration, all of version 1.
_SUBSECTIONS = frozenset(
    f"configuration/{name}".encode() for name in ("target-page-bits", "capabilities", "uuid")
)
#: Longer than any machine type's name, and where its length stands behind the stream's start.
_NAME_CEILING = 255
_NAME_LENGTH_AT = 9
#: More capabilities than any stream names.
COUNT_CEILING = 64


@over_image(
    "G01",
    Severity.ERROR,
    _CONFIGURATION + "qemu_loadvm_state_header()",
    effect=refuses("no-configuration"),
)
def no_configuration(survey: Survey) -> Iterator[Observation]:
    """There is no configuration section.

    Streams of before QEMU 2.4 have none. Machine and capabilities are unknown then, and QEMU
    refuses unless it is told not to expect one (send-configuration=off).

    Fix: load it with -global migration.send-configuration=off, if it is that old.
    """
    if survey.kinds and Kind.CONFIGURATION not in survey.kinds and survey.order > 1:
        offset = survey.image.container.stream_offset + 8
        yield Observation(
            "no configuration section", offset, "configuration", "another section", "07", order=1
        )


@at_records(
    "G02", Severity.WARNING, _CONFIGURATION + "configuration_post_load()", Kind.CONFIGURATION
)
def machine_empty(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The machine type's name is empty.

    The name need only be a prefix of the local machine's, so an empty one fits every machine:
    nothing keeps this image from being loaded into the wrong one.

    Fix: save the guest again.
    """
    if not record.value.name:
        yield Observation("no machine type", record.offset + 1, record.path, "0 bytes", "a name")


@at_records(
    "G03",
    Severity.ERROR,
    _CONFIGURATION + "configuration_post_load()",
    Kind.CONFIGURATION,
    effect=machine,
)
def machine_unprintable(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The machine type's name holds bytes that no name has.

    No machine of QEMU is called so; a terminal that prints the name raw obeys it.

    Fix: save the guest again; the name is damaged or an attack.
    """
    name = c_string(record.value.name)
    if not is_printable(name) or (record.value.name and not name):
        yield Observation(
            "no machine is called so",
            record.offset + 5,
            record.path,
            shown(record.value.name),
            "visible ASCII",
        )


def announced_length(survey: Survey, error: FormatError) -> int | None:
    """What a count of the configuration says, where the walk stopped because it is too large.

    That is the length of the machine type's name, or the number of capabilities.
    """
    source, start = survey.image.source, survey.image.container.stream_offset
    if error.code in ("truncated", "length") and error.path.startswith("configuration/machine"):
        raw = source.read_upto(start + _NAME_LENGTH_AT, 4)
        length = int.from_bytes(raw, "big")
        return length if len(raw) == 4 and length > _NAME_CEILING else None
    if survey.capability_count and error.path.startswith("configuration/subsection"):
        count = survey.capability_count[0]
        return count if count > COUNT_CEILING else None
    return None


#: Counts that are negative as the C int QEMU multiplies with: the allocation fails, QEMU aborts.
_NEGATIVE_INT = 1 << 31
_SIZE_MAX = (1 << 64) - 1


def _name_allocation(case: Case) -> Effect:
    return failed_allocation(case, 1) or refuses("field", vmsd="configuration", field="name")


def failed_allocation(case: Case, size: int) -> Effect | None:
    """What comes of an allocation of that many elements of size bytes, where it fails."""
    count = int(case.finding.found)
    if count < _NEGATIVE_INT:
        return None
    return Effect(Outcome.CRASHES, "allocation", {"bytes": c_int(count) * size & _SIZE_MAX})


@at_stop(
    "G04",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_configuration",
    "truncated",
    "length",
    effect=_name_allocation,
    since={11: refuses("field", vmsd="configuration", field="name")},
)
def machine_too_long(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The machine type's name is longer than any.

    QEMU allocates what the length says before it reads the name.

    Fix: save the guest again; the length is damaged.
    """
    if survey is None or not error.path.startswith("configuration/machine"):
        return
    length = announced_length(survey, error)
    if length is not None:
        offset = survey.image.container.stream_offset + _NAME_LENGTH_AT
        yield Observation(
            "no machine has such a long name",
            offset,
            error.path,
            str(length),
            f"at most {_NAME_CEILING}",
        )


@at_stop(
    "G09",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_subsection_load()",
    "subsection",
    effect=refuses("subsection"),
)
def subsection_without_end(_survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A subsection of the configuration that nobody knows, and whose end cannot be found.

    Subsections do not carry their length, so nothing behind this one can be read. QEMU refuses it.

    Fix: load it with the QEMU that wrote it.
    """
    yield Observation.of(error)


@at_records(
    "G10",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_subsection_load()",
    Kind.UNKNOWN,
    effect=refuses("subsection"),
)
def subsection_unknown(survey: Survey, _body: Record[Any]) -> Iterator[Observation]:
    """A subsection of the configuration that QEMU does not know.

    A subsection is sent because it must not be lost: QEMU refuses what it does not know.

    Fix: load it with the QEMU that wrote it.
    """
    header = survey.previous
    if header is not None and header.kind is Kind.SUBSECTION:
        yield Observation(
            "unknown subsection",
            header.offset + 2,
            header.path,
            shown(header.value.idstr),
            f"a subsection of {known_qemus()}",
        )


def _version_of_subsection(case: Case) -> Effect:
    """QEMU keeps the low byte of the version; all subsections have version 1."""
    version = first_number(case.finding.found) & 0xFF
    says = "version-new" if version else "version-old"
    return refuses(says, version=version, local_version=1)


@at_records(
    "G11",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_load_state()",
    Kind.SUBSECTION,
    effect=_version_of_subsection,
)
def subsection_version(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A subsection of the configuration has another version than 1.

    QEMU keeps the low byte of the version, and takes no other than the one it knows.

    Fix: load it with the QEMU that wrote it.
    """
    if c_string(record.value.idstr) in _SUBSECTIONS and record.value.version_id & 0xFF != 1:
        yield Observation(
            "unknown version of a subsection",
            record.stop - 4,
            record.path,
            str(record.value.version_id),
            "1",
            holes={"vmsd": c_text(record.value.idstr)},
        )


@at_records("G12", Severity.WARNING, _CONFIGURATION + "vmstate_subsection_load()", Kind.SUBSECTION)
def subsection_twice(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A subsection of the configuration is there twice; the last one counts.

    One of the two is not what the sender meant, and nothing tells which.

    Fix: check who wrote the image.
    """
    if c_string(record.value.idstr) in survey.subsections:
        yield Observation(
            "there already",
            record.offset,
            record.path,
            shown(record.value.idstr),
            "each subsection once",
        )


@at_records(
    "G13",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_target_page_bits",
    Kind.TARGET_PAGE_BITS,
    effect=page_bits,
)
def page_bits_impossible(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The target's page size is one that no target has.

    All addresses and bitmaps are counted in pages. QEMU refuses a size that is not its own.

    Fix: save the guest again; target_page_bits is damaged.
    """
    bits = record.value.target_page_bits
    if bits > 63 or not is_page_size(1 << bits):
        yield Observation(
            "no target has such pages",
            record.offset,
            record.path,
            f"2^{bits} bytes",
            "2^8 to 2^16",
            holes={"bits": c_int(bits)},
        )


@over_image("G14", Severity.ERROR, _CONFIGURATION + "configuration_post_load()", effect=page_bits)
def page_bits_contradict(survey: Survey) -> Iterator[Observation]:
    """The page size of the configuration is not that of the description.

    Both are the target's; QEMU refuses when the configuration's is not its own.

    Fix: save the guest again; one of the two is damaged.
    """
    told, vmdesc = survey.image.announced_page_size, survey.image.vmdesc
    if told and is_page_size(told) and vmdesc and vmdesc.page_size not in (None, told):
        yield Observation(
            "two page sizes",
            survey.image.container.stream_offset,
            "configuration",
            str(told),
            f"{vmdesc.page_size}, as the description says",
            holes={"bits": told.bit_length() - 1},
        )
