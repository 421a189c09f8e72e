"""Area R: the records of the ram section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.schema import stream
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.schema.ram import RAM_IDSTR, RAM_VERSION, RamSaveFlag
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.causes import first_number, ram_word
from fixedram_fmt.validation.ctext import c_int
from fixedram_fmt.validation.effects import refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, at_records, at_stop, over_image
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.errors import FormatError
    from fixedram_fmt.validation.effects import Effect
    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_LOAD = "FORMAT 6; migration/ram.c ram_load_precopy()"
_LIST = "FORMAT 6; migration/ram.c parse_ramblocks()"
#: More PARTs than a save of minutes has; QEMU writes empty ones when its bandwidth is unlimited.
_MANY_PARTS = 4096
_CARRIERS = (Kind.PAGE, Kind.ZERO, Kind.XBZRLE, Kind.COMPRESS_PAGE, Kind.HOOK)


@over_image("R01", Severity.ERROR, _LOAD, effect=wrong("no memory is loaded"))
def no_ram(survey: Survey) -> Iterator[Observation]:
    """There is no ram section: the stream holds no memory.

    QEMU loads such a stream without a word, and the guest wakes with empty memory. Of a Xen guest
    xen-save-devices-state writes the devices alone, and Xen keeps the memory.

    Fix: save the guest again; something ended the stream before its memory.
    """
    if survey.whole and not any(name == RAM_IDSTR for name, _ in survey.names):
        yield Observation(
            "no ram section before EOF",
            survey.image.container.stream_offset,
            "",
            "sections without memory",
            "a section `ram`",
        )


@over_image("R02", Severity.ERROR, _LIST, effect=wrong("no memory is loaded"), at_end=True)
def no_block_list(survey: Survey) -> Iterator[Observation]:
    """The ram section has no list of blocks (MEM_SIZE).

    Nothing says what memory there is, so none is loaded, without a word.

    Fix: save the guest again.
    """
    if survey.whole and not survey.mem_sizes:
        for header in survey.started.values():
            if c_string(header.value.idstr) == RAM_IDSTR:
                yield Observation(
                    "no MEM_SIZE in the ram section",
                    header.stop,
                    header.path,
                    "other records",
                    "MEM_SIZE",
                )


@at_records("R06", Severity.ERROR, _LOAD + " invalid_flags", *_CARRIERS, effect=ram_word)
def flag_not_allowed(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A record that has no place in a stream with a fixed layout.

    Pages lie at their offsets; records that carry them in the stream belong to ordinary streams.

    Fix: save the guest again; two writers have mixed their streams.
    """
    if survey.mapped and record.kind is not Kind.COMPRESS_PAGE:
        yield Observation(
            f"{record.kind.value.upper()} is invalid with a fixed layout",
            record.offset,
            record.path,
            record.kind.value.upper(),
            "MEM_SIZE or EOS",
        )


