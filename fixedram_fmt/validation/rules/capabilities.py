"""Area G, continued: the capabilities that the configuration announces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fixedram_fmt.dialect import LAYOUTS
from fixedram_fmt.schema.base import c_string
from fixedram_fmt.stream.records import Kind, Record
from fixedram_fmt.validation.ctext import c_text
from fixedram_fmt.validation.effects import Effect, refuses
from fixedram_fmt.validation.rule import Observation, Severity, at_records, over_image
from fixedram_fmt.validation.rules.configuration import (
    COUNT_CEILING,
    announced_length,
    failed_allocation,
)
from fixedram_fmt.validation.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixedram_fmt.validation.rule import Case
    from fixedram_fmt.validation.survey import Survey

_CONFIGURATION = "FORMAT 4; migration/savevm.c "

#: qapi/migration.json MigrationCapability, QEMU 10.0.
_CAPABILITIES = frozenset(
    b"xbzrle rdma-pin-all auto-converge events postcopy-ram x-colo release-ram return-path"
    b" pause-before-switchover multifd dirty-bitmaps postcopy-blocktime late-block-activate"
    b" x-ignore-shared validate-uuid background-snapshot zero-copy-send postcopy-preempt"
    b" switchover-ack dirty-limit mapped-ram".split()
)
#: Known to QEMU 10.0 and before, gone in 11.
_UNTIL_10 = frozenset((b"zero-blocks",))
_VALIDATED = frozenset((b"x-ignore-shared", b"mapped-ram"))


def _is_list(survey: Survey) -> bool:
    """Whether what is read as capabilities can be some: a damaged count makes anything one."""
    return survey.capability_count is not None and survey.capability_count[0] <= COUNT_CEILING


def _list_allocation(case: Case) -> Effect:
    return failed_allocation(case, 4) or refuses("unknown-capability")


@over_image(
    "G16",
    Severity.ERROR,
    _CONFIGURATION + "vmstate_capabilites",
    effect=_list_allocation,
    since={11: refuses("unknown-capability")},
)
def too_many_capabilities(survey: Survey) -> Iterator[Observation]:
    """More capabilities are announced than there can be.

    QEMU allocates what the count says, and takes what follows the list for more names.

    Fix: save the guest again; the count is damaged.
    """
    if survey.capability_count is None:
        return
    (count, order), known = survey.capability_count, _CAPABILITIES | LAYOUTS
    cut = survey.stopped is not None and announced_length(survey, survey.stopped) is not None
    if count > COUNT_CEILING and (cut or not known.issuperset(survey.capabilities)):
        yield Observation(
            "no QEMU has so many capabilities",
            survey.image.container.stream_offset,
            "configuration/capabilities",
            str(count),
            f"at most {len(_CAPABILITIES)}",
            order=order,
        )


def _unless_known_before(case: Case) -> Effect | None:
    gone = case.finding.found.strip("'").encode() in _UNTIL_10
    return None if gone else refuses("unknown-capability")


@at_records(
    "G05",
    Severity.ERROR,
    _CONFIGURATION + "get_capability()",
    Kind.CAPABILITY,
    effect=_unless_known_before,
    since={11: refuses("unknown-capability")},
)
def capability_unknown(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A capability that QEMU does not know.

    QEMU reads the list before anything else, and refuses the stream.

    Fix: load it with the QEMU that wrote it, or take the name out of the list.
    """
    name = c_string(record.value.capability)
    if name not in _CAPABILITIES | LAYOUTS and _is_list(survey):
        yield Observation(
            "unknown capability",
            record.offset + 1,
            record.path,
            shown(name),
            "a capability of QEMU",
            conditional=name in _UNTIL_10,
            holes={"capability": c_text(name)},
        )


@at_records("G06", Severity.NOTE, _CONFIGURATION + "should_validate_capability()", Kind.CAPABILITY)
def capability_not_validated(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A capability is named that QEMU does not name in a stream.

    Only mapped-ram and x-ignore-shared are compared; any other known one is passed over.
    """
    name = c_string(record.value.capability)
    if name in _CAPABILITIES - _VALIDATED:
        yield Observation(
            "this capability is not compared",
            record.offset + 1,
            record.path,
            shown(name),
            "mapped-ram or x-ignore-shared",
        )


@at_records(
    "G07", Severity.NOTE, _CONFIGURATION + "configuration_validate_capabilities()", Kind.CAPABILITY
)
def capability_twice(survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """A capability is named twice.

    It makes no difference to QEMU, and QEMU does not write it.
    """
    name = c_string(record.value.capability)
    if name in survey.capabilities and _is_list(survey):
        yield Observation("named before", record.offset, record.path, shown(name), "each name once")


def _unless_taken(case: Case) -> Effect | None:
    name = case.finding.found.strip("'")
    taken = name.encode() in case.loader.layouts
    return None if taken else refuses("unknown-capability", capability=name)


@at_records("G08", Severity.WARNING, "FORMAT 8", Kind.CAPABILITY, effect=_unless_taken)
def capability_of_review(_survey: Survey, record: Record[Any]) -> Iterator[Observation]:
    """The image names the capability of a dialect that was never released.

    `fixed-ram` is the name under which mapped-ram was reviewed. A released QEMU takes it for an
    unknown capability.

    Fix: load it with a QEMU of the review, or rename the capability and take out the FLUSH.
    """
    name = c_string(record.value.capability)
    if name in LAYOUTS - _CAPABILITIES:
        yield Observation(
            "no released QEMU has this capability",
            record.offset + 1,
            record.path,
            shown(name),
            "mapped-ram",
        )


@over_image(
    "G15",
    Severity.ERROR,
    _CONFIGURATION + "configuration_validate_capabilities()",
    effect=refuses("capability", capability="mapped-ram", state="off", local_state="on"),
)
def layout_without_capability(survey: Survey) -> Iterator[Observation]:
    """The blocks have a fixed layout, and no capability says so.

    A reader has to know from the capabilities that headers follow the blocks' names; one that goes
    by this list reads page data as records.

    Fix: name mapped-ram in configuration/capabilities.
    """
    block = survey.hidden_layout
    if block is not None:
        yield Observation(
            "a MappedRamHeader follows, unannounced",
            block.entry_offset,
            block.path,
            "no capability of a fixed layout",
            "mapped-ram",
            order=survey.configured,
        )
