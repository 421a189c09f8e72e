"""Area R: the list of RAM blocks behind MEM_SIZE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.loaders import Outcome
from fixedram_fmt.schema import ram
from fixedram_fmt.schema.base import c_string, is_printable
from fixedram_fmt.stream.ramstate import ADDRESS_CEILING
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.causes import after_list
from fixedram_fmt.validation.effects import Effect, Phase, refuses, wrong
from fixedram_fmt.validation.rule import Observation, Severity, at_records, over_image
from fixedram_fmt.validation.rules.names import is_safe_path, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_LIST = "FORMAT 6; migration/ram.c parse_ramblocks()"


@at_records("R03", Severity.WARNING, _LIST, Kind.MEM_SIZE)
def block_list_twice(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A second list of blocks comes in the same stream.

    QEMU writes one. It would load blocks listed again a second time, over the first.

    Fix: check who wrote the image.
    """
    if survey.mem_sizes:
        yield Observation(
            "a list of blocks was there before",
            record.offset,
            record.path,
            "a second MEM_SIZE",
            "one",
        )


@over_image("R04", Severity.ERROR, _LIST, effect=after_list, phase=Phase.AFTER_LIST)
def sum_too_small(survey: Survey) -> Iterator[Observation]:
    """The blocks are longer than the sum in MEM_SIZE says.

    The list ends only when the sum is reached exactly: a loader that goes past it takes what
    follows for more blocks.

    Fix: save the guest again; MEM_SIZE or a used_length is damaged.
    """
    yield from _noted(survey, "list-long", "an exact sum")


def _noted(survey: Survey, code: str, expected: str) -> Iterator[Observation]:
    """What the reader noted while it read the list."""
    if survey.hidden_layout is not None:
        return  # what is read as a list is something else
    order = max(survey.block_order, default=survey.order)
    for note in survey.image.notes:
        if note.code == code:
            yield Observation(note.message, note.offset, note.path, "", expected, order=order)


@over_image("R05", Severity.ERROR, _LIST, effect=wrong("no memory is loaded"), at_end=True)
def empty_block_list(survey: Survey) -> Iterator[Observation]:
    """The list of blocks is empty.

    QEMU loads such a stream without a word, and the guest wakes with empty memory.  A machine of
    the type `none` has no memory unless it is given some.

    Fix: save the guest again.
    """
    if (
        survey.mem_sizes
        and not survey.image.blocks
        and survey.whole
        and not _without_memory(survey)
    ):
        record = survey.mem_sizes[0]
        yield Observation(
            "a list without a block",
            record.offset,
            record.path,
            "0 bytes of memory",
            "at least one block",
        )


def _without_memory(survey: Survey) -> bool:
    """Whether the machine can be one that has no memory: the destination's blocks say the rest."""
    destination = survey.destination
    return survey.image.machine == "none" and not (destination and destination.blocks)


@over_image("R12", Severity.ERROR, _LIST)
def duplicate_block(survey: Survey) -> Iterator[Observation]:
    """Two blocks have the same name.

    QEMU loads both into the one block it has of that name, the second over the first.

    Fix: save the guest again; blocks have unique names.
    """
    seen: dict[bytes, int] = {}
    for block in survey.image.blocks:
        first = seen.setdefault(block.idstr, block.index)
        if first != block.index:
            yield Observation(
                f"{shown(block.idstr)} is the name of block {first} too",
                block.entry_offset,
                block.path,
                shown(block.idstr),
                "a name of its own",
            )


@over_image(
    "R13", Severity.ERROR, _LIST, effect=refuses("unknown-block", block=""), phase=Phase.AFTER_LIST
)
def block_without_name(survey: Survey) -> Iterator[Observation]:
    """A block without a name: the list ends before its lengths reach the sum in MEM_SIZE.

    No block of QEMU has an empty name; what stands here is what follows the list. A loader that
    goes by the sum takes it for another block.

    Fix: save the guest again; MEM_SIZE or a used_length is damaged.
    """
    yield from _noted(survey, "list-short", "the name of a block")