@at_stop("R07", Severity.ERROR, _LOAD, "flags", effect=ram_word)
def flags_unknown(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """A word that is no RAM record.

    It has no flag, one that nobody defined, or flags that exclude each other; what came before it
    ended elsewhere than it said.

    Fix: compare with a good image of the same machine (fixedram dump) around this offset.
    """
    if survey is None or survey.hidden_layout is not None:
        return
    if not _is_footer(survey, error):
        yield Observation.of(error)


@at_stop("R08", Severity.ERROR, _LOAD, "flags", effect=ram_word)
def eos_missing(survey: Survey | None, error: FormatError) -> Iterator[Observation]:
    """The records of a ram section do not end with EOS.

    The section's footer is read as a record then.

    Fix: save the guest again; a writer must end each ram section with EOS.
    """
    if survey is not None and _is_footer(survey, error):
        yield Observation(
            "no EOS before the footer", error.offset, error.path, "the section's footer", "EOS"
        )


def _is_footer(survey: Survey, error: FormatError) -> bool:
    if survey.section is None or error.offset is None:
        return False
    footer = stream.SectionFooter(
        int(stream.SectionType.SECTION_FOOTER), survey.section.value.section_id
    )
    raw = stream.SECTION_FOOTER.build(footer)
    return survey.image.source.read_upto(error.offset, len(raw)) == raw


@at_records("R09", Severity.ERROR, _LOAD, Kind.FULL, Kind.COMPRESS_PAGE, effect=ram_word)
def obsolete_flag(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A flag that QEMU no longer takes: FULL (never used since 2009) or COMPRESS_PAGE (until 9.0).

    QEMU stops there with an error; the page that comes with it would be lost.

    Fix: load it with a QEMU of the time, and save again.
    """
    yield Observation(
        f"{record.kind.value.upper()} is gone",
        record.offset,
        record.path,
        record.kind.value.upper(),
        "flags of today",
    )


@at_records("R10", Severity.NOTE, _LOAD, Kind.MEM_SIZE, Kind.EOS, Kind.MULTIFD_FLUSH)
def continue_without_page(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A record without a page has CONTINUE set.

    The flag says that a page belongs to the block of the one before; here it means nothing, and
    QEMU does not write it.
    """
    if record.value.word & RamSaveFlag.CONTINUE:
        yield Observation(
            "CONTINUE means nothing here",
            record.offset,
            record.path,
            f"{record.value.word:#x}",
            "no CONTINUE",
        )


@at_records("R11", Severity.NOTE, _LOAD, Kind.EOS, Kind.MULTIFD_FLUSH)
def address_without_page(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """An EOS or FLUSH carries an address.

    It means nothing there, and QEMU does not write it.
    """
    address = record.value.word & ~(survey.target_page_size - 1)
    if address:
        yield Observation(
            "an address means nothing here", record.offset, record.path, f"{address:#x}", "0"
        )


def _version(case: Case) -> Effect:
    """What is older than known is refused without a word of its own; printed as a C int."""
    version = first_number(case.finding.found)
    if version > RAM_VERSION:
        return refuses("section-version", version=c_int(version), local_version=RAM_VERSION)
    return refuses("ram-state")


@at_records(
    "R19",
    Severity.ERROR,
    "FORMAT 5; migration/ram.c ram_load()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
    effect=_version,
)
def ram_version(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The ram section has another version than 4.

    QEMU has written version 4 since 2009 and takes no other.

    Fix: save the guest again; the section's header is damaged.
    """
    value = record.value
    if c_string(value.idstr) == RAM_IDSTR and value.version_id != RAM_VERSION:
        yield Observation(
            "unknown version of ram",
            record.stop - 4,
            record.path,
            str(value.version_id),
            str(RAM_VERSION),
        )


@at_records(
    "R20",
    Severity.ERROR,
    "FORMAT 5; migration/savevm.c find_se()",
    Kind.SECTION_START,
    Kind.SECTION_FULL,
    effect=refuses("unknown-section"),
)
def ram_instance(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The ram section is of another instance than 0.

    There is one ram section, and it is instance 0.

    Fix: save the guest again; the section's header is damaged.
    """
    value = record.value
    if c_string(value.idstr) == RAM_IDSTR and value.instance_id:
        yield Observation(
            "no second ram", record.stop - 8, record.path, str(value.instance_id), "0"
        )


@at_records("R21", Severity.WARNING, "FORMAT 5", Kind.SECTION_FULL)
def ram_as_full(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The ram section is sent as SECTION_FULL, like a device.

    QEMU writes it as START, PARTs and END; it reads this all the same.

    Fix: check who wrote the image.
    """
    if c_string(record.value.idstr) == RAM_IDSTR:
        yield Observation(
            "ram as a FULL section", record.offset, record.path, "SECTION_FULL", "SECTION_START"
        )


@at_records("R22", Severity.NOTE, "FORMAT 5", Kind.EOF)
def no_parts(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The ram section has no PART or END.

    QEMU writes at least one PART and an END, and loads a stream without.  Where there is no memory
    it writes no PART.
    """
    if not survey.image.blocks:
        return
    headers = survey.started.values()
    started = [header for header in headers if c_string(header.value.idstr) == RAM_IDSTR]
    whole = survey.ram_parts - len([h for h in started if h.value.section_id in survey.ended])
    if started and whole <= 0 and started[0].kind is Kind.SECTION_START:
        yield Observation(
            "no PART between START and END", record.offset, started[0].path, "none", "at least one"
        )


@over_image("R23", Severity.NOTE, "FORMAT 6; migration/migration.c migration_iteration_run()")
def many_parts(survey: Survey) -> Iterator[Observation]:
    """Thousands of PARTs that hold nothing.

    QEMU writes them while it waits for its first measure of the bandwidth. They cost time on load
    and nothing else.
    """
    if survey.ram_parts > _MANY_PARTS:
        yield Observation(
            f"{survey.ram_parts} PARTs of ram",
            survey.image.container.stream_offset,
            "",
            str(survey.ram_parts),
            f"at most {_MANY_PARTS}",
        )


@at_records(
    "R24",
    Severity.ERROR,
    "FORMAT 6; migration/ram.c host_from_ram_block_offset()",
    Kind.PAGE,
    Kind.ZERO,
    Kind.XBZRLE,
    effect=refuses("ram-offset"),
)
def page_outside_block(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A page of an ordinary stream lies outside every block.

    There is no memory for it. QEMU refuses the stream.

    Fix: save the guest again; an address or a name is damaged.
    """
    run = record.value
    stop = run.address + run.pages * survey.target_page_size
    length = survey.lengths.get(run.block, 0)
    if not survey.mapped and stop > length:
        yield Observation(
            "a page outside its block",
            record.offset,
            record.path,
            f"{shown(run.block)} up to {stop:#x}",
            f"at most {length:#x}",
            holes={"address": max(run.address, length)},
        )


@at_records(
    "R29", Severity.ERROR, "FORMAT 6; migration/ram.c ram_load_precopy()", Kind.ZERO,
    effect=refuses("ram-zero"),
)  # fmt: skip
def zero_page_not_zero(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A page that is sent as one byte is filled with another byte than zero.

    QEMU 9.0 and later refuse it; the versions before fill the page with that byte. No QEMU since
    1.x writes any other than zero.

    Fix: save the guest again; the byte, or what precedes it, is damaged.
    """
    fill = record.value.fill
    if not survey.mapped and fill:
        yield Observation(
            "a ZERO page that is not zero", record.offset, record.path, f"{fill:#04x}", "0x00",
            holes={"fill": fill},
        )  # fmt: skip