@at_records("R14", Severity.WARNING, "FORMAT 12", Kind.BLOCK)
def block_name_unsafe(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A block's name leads out of a folder when it is used as a path.

    Names are data. A tool that writes a file per block under its name writes anywhere.

    Fix: do not use the name as a path; it is damaged or an attack.
    """
    if not is_safe_path(record.value.idstr):
        yield Observation(
            "unsafe as a path",
            record.offset + 1,
            record.path,
            shown(record.value.idstr),
            "no `..` and no NUL",
        )


@at_records(
    "R15",
    Severity.ERROR,
    "FORMAT 12",
    Kind.BLOCK,
    effect=refuses("unknown-block"),
    phase=Phase.BLOCK_ENTRY,
)
def block_name_unprintable(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A block's name holds bytes that no name has.

    A terminal that prints it raw obeys it; no block of QEMU is called so.

    Fix: save the guest again; the list is damaged or an attack.
    """
    name = c_string(record.value.idstr)
    if not is_printable(name) or (record.value.idstr and not name):
        yield Observation(
            "no block is called so",
            record.offset + 1,
            record.path,
            shown(record.value.idstr),
            "visible ASCII",
        )


@at_records(
    "R16",
    Severity.ERROR,
    _LIST,
    Kind.BLOCK,
    effect=wrong("the block's memory is not loaded"),
    phase=Phase.BLOCK_ENTRY,
)
def block_of_no_length(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A block is empty.

    QEMU has no such blocks.

    Fix: save the guest again; used_length is damaged.
    """
    if record.value.used_length == 0:
        yield Observation(
            "a block of 0 bytes", record.stop - 8, record.path, "0", "at least a page"
        )


@at_records("R17", Severity.ERROR, _LIST, Kind.BLOCK, effect=after_list, phase=Phase.AFTER_BLOCK)
def block_of_part_pages(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A block's length is no whole number of pages.

    The sum in MEM_SIZE cannot say it, since its low bits are flags.

    Fix: save the guest again; used_length is damaged.
    """
    size = survey.target_page_size
    if record.value.used_length % size:
        yield Observation(
            "not whole pages",
            record.stop - 8,
            record.path,
            str(record.value.used_length),
            f"a multiple of {size}",
        )


def _bitmap_allocation(case: Case) -> Effect:
    """A bit a page, in longs."""
    pages = int(case.finding.found, 0) // 4096
    return Effect(Outcome.CRASHES, "allocation", {"bytes": -(-pages // 64) * 8})


@at_records(
    "R18",
    Severity.ERROR,
    _LIST,
    Kind.BLOCK,
    effect=_bitmap_allocation,
    phase=Phase.BITMAP_ALLOCATION,
)
def block_too_large(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A block is larger than memory can be.

    QEMU allocates a bitmap for what the length says before it looks whether the block fits.

    Fix: save the guest again; used_length is damaged.
    """
    if record.value.used_length >= ADDRESS_CEILING:
        yield Observation(
            "no guest has such a block",
            record.stop - 8,
            record.path,
            f"{record.value.used_length:#x}",
            f"less than {ADDRESS_CEILING:#x}",
        )


@over_image("R25", Severity.WARNING, _LIST)
def postcopy_page_size(survey: Survey) -> Iterator[Observation]:
    """A block's page size for postcopy is no power of two.

    With postcopy-ram and huge pages it is that of the memory backend, and must be the same on both
    sides.

    Fix: save the guest again.
    """
    for block in survey.image.blocks:
        size = block.postcopy_page_size
        if size is not None and (size & (size - 1) or size < ram.TARGET_PAGE_SIZE_MIN):
            yield Observation(
                "no page size", block.entry_offset, block.path, str(size), "a power of two"
            )
